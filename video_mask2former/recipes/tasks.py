"""The task of a configuration."""

from __future__ import annotations

from typing import cast

from video_mask2former.config import Config
from video_mask2former.recipes.parts import TASK, plan_part
from video_mask2former.tasks import Task


def build_task(config: Config) -> Task:
    """What a configuration says is made of the masks of its model.

    Raises:
        ImportError: If it is a custom class and Python does not find its module.
        ValueError: If the name is unknown or no task, or an option is unknown or wrong.
    """
    return cast(Task, plan_part(TASK, config.task, "task").build())
