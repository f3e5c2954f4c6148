"""The online tracker of CTVIS (arXiv:2307.12616): re-identification by a memory bank, for any segmenter.

It has no weights. It is meant for segmenters whose query embeddings were trained to tell objects apart (a re-ID head
and a contrastive loss).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from video_mask2former.mask_logits import MaskLogits
from video_mask2former.option_values import Count, PositiveInt, Share
from video_mask2former.structures import ClipOutput
from video_mask2former.tracking.association import cosine_similarity
from video_mask2former.tracking.base import TrackUpdate, check_clip, check_state_kind
from video_mask2former.tracking.detections import to_cpu
from video_mask2former.tracking.memory_bank import MemoryBank, MemoryKind

_EPSILON = 1e-6


@dataclass
class _Result:
    """What was reported of one track since it was last withdrawn."""

    class_logits: Tensor  # (K + 1,), sum or maximum
    num_seen: int
    last_seen: int


class CTVISTracker:
    """Greedy matching of detections, the most confident first, with a bank of tracks.

    Of the published code it keeps every rule and one defect: a short track that turns out to be noise is withdrawn,
    but stays in the bank, so that its id may come back. Another defect is mended: when all tracks were forgotten, the
    next object starts a new one (the published code stops with an error).

    Args:
        similarity: Of a detection and a track: ``bisoftmax``, the mean of the softmax of their dot products over tracks
            and over detections, or ``cosine``.
        matching: ``greedy`` in the order of scores, or ``hungarian``, all at once.
        match_threshold: Similarity above which a detection may continue a track.
        select_threshold: Class probability above which a query is a detection; the best query always is.
        birth_threshold: Class probability above which an unmatched detection starts a track.
        nms_iou: Mask IoU above which the less confident of two detections is dropped.
        weigh_by_age: Where several tracks are similar enough, prefer the one seen on more frames.
        memory: What stands for a track: see :class:`~video_mask2former.tracking.memory_bank.MemoryBank`.
        memory_size: Latest embeddings kept of a track.
        patience: Frames out of sight after which a track is forgotten.
        short_tracks: Three numbers (n, seen, gone): after frame n, a track seen on fewer than ``seen`` frames and out
            of sight for the last ``gone`` or more is withdrawn.
        class_logits: A track's class logits are the ``mean`` or the ``max`` of those of its frames.
    """

    def __init__(
        self,
        *,
        similarity: Literal["bisoftmax", "cosine"] = "bisoftmax",
        matching: Literal["greedy", "hungarian"] = "greedy",
        match_threshold: Share = 0.3,
        select_threshold: Share = 0.01,
        birth_threshold: Share = 0.01,
        nms_iou: Share = 0.6,
        weigh_by_age: bool = True,
        memory: MemoryKind = "similarity_guided",
        memory_size: PositiveInt = 10,
        patience: Count = 20,
        short_tracks: tuple[Count, Count, Count] = (8, 3, 2),
        class_logits: Literal["mean", "max"] = "mean",
    ) -> None:
        self._bank = MemoryBank(memory, memory_size, patience)
        self._similarity_kind = similarity
        self._matching = matching
        self._match_threshold = match_threshold
        self._select_threshold = select_threshold
        self._birth_threshold = birth_threshold
        self._nms_iou = nms_iou
        self._weigh_by_age = weigh_by_age
        self._short_tracks = short_tracks
        self._class_logits = class_logits
        self._results: dict[int, _Result] = {}
        self._num_frames = 0
        self._last_frame = -1
        self._next_id = 1

    def update(self, output: ClipOutput, frame_indices: Sequence[int]) -> TrackUpdate:
        """Take in the next frame, or the next clip of a segmenter that finds the same objects on all its frames."""
        check_clip(output, frame_indices)
        num_new = max(1, sum(index > self._last_frame for index in frame_indices))
        self._last_frame = max(self._last_frame, frame_indices[-1])
        frame = self._num_frames + num_new - 1  # number of the last one, from 0
        logits = to_cpu(output.class_logits[0])
        scores = logits.softmax(dim=1)[:, :-1].amax(dim=1)
        queries = self._detections(scores, output.mask_logits)
        scores, embeddings = scores[queries], to_cpu(output.query_embeddings[0])[queries]
        ids = self._match(scores, embeddings)
        seen = [row for row, track_id in enumerate(ids) if track_id]
        for row in seen:
            self._bank.add(ids[row], embeddings[row].clone(), float(scores[row]), frame, num_new)
            self._record(ids[row], logits[queries[row]], frame, num_new)
        self._bank.forget(frame)
        self._num_frames += num_new
        withdrawn = self._withdraw(frame)
        shown = [row for row in seen if ids[row] not in withdrawn]
        chosen = [self._results[ids[row]] for row in shown]
        means = [self._mean_logits(result) for result in chosen]
        return TrackUpdate(
            track_ids=tuple(ids[row] for row in shown),
            query_indices=tuple(int(queries[row]) for row in shown),
            class_logits=torch.stack(means) if means else logits[:0],
            clip_logits=logits[queries[shown]] if shown else logits[:0],
            withdrawn_ids=withdrawn,
        )

    def next_queries(self) -> Tensor | None:
        """None: every frame starts from the learned queries."""
        return None

    def state_dict(self) -> dict[str, Any]:
        """The bank, and what was reported."""
        return {
            "kind": "ctvis",
            "bank": self._bank.state_dict(),
            "results": {track_id: vars(result).copy() for track_id, result in self._results.items()},
            "num_frames": self._num_frames,
            "last_frame": self._last_frame,
            "next_id": self._next_id,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a saved state."""
        check_state_kind(state, "ctvis")
        self._bank.load_state_dict(state["bank"])
        self._results = {track_id: _Result(**values) for track_id, values in state["results"].items()}
        self._num_frames = state["num_frames"]
        self._last_frame = state["last_frame"]
        self._next_id = state["next_id"]

    def _detections(self, scores: Tensor, mask_logits: MaskLogits) -> Tensor:
        """The queries that may be objects, the most confident first, without duplicates, ``(N,)``."""
        order = scores.argsort(descending=True, stable=True)
        chosen = order[scores[order] > self._select_threshold]
        if len(chosen) == 0:
            chosen = order[:1]
        iou = _mask_iou(mask_logits.select(chosen.to(mask_logits.embeddings.device)))
        is_kept = torch.ones(len(chosen), dtype=torch.bool)
        for row in range(len(chosen)):
            if is_kept[row]:
                is_kept[row + 1 :] &= iou[row, row + 1 :] <= self._nms_iou
        return chosen[is_kept]

    def _match(self, scores: Tensor, embeddings: Tensor) -> list[int]:
        """Id of each detection, 0 for those that get none."""
        ids = [0] * len(scores)
        if self._bank.tracks:
            similarity = self._similarity(embeddings, self._bank.representations())
            known = list(self._bank.tracks)
            pairs = self._greedy(similarity) if self._matching == "greedy" else self._hungarian(similarity)
            for row, column in pairs:
                ids[row] = known[column]
        for row, score in enumerate(scores.tolist()):
            if not ids[row] and score > self._birth_threshold:
                ids[row] = self._next_id
                self._next_id += 1
        return ids

    def _similarity(self, embeddings: Tensor, memories: Tensor) -> Tensor:
        if self._similarity_kind == "cosine":
            return cosine_similarity(embeddings, memories)
        products = embeddings @ memories.T
        return (products.softmax(dim=1) + products.softmax(dim=0)) / 2

    def _greedy(self, similarity: Tensor) -> list[tuple[int, int]]:
        """Pairs of detection and track, in the order of detections; a track taken is not a track for the others."""
        ages = similarity.new_tensor([track.num_seen for track in self._bank.tracks.values()])
        similarity = similarity.clone()
        pairs = []
        for row in range(len(similarity)):
            gains = similarity[row]
            is_similar = gains > self._match_threshold
            if self._weigh_by_age and int(is_similar.sum()) > 1:
                gains = gains * torch.where(is_similar, ages, ages[is_similar].mean())
            gain, column = gains.max(dim=0)
            if gain > self._match_threshold:
                pairs.append((row, int(column)))
                similarity[:, column] = 0
        return pairs

    def _hungarian(self, similarity: Tensor) -> list[tuple[int, int]]:
        rows, columns = linear_sum_assignment(similarity.numpy(), maximize=True)
        pairs = zip(rows.tolist(), columns.tolist(), strict=True)
        return [pair for pair in pairs if similarity[pair] > self._match_threshold]

    def _record(self, track_id: int, logits: Tensor, frame: int, num_frames: int) -> None:
        value = logits * num_frames if self._class_logits == "mean" else logits
        result = self._results.get(track_id)
        if result is None:
            self._results[track_id] = _Result(value.clone(), num_frames, frame)
            return
        before = result.class_logits
        result.class_logits = before + value if self._class_logits == "mean" else torch.maximum(before, value)
        result.num_seen += num_frames
        result.last_seen = frame

    def _mean_logits(self, result: _Result) -> Tensor:
        return result.class_logits / result.num_seen if self._class_logits == "mean" else result.class_logits

    def _withdraw(self, frame: int) -> tuple[int, ...]:
        """Ids of the tracks that turned out to be noise; forgets what was reported of them."""
        first, least_seen, gone = self._short_tracks
        if frame <= first:
            return ()
        noise = tuple(
            track_id
            for track_id, result in self._results.items()
            if result.num_seen < least_seen and frame - result.last_seen >= gone
        )
        for track_id in noise:
            del self._results[track_id]
        # what is no longer in the bank cannot come back, and was judged
        self._results = {
            track_id: result
            for track_id, result in self._results.items()
            if track_id in self._bank.tracks or frame - result.last_seen < gone
        }
        return noise


def _mask_iou(mask_logits: MaskLogits) -> Tensor:
    """IoU of the thresholded masks of every pair, ``(N, N)`` on the CPU; 1 for two empty ones, as published."""
    masks = (mask_logits.dense()[0] > 0).flatten(1).float()
    common = (masks @ masks.T).cpu()
    areas = common.diagonal()
    return (common + _EPSILON) / (areas[:, None] + areas[None] - common + _EPSILON)
