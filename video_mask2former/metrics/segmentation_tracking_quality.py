"""Segmentation and tracking quality of videos (arXiv:2102.11859)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from video_mask2former.metrics.average_precision import UNDEFINED
from video_mask2former.metrics.evaluator import check_new
from video_mask2former.metrics.panoptic_quality import (
    VOID,
    PanopticMap,
    SegmentOverlaps,
    compare_segments,
    segment_areas,
)


@dataclass(frozen=True)
class TrackingCounts:
    """What is kept of a video.

    Attributes:
        association: Sum over the annotated things of how well they were followed, each in [0, 1].
        num_things: Number of the annotated things.
        confusion: (Annotated, predicted) class to pixels; the predicted class K is void.
    """

    association: float
    num_things: int
    confusion: Mapping[tuple[int, int], int]


class SegmentationTrackingQualityEvaluator:
    """STQ, the geometric mean of AQ (are things the same ones on all frames?) and SQ (mean IoU of the classes).

    AQ of a thing is the mean over its pixels of the IoU, over the whole video, of the thing and the predicted thing
    that has the pixel; a wrong class is held against SQ alone. Crowd does not count in AQ, void pixels do not in SQ.

    SQ is the mean over the classes that are annotated or predicted. As in the authors' program, void is one more class
    of IoU 0 where it is predicted on annotated pixels.

    Args:
        class_names: Classes; labels index them.
        is_thing: For each class, whether it is a thing.
        first_is_crowd: Take the first segment of a video for crowd, if it is a thing, and no other. The program of
            VIPSeg does that: it numbers segments from 0, which the authors' program takes for crowd.
    """

    def __init__(self, class_names: Sequence[str], is_thing: Sequence[bool], *, first_is_crowd: bool = False) -> None:
        self.class_names = tuple(class_names)
        self.is_thing = tuple(is_thing)
        self.first_is_crowd = first_is_crowd
        self._samples: dict[int, TrackingCounts] = {}

    def reset(self) -> None:
        """Forget all videos."""
        self._samples = {}

    def process(self, prediction: PanopticMap, ground_truth: PanopticMap) -> None:
        """Take one video.

        Raises:
            ValueError: If the two differ in size, or it was processed before.
        """
        self.process_overlaps(compare_segments(prediction, ground_truth))

    def process_overlaps(self, overlaps: SegmentOverlaps) -> None:
        """Take one video whose segments were compared already.

        Raises:
            ValueError: If it was processed before.
        """
        check_new(overlaps.sample_id, self._samples)
        [shared] = overlaps.windows(None)
        num_classes = len(self.class_names)
        confusion: dict[tuple[int, int], int] = {}
        for (segment, target), pixels in shared.items():
            if target != VOID:
                predicted = num_classes if segment == VOID else overlaps.labels[segment]
                pair = overlaps.target_labels[target], predicted
                confusion[pair] = confusion.get(pair, 0) + pixels
        things = {target for target, label in overlaps.target_labels.items() if self.is_thing[label]}
        tracked = {segment for segment, label in overlaps.labels.items() if self.is_thing[label]}
        crowds = things & (frozenset([*overlaps.target_labels][:1]) if self.first_is_crowd else overlaps.crowd_ids)
        # crowd is taken out of the predictions that lie on it
        counted = {pair: pixels for pair, pixels in shared.items() if pair[1] not in crowds}
        predicted_areas, areas = segment_areas(counted, 0), segment_areas(counted, 1)
        found = dict.fromkeys((things - crowds) & areas.keys(), 0.0)
        for (segment, target), pixels in counted.items():
            if segment in tracked and target in found:
                union = predicted_areas[segment] + areas[target] - pixels
                found[target] += pixels / areas[target] * (pixels / union)
        self._samples[overlaps.sample_id] = TrackingCounts(sum(found.values()), len(found), confusion)

    def state(self) -> dict[int, TrackingCounts]:
        """What was kept of the videos so far."""
        return dict(self._samples)

    def merge(self, states: Iterable[Mapping[int, TrackingCounts]]) -> None:
        """Take the videos of several states in place of those so far; a video in two states counts once."""
        self._samples = {sample_id: counts for state in states for sample_id, counts in state.items()}

    def evaluate(self) -> dict[str, float]:
        """STQ, AQ and SQ; -1 where nothing is annotated."""
        return self._quality(self._samples.values())

    def per_sample(self) -> dict[int, float]:
        """STQ of each video by itself."""
        return {sample_id: self._quality([counts])["STQ"] for sample_id, counts in sorted(self._samples.items())}

    def _quality(self, samples: Iterable[TrackingCounts]) -> dict[str, float]:
        samples = list(samples)
        num_classes = len(self.class_names)
        confusion = np.zeros((num_classes + 1, num_classes + 1), np.int64)
        for counts in samples:
            for pair, pixels in counts.confusion.items():
                confusion[pair] += pixels
        if not confusion.any():
            return dict.fromkeys(("STQ", "AQ", "SQ"), UNDEFINED)
        hits = np.diag(confusion)
        union = confusion.sum(0) + confusion.sum(1) - hits
        segmentation = float((hits / np.maximum(union, 1)).sum() / np.count_nonzero(union))
        num_things = sum(counts.num_things for counts in samples)
        if not num_things:
            return {"STQ": UNDEFINED, "AQ": UNDEFINED, "SQ": segmentation}
        association = sum(counts.association for counts in samples) / num_things
        return {"STQ": float(np.sqrt(association * segmentation)), "AQ": association, "SQ": segmentation}
