"""Panoptic quality of images (arXiv:1801.00868) and of videos, as PQ over frames put together (arXiv:2006.11339)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from video_mask2former.metrics.average_precision import UNDEFINED
from video_mask2former.metrics.evaluator import check_new

VOID = 0


@dataclass(frozen=True)
class PanopticMap:
    """A segment for every pixel of an image or a video.

    Attributes:
        sample_id: The dataset's id of the image or video.
        segment_ids: Segment of each pixel, 0 where there is none; ``(T, H, W)``, an image has T = 1. A thing keeps
            its segment id on all frames.
        labels: Segment id to class.
        crowd_ids: Segments of the ground truth that mark a group: they need not be found.
    """

    sample_id: int
    segment_ids: np.ndarray
    labels: Mapping[int, int]
    crowd_ids: frozenset[int] = field(default_factory=frozenset)

    def __post_init__(self) -> None:
        if self.segment_ids.ndim != 3 or not np.issubdtype(self.segment_ids.dtype, np.integer):
            raise ValueError(
                f"segment_ids must be (T, H, W) integers, got {self.segment_ids.shape} {self.segment_ids.dtype}. "
                "Add a time axis with segment_ids[None] for an image."
            )


@dataclass(frozen=True)
class SegmentOverlaps:
    """What the measures of a sample need to know: how many pixels each two segments share, frame by frame.

    Attributes:
        sample_id: The dataset's id of the image or video.
        frames: For each frame, (predicted, annotated) segment to the pixels they share; 0 is void.
        labels: Predicted segment to class.
        target_labels: Annotated segment to class.
        crowd_ids: Annotated segments that mark a group.
    """

    sample_id: int
    frames: tuple[Mapping[tuple[int, int], int], ...]
    labels: Mapping[int, int]
    target_labels: Mapping[int, int]
    crowd_ids: frozenset[int] = field(default_factory=frozenset)

    def windows(self, num_frames: int | None) -> Iterator[Mapping[tuple[int, int], int]]:
        """The pixels shared in every window of so many consecutive frames; None is the whole sample.

        What is yielded changes with the next window.
        """
        length = len(self.frames) if num_frames is None else num_frames
        shared: dict[tuple[int, int], int] = {}
        for index, frame in enumerate(self.frames):
            for pair, pixels in frame.items():
                shared[pair] = shared.get(pair, 0) + pixels
            if index >= length:
                for pair, pixels in self.frames[index - length].items():
                    shared[pair] -= pixels
                    if not shared[pair]:
                        del shared[pair]
            if index >= length - 1:
                yield shared


@dataclass
class PanopticCounts:
    """What was found and missed of one class."""

    iou: float = 0.0
    hits: int = 0
    false: int = 0
    missed: int = 0

    @property
    def is_empty(self) -> bool:
        """Whether the class was neither annotated nor predicted."""
        return self.hits + self.false + self.missed == 0

    @property
    def quality(self) -> tuple[float, float, float]:
        """PQ, SQ and RQ."""
        recognition = self.hits / (self.hits + 0.5 * self.false + 0.5 * self.missed)
        segmentation = self.iou / max(self.hits, 1)
        return segmentation * recognition, segmentation, recognition


class PanopticQualityEvaluator:
    """PQ, SQ and RQ over all classes, things and stuff.

    A predicted and an annotated segment of one class match if their IoU is above one half; void pixels do not count in
    it. A segment left over is not held against the prediction if more than half of it is void or crowd of its class.
    Crowds of one class in one sample are taken together.

    Args:
        class_names: Classes; labels index them.
        is_thing: For each class, whether it is a thing.
        num_window_frames: Frames over which a segment of a video is one tube: every window of so many consecutive
            frames is looked at, of which shorter videos have none. None takes each video as a whole.
    """

    def __init__(
        self, class_names: Sequence[str], is_thing: Sequence[bool], *, num_window_frames: int | None = None
    ) -> None:
        if len(class_names) != len(is_thing):
            raise ValueError(f"is_thing must have one entry a class, {len(class_names)}, got {len(is_thing)}.")
        if num_window_frames is not None and num_window_frames < 1:
            raise ValueError(f"num_window_frames must be at least 1, got {num_window_frames}.")
        self.class_names = tuple(class_names)
        self.is_thing = tuple(is_thing)
        self.num_window_frames = num_window_frames
        self._samples: dict[int, dict[int, PanopticCounts]] = {}

    def reset(self) -> None:
        """Forget all samples."""
        self._samples = {}

    def process(self, prediction: PanopticMap, ground_truth: PanopticMap) -> None:
        """Take one image or video.

        Raises:
            ValueError: If the two differ in size, or it was processed before.
        """
        self.process_overlaps(compare_segments(prediction, ground_truth))

    def process_overlaps(self, overlaps: SegmentOverlaps) -> None:
        """Take one image or video whose segments were compared already.

        Raises:
            ValueError: If it was processed before, or a label is not a class.
        """
        check_new(overlaps.sample_id, self._samples)
        counts: dict[int, PanopticCounts] = {}
        for shared in overlaps.windows(self.num_window_frames):
            _count_segments(overlaps, shared, counts)
        unknown = [label for label in counts if not 0 <= label < len(self.class_names)]
        if unknown:
            raise ValueError(
                f"labels of sample {overlaps.sample_id} must be in [0, {len(self.class_names)}), got {unknown[0]}."
            )
        self._samples[overlaps.sample_id] = counts

    def state(self) -> dict[int, dict[int, PanopticCounts]]:
        """What was kept of the samples so far."""
        return dict(self._samples)

    def merge(self, states: Iterable[Mapping[int, dict[int, PanopticCounts]]]) -> None:
        """Take the samples of several states in place of those so far; a sample in two states counts once."""
        self._samples = {sample_id: counts for state in states for sample_id, counts in state.items()}

    def evaluate(self) -> dict[str, float]:
        """PQ, SQ, RQ over all classes that occur, the same with ``_things`` and ``_stuff``; -1 where undefined."""
        totals = self._totals()
        groups = {
            "": totals,
            "_things": [count for count, is_thing in zip(totals, self.is_thing, strict=True) if is_thing],
            "_stuff": [count for count, is_thing in zip(totals, self.is_thing, strict=True) if not is_thing],
        }
        return {
            f"{name}{suffix}": mean
            for suffix, counts in groups.items()
            for name, mean in zip(("PQ", "SQ", "RQ"), _mean_quality(counts), strict=True)
        }

    def per_class(self) -> dict[str, float]:
        """PQ of each class, -1 where it is neither annotated nor predicted."""
        return {
            name: UNDEFINED if count.is_empty else count.quality[0]
            for name, count in zip(self.class_names, self._totals(), strict=True)
        }

    def per_sample(self) -> dict[int, float]:
        """PQ of each sample by itself, -1 where it has no segment."""
        return {sample_id: _mean_quality(self._samples[sample_id].values())[0] for sample_id in sorted(self._samples)}

    def _totals(self) -> list[PanopticCounts]:
        totals = [PanopticCounts() for _ in self.class_names]
        for sample_id in sorted(self._samples):
            for label, counts in self._samples[sample_id].items():
                total = totals[label]
                total.iou += counts.iou
                total.hits += counts.hits
                total.false += counts.false
                total.missed += counts.missed
        return totals


def _mean_quality(counts: Iterable[PanopticCounts]) -> tuple[float, ...]:
    """PQ, SQ and RQ over the classes that occur."""
    qualities = [count.quality for count in counts if not count.is_empty]
    return tuple(np.mean(qualities, axis=0).tolist()) if qualities else (UNDEFINED,) * 3


def compare_segments(prediction: PanopticMap, ground_truth: PanopticMap) -> SegmentOverlaps:
    """How many pixels each predicted segment shares with each annotated one.

    Raises:
        ValueError: If the two differ in size, or a segment has no label.
    """
    if prediction.segment_ids.shape != ground_truth.segment_ids.shape:
        raise ValueError(
            f"prediction of sample {ground_truth.sample_id} must have the shape of its ground truth, "
            f"{ground_truth.segment_ids.shape}, got {prediction.segment_ids.shape}. Resize it to the original size."
        )
    pairs = zip(prediction.segment_ids, ground_truth.segment_ids, strict=True)
    frames = tuple(shared_pixels(*pair) for pair in pairs)
    for segments, side, what in ((prediction, 0, "prediction"), (ground_truth, 1, "ground truth")):
        for shared in frames:
            _check_labelled({pair[side] for pair in shared}, segments, what)
    return SegmentOverlaps(
        ground_truth.sample_id, frames, prediction.labels, ground_truth.labels, ground_truth.crowd_ids
    )


def _count_segments(
    overlaps: SegmentOverlaps, shared: Mapping[tuple[int, int], int], counts: dict[int, PanopticCounts]
) -> None:
    """Add what was found and missed in one window to the counts of each class."""
    predicted, annotated = segment_areas(shared, 0), segment_areas(shared, 1)
    found: set[int] = set()
    used: set[int] = set()
    for (segment, target), pixels in shared.items():
        if VOID in (segment, target) or target in overlaps.crowd_ids:
            continue
        label = overlaps.target_labels[target]
        union = predicted[segment] + annotated[target] - pixels - shared.get((segment, VOID), 0)
        if overlaps.labels[segment] == label and 2 * pixels > union:
            count = counts.setdefault(label, PanopticCounts())
            count.iou += pixels / union
            count.hits += 1
            found.add(target)
            used.add(segment)
    for target in annotated.keys() - found - overlaps.crowd_ids - {VOID}:
        counts.setdefault(overlaps.target_labels[target], PanopticCounts()).missed += 1
    for segment in predicted.keys() - used - {VOID}:
        label = overlaps.labels[segment]
        crowds = [target for target in overlaps.crowd_ids if overlaps.target_labels[target] == label]
        excused = sum(shared.get((segment, target), 0) for target in (VOID, *crowds))
        if 2 * excused <= predicted[segment]:
            counts.setdefault(label, PanopticCounts()).false += 1


def shared_pixels(predicted: np.ndarray, annotated: np.ndarray) -> dict[tuple[int, int], int]:
    """(Predicted, annotated) segment to the pixels they share, in ascending order."""
    segments, first = np.unique(predicted, return_inverse=True)
    targets, second = np.unique(annotated, return_inverse=True)
    table = np.bincount(first.ravel() * len(targets) + second.ravel(), minlength=len(segments) * len(targets))
    rows, columns = np.divmod(np.flatnonzero(table), len(targets))
    pixels = table[table > 0]
    pairs = zip(segments[rows].tolist(), targets[columns].tolist(), strict=True)
    return dict(zip(pairs, pixels.tolist(), strict=True))


def segment_areas(shared: Mapping[tuple[int, int], int], side: int) -> dict[int, int]:
    """Pixels of each predicted (side 0) or annotated (side 1) segment."""
    areas: dict[int, int] = {}
    for pair, pixels in shared.items():
        areas[pair[side]] = areas.get(pair[side], 0) + pixels
    return areas


def _check_labelled(found: set[int], segments: PanopticMap, what: str) -> None:
    unlabelled = found - segments.labels.keys() - {VOID}
    if unlabelled:
        raise ValueError(
            f"{what} of sample {segments.sample_id}: segment {min(unlabelled)} has pixels but no label. "
            "List it in labels, or paint it 0 (void)."
        )
