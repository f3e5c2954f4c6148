"""The tasks by name, and which of them fits a dataset."""

from __future__ import annotations

import os
from pathlib import Path

from video_mask2former.data.evaluation_sets import first_key
from video_mask2former.data.evaluation_videos import AnnotationForm, EvaluationSet
from video_mask2former.tasks.base import Task
from video_mask2former.tasks.image_instances import ImageInstanceTask
from video_mask2former.tasks.panoptic import PanopticTask
from video_mask2former.tasks.pixel_panoptic import PastedPanopticTask, PixelPanopticTask
from video_mask2former.tasks.semantic import SemanticTask
from video_mask2former.tasks.video_instances import VideoInstanceTask
from video_mask2former.tasks.video_panoptic import VideoPanopticTask
from video_mask2former.tasks.video_semantic import VideoSemanticTask

TASKS: dict[str, type[Task]] = {
    "instance": VideoInstanceTask,
    "image_instance": ImageInstanceTask,
    "panoptic": PanopticTask,
    "pixel_panoptic": PixelPanopticTask,
    "pasted_panoptic": PastedPanopticTask,
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
        task: That of the model. Instances of videos stand for those of images, too, and tasks of images for their
            siblings of videos.
        data: The dataset. Where its annotations are of another form than the task's, they say what is measured.

    Raises:
        ValueError: If the dataset has images and the task is one of videos, or the other way round.
    """
    if task is None or data.form not in task.forms:
        task = _OF_FORM[data.form]()
    if not data.is_of_images:
        task = video_task(task)
    elif type(task) is VideoInstanceTask:
        task = ImageInstanceTask()
    task.check(data)
    return task


def video_task(task: Task) -> Task:
    """The sibling of a task of images that is for videos; any other task as it is."""
    if type(task) is PanopticTask:
        return VideoPanopticTask(**vars(task))
    if isinstance(task, (PixelPanopticTask, PastedPanopticTask)):  # masks do not overlap, so that each keeps its own
        return VideoPanopticTask(object_mask_threshold=task.class_threshold, overlap_threshold=0.0)
    siblings = {ImageInstanceTask: VideoInstanceTask, SemanticTask: VideoSemanticTask}
    return siblings[type(task)]() if type(task) in siblings else task


def find_task(task: str | Task | None) -> Task:
    """A task by its name, or the task itself; None is that of instances.

    Raises:
        ValueError: If there is no task of that name.
    """
    if isinstance(task, Task):
        return task
    name = task or VideoInstanceTask.name
    if name not in TASKS:
        raise ValueError(f"unknown task {name!r}; the tasks are {', '.join(TASKS)}, or a Task of your own.")
    return TASKS[name]()


def task_of_results(path: str | os.PathLike[str]) -> Task:
    """What results are of: a folder of label maps, a panoptic file, or instances (also where nothing is)."""
    path = Path(path)
    if path.is_dir() and not (path / "results.json").is_file():
        return SemanticTask()
    if path.is_file() and first_key(path, ("segments_info",)):
        return PanopticTask()
    return VideoInstanceTask()
