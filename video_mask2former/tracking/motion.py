"""Tracking by looks and by where things go: for models whose embeddings alone do not tell neighbours apart.

The place of each track on the next frame is predicted from its speed (SORT, arXiv:1602.00763), and boxes are widened
before they are compared, so that small and fast objects overlap at all (C-BIoU, arXiv:2211.14317).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import torch
from torch import Tensor

from video_mask2former.option_values import NonNegative, Range, Share
from video_mask2former.structures import ClipOutput
from video_mask2former.tracking.base import TrackUpdate, check_clip, check_state_kind
from video_mask2former.tracking.detections import Detections, find_detections, to_cpu
from video_mask2former.tracking.track_memory import TrackMemory, TrackRules


class MotionTracker:
    """Continues a track with the query that looks like it and is where it should be by now.

    The similarity is a weighted mean of the IoU of widened boxes, that of the mask and the one where the track is
    expected, and of the cosine of the query embeddings. A track that was not seen for more than ``patience`` frames
    may be anywhere: then the cosine decides alone, as in
    :class:`~video_mask2former.tracking.query_matching.QueryTracker`.

    Args:
        rules: Thresholds of the life of a track.
        box_weight: Weight of the boxes; the cosine has the rest.
        widening: By how much of its width and height each box is widened, half of it on either side.
        speed_momentum: Share of the old speed at each sight of a track but the second, where there is none.
    """

    def __init__(
        self,
        rules: TrackRules | None = None,
        box_weight: Share = 0.4,
        widening: NonNegative = 0.5,
        speed_momentum: Annotated[float, Range(at_least=0, at_most=1)] = 0.8,
    ) -> None:
        for name, value in (("box_weight", box_weight), ("speed_momentum", speed_momentum)):
            if not 0.0 <= value <= 1.0:
                raise ValueError(f"{name} must be in [0, 1], got {value}.")
        if widening < 0.0:
            raise ValueError(f"widening must be at least 0, got {widening}.")
        self._memory = TrackMemory(rules or TrackRules())
        self._box_weight = box_weight
        self._widening = widening
        self._speed_momentum = speed_momentum
        # Of each track in memory: its box (x0, y0, x1, y1) where it was last seen, that frame, and (x, y) per frame
        self._boxes: dict[int, Tensor] = {}
        self._seen: dict[int, int] = {}
        self._speeds: dict[int, Tensor] = {}

    def update(self, output: ClipOutput, frame_indices: Sequence[int]) -> TrackUpdate:
        """Take in the next clip; see :meth:`Tracker.update`."""
        check_clip(output, frame_indices)
        rules = self._memory.rules
        detections = find_detections(output, rules.keep_score)
        similarity = self._memory.similarity(detections, to_cpu(output.query_embeddings[0]))
        first, last = (_boxes(output, detections, position) for position in (0, len(frame_indices) - 1))
        similarity = self._with_boxes(similarity, first, frame_indices[0])
        update = self._memory.update(detections, self._memory.gain(similarity, frame_indices), frame_indices)
        rows = {query: row for row, query in enumerate(detections.query_indices.tolist())}
        for track_id, query in zip(update.track_ids, update.query_indices, strict=True):
            self._see(track_id, first[rows[query]], last[rows[query]], frame_indices)
        known = {track.track_id for track in self._memory.tracks}
        for state in (self._boxes, self._seen, self._speeds):
            for forgotten in state.keys() - known:
                del state[forgotten]
        return update

    def next_queries(self) -> Tensor | None:
        """None: every clip starts from the model's own queries."""
        return None

    def state_dict(self) -> dict[str, Any]:
        """The tracks in memory, their boxes and speeds."""
        return {
            "kind": "motion",
            "memory": self._memory.state_dict(),
            "boxes": dict(self._boxes),
            "seen": dict(self._seen),
            "speeds": dict(self._speeds),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a saved state."""
        check_state_kind(state, "motion")
        self._memory.load_state_dict(state["memory"])
        self._boxes, self._seen, self._speeds = dict(state["boxes"]), dict(state["seen"]), dict(state["speeds"])

    def _with_boxes(self, similarity: Tensor, boxes: Tensor, frame: int) -> Tensor:
        """Mix the boxes into the similarity of the tracks that were seen lately."""
        similarity = similarity.clone()
        for column, track in enumerate(self._memory.tracks):
            box = self._boxes.get(track.track_id)
            elapsed = frame - self._seen.get(track.track_id, frame)
            if box is None or box.isnan().any() or elapsed > self._memory.rules.patience + 1:
                continue
            expected = box
            if track.track_id in self._speeds:
                expected = box + elapsed * self._speeds[track.track_id].repeat(2)
            iou = _widened_iou(boxes, expected, self._widening)
            mixed = self._box_weight * iou + (1.0 - self._box_weight) * similarity[:, column]
            similarity[:, column] = torch.where(iou.isnan(), similarity[:, column], mixed)
        return similarity

    def _see(self, track_id: int, first: Tensor, last: Tensor, frame_indices: Sequence[int]) -> None:
        """Note where a track is now, and how fast it got there from where it was seen before."""
        if track_id in self._boxes:
            self._move(
                track_id, _centre(first) - _centre(self._boxes[track_id]), frame_indices[0] - self._seen[track_id]
            )
        self._move(track_id, _centre(last) - _centre(first), frame_indices[-1] - frame_indices[0])
        self._boxes[track_id], self._seen[track_id] = last, frame_indices[-1]

    def _move(self, track_id: int, way: Tensor, elapsed: int) -> None:
        """Note the way of a track in some frames; NaN where it has no mask on one of the two."""
        if elapsed <= 0 or way.isnan().any():
            return
        speed, momentum = way / elapsed, self._speed_momentum
        if track_id in self._speeds:
            speed = momentum * self._speeds[track_id] + (1.0 - momentum) * speed
        self._speeds[track_id] = speed


def _boxes(output: ClipOutput, detections: Detections, position: int) -> Tensor:
    """Box of each detection on one frame, (x0, y0, x1, y1) as shares of its sides, NaN without a mask, ``(N, 4)``."""
    logits = output.mask_logits.select(detections.query_indices.to(output.mask_logits.embeddings.device))
    masks = logits.frames(position, position + 1).dense()[0, :, 0] > 0  # (N, h, w)
    height, width = masks.shape[1:]
    sides = []
    for profile, length in ((masks.any(dim=1), width), (masks.any(dim=2), height)):
        places = torch.arange(length, device=masks.device)
        start = torch.where(profile, places, length).amin(dim=1)
        stop = torch.where(profile, places + 1, 0).amax(dim=1)
        sides.append((start / length, stop / length))
    (left, right), (top, bottom) = sides
    boxes = torch.stack([left, top, right, bottom], dim=1).float().cpu()
    return boxes.masked_fill((boxes[:, 2] <= boxes[:, 0])[:, None], torch.nan)


def _centre(box: Tensor) -> Tensor:
    return (box[:2] + box[2:]) / 2


def _widened_iou(boxes: Tensor, box: Tensor, widening: float) -> Tensor:
    """IoU of each box ``(N, 4)`` with one, all of them widened, ``(N,)``."""
    boxes, box = _widened(boxes, widening), _widened(box[None], widening)
    sides = (torch.minimum(boxes, box)[:, 2:] - torch.maximum(boxes, box)[:, :2]).clamp(min=0)
    shared = sides.prod(dim=1)
    return shared / (_area(boxes) + _area(box) - shared)


def _widened(boxes: Tensor, widening: float) -> Tensor:
    margin = (boxes[:, 2:] - boxes[:, :2]) * widening / 2
    return torch.cat([boxes[:, :2] - margin, boxes[:, 2:] + margin], dim=1)


def _area(boxes: Tensor) -> Tensor:
    return (boxes[:, 2:] - boxes[:, :2]).prod(dim=1)
