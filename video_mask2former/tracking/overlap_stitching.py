"""Stitching clips that share frames: the masks on those frames say which object is which."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from video_mask2former.structures import ClipOutput
from video_mask2former.tracking.base import TrackUpdate, check_clip, check_state_kind
from video_mask2former.tracking.detections import Detections, find_detections, to_cpu
from video_mask2former.tracking.track_memory import TrackMemory, TrackRules


class OverlapTracker:
    """Continues a track with the query whose masks agree with it on the frames that two clips share.

    The similarity is a weighted mean of the soft mask IoU on the shared frames and the cosine of the query embeddings.
    Where there is no evidence from masks (no shared frame, a track that was not in the last clip, or one that neither
    clip sees on the shared frames) the cosine decides alone, as in
    :class:`~video_mask2former.tracking.query_matching.QueryTracker`.

    Args:
        rules: Thresholds of the life of a track.
        mask_weight: Weight of the mask IoU, in [0, 1]; the cosine has the rest.
    """

    def __init__(self, rules: TrackRules | None = None, mask_weight: float = 0.7) -> None:
        if not 0.0 <= mask_weight <= 1.0:
            raise ValueError(f"mask_weight must be in [0, 1], got {mask_weight}.")
        self._memory = TrackMemory(rules or TrackRules())
        self._mask_weight = mask_weight
        # The last clip: its frames, the tracks on it and their mask probabilities (number of tracks, T, h, w)
        self._frame_indices: list[int] = []
        self._track_ids: list[int] = []
        self._probabilities: Tensor | None = None

    def update(self, output: ClipOutput, frame_indices: Sequence[int]) -> TrackUpdate:
        """Take in the next clip; see :meth:`Tracker.update`."""
        check_clip(output, frame_indices)
        detections = find_detections(output, self._memory.rules.keep_score)
        similarity = self._memory.similarity(detections, to_cpu(output.query_embeddings[0]))
        similarity = self._with_masks(similarity, output, detections, frame_indices)
        update = self._memory.update(detections, self._memory.gain(similarity, frame_indices), frame_indices)
        chosen = torch.tensor(update.query_indices, dtype=torch.int64)
        self._frame_indices, self._track_ids = list(frame_indices), list(update.track_ids)
        self._probabilities = _probabilities(output, chosen, range(len(frame_indices)))
        return update

    def next_queries(self) -> Tensor | None:
        """None: every clip starts from the learned queries."""
        return None

    def state_dict(self) -> dict[str, Any]:
        """The tracks in memory and the masks of the last clip."""
        return {
            "kind": "overlap",
            "memory": self._memory.state_dict(),
            "frame_indices": list(self._frame_indices),
            "track_ids": list(self._track_ids),
            "probabilities": self._probabilities,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a saved state."""
        check_state_kind(state, "overlap")
        self._memory.load_state_dict(state["memory"])
        self._frame_indices = list(state["frame_indices"])
        self._track_ids = list(state["track_ids"])
        self._probabilities = state["probabilities"]

    def _with_masks(
        self, similarity: Tensor, output: ClipOutput, detections: Detections, frame_indices: Sequence[int]
    ) -> Tensor:
        """Mix mask IoU into the similarity of the tracks of the last clip."""
        shared = [index for index in frame_indices if index in self._frame_indices]
        columns = {track.track_id: column for column, track in enumerate(self._memory.tracks)}
        rows_before = [row for row, track_id in enumerate(self._track_ids) if track_id in columns]
        if not shared or not rows_before or self._probabilities is None or not len(detections):
            return similarity
        before = self._probabilities[rows_before][:, [self._frame_indices.index(index) for index in shared]]
        now = _probabilities(output, detections.query_indices, [list(frame_indices).index(index) for index in shared])
        iou, is_seen = _soft_iou(now, before)
        at = [columns[self._track_ids[row]] for row in rows_before]
        mixed = self._mask_weight * iou + (1.0 - self._mask_weight) * similarity[:, at]
        similarity = similarity.clone()
        similarity[:, at] = torch.where(is_seen, mixed, similarity[:, at])
        return similarity


def _probabilities(output: ClipOutput, query_indices: Tensor, positions: Sequence[int]) -> Tensor:
    """Mask probabilities of some queries on some frames, ``(N, number of frames, h, w)`` float16 on the CPU."""
    chosen = output.mask_logits.select(query_indices.to(output.mask_logits.embeddings.device))
    frames = [chosen.frames(index, index + 1).dense()[0].sigmoid().half().cpu() for index in positions]
    return torch.cat(frames, dim=1)


def _soft_iou(now: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
    """Soft IoU of every pair, and whether either mask of the pair is there at all.

    The product form, sum(p q) / sum(p^2 + q^2 - p q), is 1 exactly when the two are equal.
    """
    first, second = now.flatten(1).float(), before.flatten(1).float()
    intersection = first @ second.T
    union = first.square().sum(1)[:, None] + second.square().sum(1)[None, :] - intersection
    is_there = (first > 0.5).any(1)[:, None] | (second > 0.5).any(1)[None, :]
    return intersection / union.clamp(min=1e-6), is_there
