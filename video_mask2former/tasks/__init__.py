"""What a model is asked for, and what an answer is: how it is predicted, kept in files, measured and drawn."""

from video_mask2former.tasks.base import AnswerRules, EvaluationOptions, Task, TaskEvaluator, TrackedWindow
from video_mask2former.tasks.image_instances import ImageInstanceTask
from video_mask2former.tasks.panoptic import PanopticTask
from video_mask2former.tasks.semantic import SemanticTask
from video_mask2former.tasks.table import TASKS, find_task, fitting_task, video_task
from video_mask2former.tasks.video_instances import VideoInstanceTask
from video_mask2former.tasks.video_panoptic import VideoPanopticTask
from video_mask2former.tasks.video_semantic import VideoSemanticTask

__all__ = [
    "TASKS",
    "AnswerRules",
    "EvaluationOptions",
    "ImageInstanceTask",
    "PanopticTask",
    "SemanticTask",
    "Task",
    "TaskEvaluator",
    "TrackedWindow",
    "VideoInstanceTask",
    "VideoPanopticTask",
    "VideoSemanticTask",
    "find_task",
    "fitting_task",
    "video_task",
]
