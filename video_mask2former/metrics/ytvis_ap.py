"""Average precision of tracks by the official YouTube-VIS rule (arXiv:1905.04804)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from video_mask2former.metrics.average_precision import (
    IOU_THRESHOLDS,
    Matches,
    match_predictions,
    mean_defined,
    precision_recall,
)
from video_mask2former.metrics.evaluator import check_new
from video_mask2former.metrics.track_comparison import (
    MAX_PREDICTIONS,
    ClassComparison,
    TrackTraits,
    VideoComparison,
    by_class,
    compare_video,
)
from video_mask2former.structures import VideoInstances


@dataclass(frozen=True)
class TraitRange:
    """Tracks whose trait lies in a closed interval; the ends belong to both neighbours, as in COCO's area ranges."""

    trait: str
    low: float
    high: float

    def is_outside(self, traits: TrackTraits) -> np.ndarray:
        """Which tracks lie outside; a trait that is undefined (NaN) always does."""
        values = getattr(traits, self.trait)
        return ~((values >= self.low) & (values <= self.high))


ALL_AREAS = TraitRange("mean_area", 0, 1e5**2)
AREA_RANGES = {
    "s": TraitRange("mean_area", 0, 128**2),
    "m": TraitRange("mean_area", 128**2, 256**2),
    "l": TraitRange("mean_area", 256**2, 1e5**2),
}
SUMMARY_KEYS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")


class YtvisApEvaluator:
    """Video AP and AR as the YouTube-VIS server computes them.

    A prediction and a ground-truth track overlap by the IoU of their volumes. Sizes are distinguished by the mean area
    over the frames where the object is visible. Predictions of equal score are ranked by ascending video id, then by
    their place in ``prediction.tracks``. Of each video only overlaps, scores and a few traits are kept.

    Args:
        class_names: Classes of the dataset; labels index them.
        is_class_agnostic: Compare masks whatever their class, as if there were only one.
    """

    def __init__(self, class_names: Sequence[str], *, is_class_agnostic: bool = False) -> None:
        if not class_names:
            raise ValueError("class_names must name at least one class, got none.")
        self.class_names = ("object",) if is_class_agnostic else tuple(class_names)
        self.is_class_agnostic = is_class_agnostic
        self._videos: dict[int, VideoComparison] = {}

    @property
    def videos(self) -> Mapping[int, VideoComparison]:
        """What was kept of each video, by video id; what the breakdowns are made from."""
        return self._videos

    def reset(self) -> None:
        """Forget all videos."""
        self._videos = {}

    def process(self, prediction: VideoInstances, ground_truth: VideoInstances) -> None:
        """Compare one video; one without predictions counts too, and needs an empty ``prediction``.

        Raises:
            ValueError: If the two are not of one video, or it was processed before.
        """
        if self.is_class_agnostic:
            prediction, ground_truth = without_classes(prediction), without_classes(ground_truth)
        comparison = compare_video(prediction, ground_truth, len(self.class_names))
        check_new(comparison.video_id, self._videos)
        self._videos[comparison.video_id] = comparison

    def state(self) -> list[VideoComparison]:
        """What was kept of the videos so far."""
        return list(self._videos.values())

    def merge(self, states: Iterable[list[VideoComparison]]) -> None:
        """Take the videos of several states in place of those so far; a video in two states counts once."""
        self._videos = {video.video_id: video for state in states for video in state}

    def evaluate(self) -> dict[str, float]:
        """The 12 official numbers, in COCO's order."""
        return summarize(self._videos, len(self.class_names))

    def per_class(self) -> dict[str, float]:
        """AP of each class, -1 where the class is not annotated."""
        groups = by_class(self._videos, len(self.class_names))
        return {
            name: mean_defined(precision_recall(match_in_range(group, ALL_AREAS), MAX_PREDICTIONS)[0])
            for name, group in zip(self.class_names, groups, strict=True)
        }


def match_in_range(comparisons: Sequence[ClassComparison], trait_range: TraitRange) -> list[Matches]:
    """Match one class in every video; tracks out of the range need not be found and do no harm."""
    predictions_outside = _outside([comparison.predictions for comparison in comparisons], trait_range)
    ground_truth_outside = _outside([comparison.ground_truth for comparison in comparisons], trait_range)
    return [
        match_predictions(
            comparison.iou, comparison.scores, comparison.is_crowd, comparison.is_crowd | is_real_outside, is_outside
        )
        for comparison, is_outside, is_real_outside in zip(
            comparisons, predictions_outside, ground_truth_outside, strict=True
        )
    ]


def _outside(traits: Sequence[TrackTraits], trait_range: TraitRange) -> list[np.ndarray]:
    """Which tracks of each video lie outside of a range, asked at once."""
    if not traits:
        return []
    ends = np.cumsum([len(part.num_frames) for part in traits])
    is_outside = trait_range.is_outside(TrackTraits.joined(traits))
    return [is_outside[start:end] for start, end in zip([0, *ends[:-1].tolist()], ends.tolist(), strict=True)]


def average_precision(
    videos: Mapping[int, VideoComparison], num_classes: int, trait_range: TraitRange = ALL_AREAS
) -> float:
    """AP over the tracks of a range, -1 if there are none."""
    return mean_defined(_curves(videos, num_classes, trait_range, MAX_PREDICTIONS)[0])


def summarize(videos: Mapping[int, VideoComparison], num_classes: int) -> dict[str, float]:
    """The 12 official numbers over some videos."""
    matches = [match_in_range(group, ALL_AREAS) for group in by_class(videos, num_classes)]
    precision, recall = _stack(matches, MAX_PREDICTIONS)
    figures = {
        "AP": mean_defined(precision),
        "AP50": mean_defined(precision[IOU_THRESHOLDS == 0.5]),
        "AP75": mean_defined(precision[IOU_THRESHOLDS == 0.75]),
        "AR1": mean_defined(_stack(matches, 1)[1]),
        "AR10": mean_defined(_stack(matches, 10)[1]),
        "AR100": mean_defined(recall),
    }
    for name, area_range in AREA_RANGES.items():
        precision, recall = _curves(videos, num_classes, area_range, MAX_PREDICTIONS)
        figures[f"AP{name}"] = mean_defined(precision)
        figures[f"AR{name}"] = mean_defined(recall)
    return {key: figures[key] for key in SUMMARY_KEYS}


def _curves(
    videos: Mapping[int, VideoComparison], num_classes: int, trait_range: TraitRange, max_predictions: int
) -> tuple[np.ndarray, np.ndarray]:
    groups = by_class(videos, num_classes)
    return _stack([match_in_range(group, trait_range) for group in groups], max_predictions)


def _stack(matches: Sequence[Sequence[Matches]], max_predictions: int) -> tuple[np.ndarray, np.ndarray]:
    """Precision ``(10, 101, K)`` and recall ``(10, K)`` of every class."""
    curves = [precision_recall(group, max_predictions) for group in matches]
    return np.stack([precision for precision, _ in curves], -1), np.stack([recall for _, recall in curves], -1)


def without_classes(instances: VideoInstances) -> VideoInstances:
    """The same tracks, all of class 0."""
    return replace(instances, tracks=tuple(replace(track, label=0) for track in instances.tracks))
