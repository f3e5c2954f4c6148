"""The task of a configuration."""

from __future__ import annotations

from video_mask2former.config import InferenceSettings
from video_mask2former.tasks import TASKS, PanopticTask, Task


def build_task(settings: InferenceSettings) -> Task:
    """What a configuration says is made of the masks of its model."""
    if settings.task == "panoptic":
        return PanopticTask(settings.object_mask_threshold, settings.overlap_threshold)
    return TASKS[settings.task]()
