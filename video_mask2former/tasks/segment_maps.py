"""Maps of every pixel made of tracks, to be measured and written; where tracks overlap, the later one is seen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from video_mask2former.metrics.panoptic_quality import SegmentOverlaps, shared_pixels
from video_mask2former.rle import decode_rle
from video_mask2former.structures import VideoInstances

IGNORED = -1


def paint(instances: VideoInstances, values: Sequence[int], frame_index: int, background: int = 0) -> np.ndarray:
    """A value of each track at its pixels on one frame, ``(H, W)`` int32."""
    painted = np.full(instances.size, background, np.int32)
    for track, value in zip(instances.tracks, values, strict=True):
        if frame_index in track.segmentations:
            painted[decode_rle(track.segmentations[frame_index])] = value
    return painted


def check_shapes(prediction: VideoInstances, ground_truth: VideoInstances) -> None:
    """Raise ValueError if a prediction has not the size and length of its ground truth."""
    mine, real = ((instances.num_frames, *instances.size) for instances in (prediction, ground_truth))
    if mine != real:
        raise ValueError(
            f"prediction of sample {ground_truth.video_id} must have the shape of its ground truth, {real}, got "
            f"{mine}. Resize it to the original size."
        )


def compare_instances(prediction: VideoInstances, ground_truth: VideoInstances) -> SegmentOverlaps:
    """How many pixels each predicted segment shares with each annotated one, one frame in memory at a time.

    Raises:
        ValueError: If the two differ in size or length.
    """
    assert ground_truth.video_id is not None
    check_shapes(prediction, ground_truth)
    pair = (prediction, ground_truth)
    labels, target_labels = (dict(enumerate((track.label for track in side.tracks), start=1)) for side in pair)
    frames = tuple(
        shared_pixels(*(paint(side, range(1, len(side) + 1), index) for side in pair))
        for index in range(ground_truth.num_frames)
    )
    crowds = frozenset(number for number, track in enumerate(ground_truth.tracks, start=1) if track.is_crowd)
    return SegmentOverlaps(ground_truth.video_id, frames, labels, target_labels, crowds)


def label_maps_of(prediction: VideoInstances, ground_truth: VideoInstances) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Predicted and annotated class of each pixel of each frame, :data:`IGNORED` where no track is.

    Raises:
        ValueError: If the two differ in size or length.
    """
    check_shapes(prediction, ground_truth)
    values, target_values = ([track.label for track in side.tracks] for side in (prediction, ground_truth))
    for index in range(ground_truth.num_frames):
        yield paint(prediction, values, index, IGNORED), paint(ground_truth, target_values, index, IGNORED)
