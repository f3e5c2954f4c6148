"""The videos (or images) that went worst and best, and pictures with ground truth above prediction."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
from scipy.optimize import linear_sum_assignment

from video_mask2former.data.image_files import read_image
from video_mask2former.metrics.track_overlap import track_iou
from video_mask2former.structures import FrameInstances, VideoInstances

FRAMES_PER_CASE = 4
FRAME_WIDTH = 360
_GREY = 96
KeyT = TypeVar("KeyT", int, str)
Annotate = Callable[[np.ndarray, FrameInstances, Sequence[str]], np.ndarray]


@dataclass(frozen=True)
class Case:
    """One video to show.

    Attributes:
        name: What it is called on the page.
        quality: How good the prediction is, in [0, 1].
        prediction: Its predicted tracks, those that are to be drawn.
        ground_truth: Its annotated tracks.
        frame_paths: Image of each frame; None draws on grey.
        stuff_labels: Classes without countable objects, which are drawn lightly.
    """

    name: str
    quality: float
    prediction: VideoInstances
    ground_truth: VideoInstances
    frame_paths: tuple[Path, ...] | None
    stuff_labels: Collection[int] = ()

    def frame(self, frame_index: int) -> np.ndarray:
        """A frame, RGB uint8, of the size of the ground truth."""
        size = self.ground_truth.size
        if self.frame_paths is None:
            return np.full((*size, 3), _GREY, np.uint8)
        return read_image(self.frame_paths[frame_index], size)

    def matched(self) -> tuple[VideoInstances, VideoInstances, dict[int, float]]:
        """Ground truth with ids counted from 1, the prediction with those of the objects it fits, and their IoU.

        Stuff fits stuff of the same class, whatever its place. A track that fits nothing has an id of its own.
        """
        numbered = tuple(
            replace(track, track_id=index) for index, track in enumerate(self.ground_truth.tracks, start=1)
        )
        ground_truth = replace(self.ground_truth, tracks=numbered)
        return ground_truth, *with_matching_ids(self.prediction, ground_truth, self.stuff_labels)


def choose_cases(qualities: Mapping[KeyT, float], num_cases: int) -> tuple[list[KeyT], list[KeyT]]:
    """Keys of the worst cases, worst first, and of the best, best first; none is in both, undefined ones in neither."""
    ranked = sorted((quality, key) for key, quality in qualities.items() if quality >= 0)
    worst = [key for _, key in ranked[:num_cases]]
    best = [key for _, key in ranked[num_cases:][::-1][:num_cases]]
    return worst, best


def draw_case(case: Case, class_names: Sequence[str], annotate: Annotate) -> np.ndarray:
    """Some frames of a case side by side, ground truth above prediction, RGB uint8."""
    num_frames = case.ground_truth.num_frames
    frame_indices = np.unique(np.linspace(0, num_frames - 1, FRAMES_PER_CASE).round().astype(int)).tolist()
    ground_truth, prediction, _ = case.matched()
    columns = []
    for frame_index in frame_indices:
        frame = case.frame(frame_index)
        pictures = [
            _fit(annotate(frame, instances.at_frame(frame_index), class_names))
            for instances in (ground_truth, prediction)
        ]
        columns.append(np.concatenate(pictures, axis=0))
    return np.concatenate(columns, axis=1)


def with_matching_ids(
    prediction: VideoInstances, ground_truth: VideoInstances, stuff_labels: Collection[int] = ()
) -> tuple[VideoInstances, dict[int, float]]:
    """The predicted tracks, each with the id of the object it fits best (new ids for the others), and those IoU by id.

    Args:
        prediction: Predicted tracks.
        ground_truth: Annotated tracks, whose ids are taken to count from 1.
        stuff_labels: Classes whose tracks fit those of their own class only.
    """
    iou = track_iou(prediction.tracks, ground_truth.tracks)
    labels, target_labels = (np.array([track.label for track in side.tracks]) for side in (prediction, ground_truth))
    is_stuff = np.isin(labels, list(stuff_labels))[:, None] | np.isin(target_labels, list(stuff_labels))
    # above every IoU, so that stuff of one class goes together even where it shares no pixel
    same = labels[:, None] == target_labels if len(prediction) and len(ground_truth) else np.zeros(iou.shape, bool)
    worth = np.where(is_stuff, np.where(same, 1.0 + iou, 0.0), iou)
    rows, columns = linear_sum_assignment(worth, maximize=True)
    ids = {row: column + 1 for row, column in zip(rows.tolist(), columns.tolist(), strict=True) if worth[row, column]}
    first_new = len(ground_truth) + 1
    tracks = tuple(
        replace(track, track_id=ids.get(index, first_new + index)) for index, track in enumerate(prediction.tracks)
    )
    return replace(prediction, tracks=tracks), {column: float(iou[row, column - 1]) for row, column in ids.items()}


def _fit(picture: np.ndarray) -> np.ndarray:
    """The picture at a common width, with a white border."""
    height = max(1, round(picture.shape[0] * FRAME_WIDTH / picture.shape[1]))
    small = cv2.resize(picture, (FRAME_WIDTH, height), interpolation=cv2.INTER_AREA)
    return cv2.copyMakeBorder(small, 2, 2, 2, 2, cv2.BORDER_CONSTANT, value=(255, 255, 255))
