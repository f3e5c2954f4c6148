"""What instances of videos and of images have in common."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from video_mask2former.data.evaluation_videos import EvaluationSet, EvaluationVideo, EvaluationVideos
from video_mask2former.metrics import without_classes
from video_mask2former.metrics.ytvis_ap import SUMMARY_KEYS
from video_mask2former.structures import VideoInstances
from video_mask2former.tasks.base import EvaluationOptions, Task
from video_mask2former.tasks.result_files import read_predictions


class InstanceTask(Task):
    """Objects, which may overlap."""

    metric_names = SUMMARY_KEYS
    forms = ("instances",)

    def read(
        self, results: Path, data: EvaluationSet, options: EvaluationOptions
    ) -> Callable[[EvaluationVideo], VideoInstances]:
        """See :meth:`Task.read`; videos that the file does not have are videos without objects."""
        assert isinstance(data, EvaluationVideos)
        found = read_predictions(results, data.annotations, is_class_agnostic=options.is_class_agnostic)
        return lambda video: found.get(video.video_id) or replace(video.ground_truth(), tracks=())

    def drawn(self, instances: VideoInstances, options: EvaluationOptions) -> VideoInstances:
        """The confident tracks."""
        tracks = tuple(track for track in instances.tracks if track.score >= options.min_score)
        shown = replace(instances, tracks=tracks)
        return without_classes(shown) if options.is_class_agnostic else shown
