"""What is kept of one video once its predictions were compared with its ground truth: a few numbers a track."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from video_mask2former.metrics.track_overlap import TrackMasks, every_pair, iou_of_pairs, measure_tracks
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

    @classmethod
    def joined(cls, parts: Sequence[TrackTraits]) -> TrackTraits:
        """Those of several groups of tracks, one after the other."""
        columns = [(part.mean_area, part.num_frames, part.motion_iou) for part in parts]
        return cls(*(np.concatenate(column) for column in zip(*columns, strict=True)))

    def at(self, places: range) -> TrackTraits:
        """Those of some of the tracks."""
        part = slice(places.start, places.stop)
        return TrackTraits(self.mean_area[part], self.num_frames[part], self.motion_iou[part])


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
    classes = _compare_classes(prediction.tracks, ground_truth.tracks)
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


def _compare_classes(predictions: Sequence[Track], ground_truth: Sequence[Track]) -> tuple[ClassComparison, ...]:
    labels = sorted({track.label for track in (*predictions, *ground_truth)})
    tracks: list[Track] = []
    places: list[tuple[range, range]] = []  # of the predictions and the ground truth of each class in `tracks`
    for label in labels:
        best = sorted((track for track in predictions if track.label == label), key=lambda track: -track.score)
        real = [track for track in ground_truth if track.label == label]
        start, middle = len(tracks), len(tracks) + len(best[:MAX_PREDICTIONS])
        tracks += [*best[:MAX_PREDICTIONS], *real]
        places.append((range(start, middle), range(middle, len(tracks))))
    pairs = np.concatenate([every_pair(*place) for place in places] or [np.zeros((0, 2), np.int64)])
    measured = measure_tracks(tracks, pairs)
    iou, traits = iou_of_pairs(measured, pairs, len(tracks)), _traits(measured, len(tracks))
    classes = []
    first_pair = 0
    for label, (rows, columns) in zip(labels, places, strict=True):
        num_pairs = len(rows) * len(columns)
        classes.append(
            ClassComparison(
                label=label,
                scores=np.array([tracks[row].score for row in rows], np.float64),
                iou=iou[first_pair : first_pair + num_pairs].reshape(len(rows), len(columns)),
                is_crowd=np.array([tracks[column].is_crowd for column in columns], bool),
                predictions=traits.at(rows),
                ground_truth=traits.at(columns),
            )
        )
        first_pair += num_pairs
    return tuple(classes)


def _traits(measured: TrackMasks, num_tracks: int) -> TrackTraits:
    in_order = np.lexsort((measured.frames, measured.owners))
    visible = in_order[measured.areas[in_order] > 0]
    owners, frames, boxes = measured.owners[visible], measured.frames[visible], measured.boxes[visible]
    num_frames = np.bincount(owners, minlength=num_tracks)
    followed = np.flatnonzero((np.diff(owners) == 0) & (np.diff(frames) == 1))
    iou = _box_iou(boxes[followed].astype(np.float64), boxes[followed + 1].astype(np.float64))
    num_followed = np.bincount(owners[followed], minlength=num_tracks)
    iou_sums = np.bincount(owners[followed], iou, minlength=num_tracks)
    return TrackTraits(
        mean_area=measured.sums(num_tracks) / np.maximum(num_frames, 1),
        num_frames=num_frames,
        motion_iou=np.where(num_followed > 0, iou_sums / np.maximum(num_followed, 1), np.nan),
    )


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
