"""Trackers of boxes of the package ``trackers``: they see the boxes of the masks, and their ids go back to the masks.

The package (``pip install "video-mask2former[trackers]"``) has its own implementations of ByteTrack (arXiv:2110.06864),
OC-SORT (arXiv:2203.14360), BoT-SORT (arXiv:2206.14651) and SORT (arXiv:1602.00763). They look at positions and scores,
not at queries: use them for models whose queries say nothing across frames, or to compare.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from video_mask2former.option_values import Count, NonNegative, PositiveInt, Share
from video_mask2former.structures import ClipOutput
from video_mask2former.tracking.base import TrackUpdate, check_clip, check_state_kind
from video_mask2former.tracking.detections import Detections, find_detections
from video_mask2former.tracking.object_state import pack_object, unpack_object

PACKAGE = "trackers"
MEMORY_SIZE = 256
"""Tracks whose mean class is remembered; the package itself forgets tracks long before."""


class BoxTracker:
    """What the trackers of boxes share: windows of one frame, boxes from masks, ids from 1 for tracks from 0.

    Of queries that see the same (mask IoU of ``duplicate_iou`` or more), the most confident one is taken.

    Args:
        min_score: Class probability from which a query takes part.
        duplicate_iou: Mask IoU from which two queries are one object.
        options: What the tracker of the package is made with.
    """

    kind: ClassVar[str]
    class_name: ClassVar[str]

    def __init__(self, min_score: float, duplicate_iou: float, options: dict[str, Any]) -> None:
        try:
            maker = getattr(importlib.import_module(PACKAGE), self.class_name)
        except ModuleNotFoundError as error:
            raise ImportError(
                f"tracker {self.kind} needs the package {PACKAGE}: pip install 'video-mask2former[{PACKAGE}]'"
            ) from error
        self._min_score = min_score
        self._duplicate_iou = duplicate_iou
        self._tracker = maker(**options)
        # Of each track: sum of its class logits, number of frames in it
        self._classes: dict[int, tuple[Tensor, int]] = {}

    def update(self, output: ClipOutput, frame_indices: Sequence[int]) -> TrackUpdate:
        """Take in the next frame; see :meth:`Tracker.update`.

        Raises:
            ValueError: If the clip has more frames than one.
        """
        check_clip(output, frame_indices)
        if len(frame_indices) != 1:
            raise ValueError(
                f"tracker {self.kind} goes frame by frame, got a window of {len(frame_indices)}: window=1."
            )
        found = find_detections(output, self._min_score)
        rows = self._without_duplicates(found)
        ids = self._track(_boxes(output, found.query_indices[rows]), found.scores[rows])
        chosen = [row for row, track_id in zip(rows, ids, strict=True) if track_id >= 0]
        track_ids = [track_id + 1 for track_id in ids if track_id >= 0]
        means = [
            self._mean_class(track_id, found.class_logits[row]) for track_id, row in zip(track_ids, chosen, strict=True)
        ]
        return TrackUpdate(
            track_ids=tuple(track_ids),
            query_indices=tuple(found.query_indices[chosen].tolist()),
            class_logits=torch.stack(means) if means else found.class_logits[:0],
            clip_logits=found.class_logits[chosen] if chosen else found.class_logits[:0],
        )

    def next_queries(self) -> Tensor | None:
        """None: every frame starts from the learned queries."""
        return None

    def state_dict(self) -> dict[str, Any]:
        """The tracks of the package's tracker, and the classes of ours."""
        classes = [[track_id, total, count] for track_id, (total, count) in self._classes.items()]
        return {"kind": self.kind, "tracker": pack_object(self._tracker, PACKAGE), "classes": classes}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a saved state."""
        check_state_kind(state, self.kind)
        self._tracker = unpack_object(state["tracker"], PACKAGE)
        self._classes = {track_id: (total, count) for track_id, total, count in state["classes"]}

    def _without_duplicates(self, found: Detections) -> list[int]:
        rows: list[int] = []
        for row in range(len(found)):
            if not bool((found.mask_iou[row, rows] >= self._duplicate_iou).any()):
                rows.append(row)
        return rows

    def _track(self, boxes: np.ndarray, scores: Tensor) -> list[int]:
        """The package's id of each box, -1 where there is none yet."""
        supervision = importlib.import_module("supervision")
        detections = supervision.Detections(
            xyxy=boxes,
            confidence=scores.double().numpy(),
            class_id=np.zeros(len(boxes), int),  # an object may change its class
            data={"row": np.arange(len(boxes))},
        )
        tracked = self._tracker.update(detections)
        ids = [-1] * len(boxes)
        if len(tracked):
            for row, track_id in zip(tracked.data["row"], tracked.tracker_id, strict=True):
                ids[int(row)] = int(track_id)
        return ids

    def _mean_class(self, track_id: int, logits: Tensor) -> Tensor:
        total, count = self._classes.pop(track_id, (torch.zeros_like(logits), 0))
        self._classes[track_id] = (total + logits, count + 1)  # the latest last
        for oldest in list(self._classes)[: max(0, len(self._classes) - MEMORY_SIZE)]:
            del self._classes[oldest]
        return (total + logits) / (count + 1)


class ByteTracker(BoxTracker):
    """ByteTrack (arXiv:2110.06864): confident boxes first, then the others where a track still lacks one.

    Args:
        lost_track_buffer: Frames at 30 a second that a track is remembered for out of sight.
        frame_rate: Frames a second of the video.
        track_activation_threshold: Score from which a box starts a track.
        minimum_consecutive_frames: Frames in a row that an object must be seen on before it is reported.
        minimum_iou_threshold: Box IoU from which a box may continue a track.
        high_conf_det_threshold: Score from which a box is confident.
        min_score: Class probability from which a query takes part.
        duplicate_iou: Mask IoU from which two queries are one object.
    """

    kind = "bytetrack"
    class_name = "ByteTrackTracker"

    def __init__(
        self,
        lost_track_buffer: Count = 30,
        frame_rate: NonNegative = 30.0,
        track_activation_threshold: Share = 0.7,
        minimum_consecutive_frames: PositiveInt = 2,
        minimum_iou_threshold: Share = 0.1,
        high_conf_det_threshold: Share = 0.6,
        min_score: Share = 0.1,
        duplicate_iou: Share = 0.5,
    ) -> None:
        options = {
            "lost_track_buffer": lost_track_buffer,
            "frame_rate": frame_rate,
            "track_activation_threshold": track_activation_threshold,
            "minimum_consecutive_frames": minimum_consecutive_frames,
            "minimum_iou_threshold": minimum_iou_threshold,
            "high_conf_det_threshold": high_conf_det_threshold,
        }
        super().__init__(min_score, duplicate_iou, options)


class OCSortTracker(BoxTracker):
    """OC-SORT (arXiv:2203.14360): motion is estimated from what was seen, and mended when a track is found again.

    Args:
        lost_track_buffer: Frames at 30 a second that a track is remembered for out of sight.
        frame_rate: Frames a second of the video.
        minimum_consecutive_frames: Frames in a row that an object must be seen on before it is reported.
        minimum_iou_threshold: Box IoU from which a box may continue a track.
        direction_consistency_weight: Weight of keeping the direction of motion.
        high_conf_det_threshold: Score from which a box takes part.
        delta_t: Frames that a direction is measured over.
        min_score: Class probability from which a query takes part.
        duplicate_iou: Mask IoU from which two queries are one object.
    """

    kind = "ocsort"
    class_name = "OCSORTTracker"

    def __init__(
        self,
        lost_track_buffer: Count = 30,
        frame_rate: NonNegative = 30.0,
        minimum_consecutive_frames: PositiveInt = 3,
        minimum_iou_threshold: Share = 0.3,
        direction_consistency_weight: NonNegative = 0.2,
        high_conf_det_threshold: Share = 0.6,
        delta_t: PositiveInt = 3,
        min_score: Share = 0.1,
        duplicate_iou: Share = 0.5,
    ) -> None:
        options = {
            "lost_track_buffer": lost_track_buffer,
            "frame_rate": frame_rate,
            "minimum_consecutive_frames": minimum_consecutive_frames,
            "minimum_iou_threshold": minimum_iou_threshold,
            "direction_consistency_weight": direction_consistency_weight,
            "high_conf_det_threshold": high_conf_det_threshold,
            "delta_t": delta_t,
        }
        super().__init__(min_score, duplicate_iou, options)


class BoTSortTracker(BoxTracker):
    """BoT-SORT (arXiv:2206.14651) without its camera motion, which is measured on pixels that trackers do not see.

    Args:
        lost_track_buffer: Frames at 30 a second that a track is remembered for out of sight.
        frame_rate: Frames a second of the video.
        track_activation_threshold: Score from which a box starts a track.
        minimum_consecutive_frames: Frames in a row that an object must be seen on before it is reported.
        first_iou_threshold: Box IoU from which a confident box may continue a track.
        second_iou_threshold: Box IoU from which another box may.
        unconfirmed_iou_threshold: Box IoU from which a box may continue a track that is not reported yet.
        high_conf_det_threshold: Score from which a box is confident.
        min_score: Class probability from which a query takes part.
        duplicate_iou: Mask IoU from which two queries are one object.
    """

    kind = "botsort"
    class_name = "BoTSORTTracker"

    def __init__(
        self,
        lost_track_buffer: Count = 30,
        frame_rate: NonNegative = 30.0,
        track_activation_threshold: Share = 0.7,
        minimum_consecutive_frames: PositiveInt = 2,
        first_iou_threshold: Share = 0.2,
        second_iou_threshold: Share = 0.5,
        unconfirmed_iou_threshold: Share = 0.3,
        high_conf_det_threshold: Share = 0.6,
        min_score: Share = 0.1,
        duplicate_iou: Share = 0.5,
    ) -> None:
        options = {
            "lost_track_buffer": lost_track_buffer,
            "frame_rate": frame_rate,
            "track_activation_threshold": track_activation_threshold,
            "minimum_consecutive_frames": minimum_consecutive_frames,
            "minimum_iou_threshold_first_assoc": first_iou_threshold,
            "minimum_iou_threshold_second_assoc": second_iou_threshold,
            "minimum_iou_threshold_unconfirmed_assoc": unconfirmed_iou_threshold,
            "high_conf_det_threshold": high_conf_det_threshold,
            "enable_cmc": False,
        }
        super().__init__(min_score, duplicate_iou, options)


class SortTracker(BoxTracker):
    """SORT (arXiv:1602.00763): a Kalman filter and the IoU of boxes.

    Args:
        lost_track_buffer: Frames at 30 a second that a track is remembered for out of sight.
        frame_rate: Frames a second of the video.
        track_activation_threshold: Score from which a box starts a track.
        minimum_consecutive_frames: Frames in a row that an object must be seen on before it is reported.
        minimum_iou_threshold: Box IoU from which a box may continue a track.
        min_score: Class probability from which a query takes part.
        duplicate_iou: Mask IoU from which two queries are one object.
    """

    kind = "sort"
    class_name = "SORTTracker"

    def __init__(
        self,
        lost_track_buffer: Count = 30,
        frame_rate: NonNegative = 30.0,
        track_activation_threshold: Share = 0.25,
        minimum_consecutive_frames: PositiveInt = 3,
        minimum_iou_threshold: Share = 0.3,
        min_score: Share = 0.1,
        duplicate_iou: Share = 0.5,
    ) -> None:
        options = {
            "lost_track_buffer": lost_track_buffer,
            "frame_rate": frame_rate,
            "track_activation_threshold": track_activation_threshold,
            "minimum_consecutive_frames": minimum_consecutive_frames,
            "minimum_iou_threshold": minimum_iou_threshold,
        }
        super().__init__(min_score, duplicate_iou, options)


def _boxes(output: ClipOutput, query_indices: Tensor) -> np.ndarray:
    """Boxes around the masks of some queries on a frame, (x0, y0, x1, y1) in pixels of the model, ``(N, 4)``."""
    logits = output.mask_logits.select(query_indices.to(output.mask_logits.embeddings.device))
    masks = (logits.dense()[0, :, 0] > 0).cpu().numpy()  # (N, h, w)
    scale = [padded / side for padded, side in zip(output.padded_size, masks.shape[1:], strict=True)]
    boxes = np.zeros((len(masks), 4))
    for box, mask in zip(boxes, masks, strict=True):
        for axis, factor in ((0, scale[0]), (1, scale[1])):
            seen = np.flatnonzero(mask.any(axis=1 - axis))
            box[1 - axis], box[3 - axis] = seen[0] * factor, (seen[-1] + 1) * factor
    return boxes
