"""The tasks by name, and which of them fits a dataset."""

from __future__ import annotations

import os
from pathlib import Path

from video_mask2former.data.evaluation_sets import first_key
from video_mask2former.data.evaluation_videos import AnnotationForm, EvaluationSet
from video_mask2former.tasks.base import Task
from video_mask2former.tasks.image_instances import ImageInstanceTask
from video_mask2former.tasks.panoptic import PanopticTask
from video_mask2former.tasks.pixel_panoptic import PixelPanopticTask
from video_mask2former.tasks.semantic import SemanticTask
from video_mask2former.tasks.video_instances import VideoInstanceTask
from video_mask2former.tasks.video_panoptic import VideoPanopticTask
from video_mask2former.tasks.video_semantic import VideoSemanticTask

TASKS: dict[str, type[Task]] = {
    "instance": VideoInstanceTask,
    "image_instance": ImageInstanceTask,
    "panoptic": PanopticTask,
    "pixel_panoptic": PixelPanopticTask,
    "semantic": SemanticTask,
    "video_panoptic": VideoPanopticTask,
    "video_semantic": VideoSemanticTask,
}
_OF_FORM: dict[AnnotationForm, type[Task]] = {
    "instances": VideoInstanceTask,
    "panoptic": PanopticTask,
    "label maps": SemanticTask,
}


def fitting_task(task: Task | None, data: EvaluationSet) -> Task:
    """The task that a dataset is measured by.

    Args:
        task: That of the model. Instances of videos stand for those of images, too, and tasks of
            images for their siblings of videos.
        data: The dataset. Where its annotations are of another form than the task's, they say what is measured.

    Raises:
        ValueError: If the dataset has images and the task is one of videos, or the other way round.
    """
    if task is None or data.form not in task.forms:
        task = _OF_FORM[data.form]()
    if type(task) is VideoInstanceTask and data.is_of_images:
        task = ImageInstanceTask()
    if type(task) is PanopticTask and not data.is_of_images:
        task = VideoPanopticTask(task.object_mask_threshold, task.overlap_threshold, task.fill)
    if type(task) is SemanticTask and not data.is_of_images:
        task = VideoSemanticTask()
    task.check(data)
    return task


def task_of_results(path: str | os.PathLike[str]) -> Task:
    """What results are of: a folder of label maps, a panoptic file, or instances (also where nothing is)."""
    path = Path(path)
    if path.is_dir() and not (path / "results.json").is_file():
        return SemanticTask()
    if path.is_file() and first_key(path, ("segments_info",)):
        return PanopticTask()
    return VideoInstanceTask()
