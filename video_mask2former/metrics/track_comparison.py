"""What is kept of one video once its predictions were compared with its ground truth: a few numbers a track."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from video_mask2former.metrics.track_overlap import track_areas, track_iou
from video_mask2former.rle import rle_boxes
from video_mask2former.structures import Track, VideoInstances

# predictions beyond the 100 best of a class in a video never count
MAX_PREDICTIONS = 100


@dataclass(frozen=True)
class TrackTraits:
    """Properties by which tracks are put into ranges, one value a track.

    Attributes:
        mean_area: Mean of the areas on the frames where the area is not zero, in pixels; 0 if there is none.
        num_frames: Frames with a mask that is not empty.
        motion_iou: Mean IoU of the track's boxes on consecutive frames, 1 for an object at rest; NaN for a track that
            is never visible on two consecutive frames.
    """

    mean_area: np.ndarray
    num_frames: np.ndarray
    motion_iou: np.ndarray


@dataclass(frozen=True)
class ClassComparison:
    """Predictions and ground truth of one class in one video.

    Attributes:
        label: The class.
        scores: Confidence of each prediction, descending, ``(N,)``.
        iou: IoU of each prediction with each ground-truth track, ``(N, G)``.
        is_crowd: Which ground-truth tracks are crowds, ``(G,)`` bool.
        predictions: Traits of the predictions.
        ground_truth: Traits of the ground truth.
    """

    label: int
    scores: np.ndarray
    iou: np.ndarray
    is_crowd: np.ndarray
    predictions: TrackTraits
    ground_truth: TrackTraits


@dataclass(frozen=True)
class VideoComparison:
    """One video after comparison.

    Attributes:
        video_id: The dataset's id of the video.
        num_instances: Ground-truth tracks that are not crowds.
        classes: One entry for each class that was predicted or annotated, by ascending label.
    """

    video_id: int
    num_instances: int
    classes: tuple[ClassComparison, ...]


def compare_video(prediction: VideoInstances, ground_truth: VideoInstances, num_classes: int) -> VideoComparison:
    """Compare the predictions of a video with its ground truth, class by class.

    Predictions of equal score keep their order in ``prediction.tracks``.

    Raises:
        ValueError: If the two are not of one video, or a label or score makes no sense.
    """
    check_same_video(prediction, ground_truth)
    _check_tracks(prediction, num_classes, "prediction")
    _check_tracks(ground_truth, num_classes, "ground truth")
    labels = sorted({track.label for track in (*prediction.tracks, *ground_truth.tracks)})
    classes = tuple(
        _compare_class(
            [track for track in prediction.tracks if track.label == label],
            [track for track in ground_truth.tracks if track.label == label],
        )
        for label in labels
    )
    num_instances = sum(not track.is_crowd for track in ground_truth.tracks)
    assert ground_truth.video_id is not None
    return VideoComparison(ground_truth.video_id, num_instances, classes)


def check_same_video(prediction: VideoInstances, ground_truth: VideoInstances) -> None:
    """Raise ValueError unless the two describe one video: the same id, length and frame size."""
    if ground_truth.video_id is None:
        raise ValueError("ground truth needs a video_id, got None. It identifies the video and breaks ties of scores.")
    if prediction.video_id not in (None, ground_truth.video_id):
        raise ValueError(
            f"prediction and ground truth must be of one video, got video_id {prediction.video_id} and "
            f"{ground_truth.video_id}."
        )
    expected = (ground_truth.num_frames, ground_truth.size)
    got = (prediction.num_frames, prediction.size)
    if expected != got:
        raise ValueError(
            f"prediction of video {ground_truth.video_id} must have (num_frames, (height, width)) = {expected}, "
            f"got {got}. Predict on the annotated frames, at their own size."
        )


def _check_tracks(instances: VideoInstances, num_classes: int, what: str) -> None:
    for track in instances.tracks:
        if not 0 <= track.label < num_classes:
            raise ValueError(
                f"{what}: label of track {track.track_id} in video {instances.video_id} must be in "
                f"[0, {num_classes}), got {track.label}."
            )
        if not np.isfinite(track.score):
            raise ValueError(
                f"{what}: score of track {track.track_id} in video {instances.video_id} must be finite, "
                f"got {track.score}."
            )


def _compare_class(predictions: Sequence[Track], ground_truth: Sequence[Track]) -> ClassComparison:
    scores = np.array([track.score for track in predictions], np.float64)
    order = np.argsort(-scores, kind="stable")[:MAX_PREDICTIONS]
    best = [predictions[index] for index in order]
    return ClassComparison(
        label=(*predictions, *ground_truth)[0].label,
        scores=scores[order],
        iou=track_iou(best, ground_truth),
        is_crowd=np.array([track.is_crowd for track in ground_truth], bool),
        predictions=_traits(best),
        ground_truth=_traits(ground_truth),
    )


def _traits(tracks: Sequence[Track]) -> TrackTraits:
    visible = [areas[areas > 0] for areas in track_areas(tracks)]
    return TrackTraits(
        mean_area=np.array([areas.mean() if areas.size else 0.0 for areas in visible], np.float64),
        num_frames=np.array([areas.size for areas in visible], np.int64),
        motion_iou=np.array([_motion_iou(track) for track in tracks], np.float64),
    )


def _motion_iou(track: Track) -> float:
    frame_indices = np.array(sorted(track.segmentations), np.int64)
    boxes = rle_boxes([track.segmentations[index] for index in frame_indices.tolist()])
    is_visible = boxes[:, 2] > 0
    frame_indices, boxes = frame_indices[is_visible], boxes[is_visible]
    is_followed = np.diff(frame_indices) == 1
    if not is_followed.any():
        return float("nan")
    return float(_box_iou(boxes[:-1][is_followed], boxes[1:][is_followed]).mean())


def _box_iou(first_xywh: np.ndarray, second_xywh: np.ndarray) -> np.ndarray:
    """IoU of the boxes of each row, ``(N, 4)`` each."""
    ends = np.minimum(first_xywh[:, :2] + first_xywh[:, 2:], second_xywh[:, :2] + second_xywh[:, 2:])
    sides = np.maximum(ends - np.maximum(first_xywh[:, :2], second_xywh[:, :2]), 0)
    shared = sides.prod(1)
    iou: np.ndarray = shared / (first_xywh[:, 2:].prod(1) + second_xywh[:, 2:].prod(1) - shared)
    return iou


def by_class(videos: Mapping[int, VideoComparison], num_classes: int) -> list[list[ClassComparison]]:
    """The comparisons of each class, videos by ascending id: the order in which the official rule breaks ties."""
    groups: list[list[ClassComparison]] = [[] for _ in range(num_classes)]
    for video_id in sorted(videos):
        for comparison in videos[video_id].classes:
            groups[comparison.label].append(comparison)
    return groups
