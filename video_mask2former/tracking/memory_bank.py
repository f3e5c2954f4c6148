"""Embeddings of the tracks of a video, and how the one that stands for a track is made of them.

CTVIS (arXiv:2307.12616): the memory of a track moves towards a new embedding as far as that is like the ones before,
so that a frame on which the object is hidden or blurred does not spoil it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

from video_mask2former.ops.embedding_memory import guided_by_similarity

MemoryKind: TypeAlias = Literal["similarity_guided", "momentum", "last", "weighted"]
# Share of the old embedding where the kind is "momentum"
_MOMENTUM = 0.25


@dataclass
class BankedTrack:
    """One track as the bank holds it.

    Attributes:
        track_id: Its id.
        memory: What new detections are compared with, ``(C,)``.
        embeddings: Its latest ones, oldest first, ``(N, C)``.
        scores: Their class probabilities, ``(N,)``.
        num_seen: Frames it was seen on.
        last_seen: Number of the last of them.
    """

    track_id: int
    memory: Tensor
    embeddings: Tensor
    scores: Tensor
    num_seen: int
    last_seen: int


class MemoryBank:
    """The tracks that can be continued.

    Args:
        kind: What stands for a track: a memory ``similarity_guided``, or with ``momentum``, the ``last`` embedding, or
            the mean of the latest ``weighted`` by their scores and their order.
        size: Latest embeddings of each track that are kept.
        patience: Frames without a sight of it after which a track is forgotten.
    """

    def __init__(self, kind: MemoryKind = "similarity_guided", size: int = 10, patience: int = 20) -> None:
        if size < 1 or patience < 0:
            raise ValueError(f"memory_size must be at least 1 and patience at least 0, got {size} and {patience}.")
        self.kind = kind
        self.size = size
        self.patience = patience
        self.tracks: dict[int, BankedTrack] = {}

    def add(self, track_id: int, embedding: Tensor, score: float, frame: int, num_frames: int = 1) -> None:
        """Note a sight of a track, ``frame`` being the number of the last of its ``num_frames`` frames."""
        scores = embedding.new_tensor([score])
        track = self.tracks.get(track_id)
        if track is None:
            self.tracks[track_id] = BankedTrack(track_id, embedding, embedding[None], scores, num_frames, frame)
            return
        memory = self._moved(track, embedding)
        track.embeddings = torch.cat([track.embeddings, embedding[None]])[-self.size :]
        track.scores = torch.cat([track.scores, scores])[-self.size :]
        track.memory = memory
        track.num_seen += num_frames
        track.last_seen = frame

    def forget(self, frame: int) -> None:
        """Let go of the tracks that were out of sight for too long on frame number ``frame``."""
        self.tracks = {key: track for key, track in self.tracks.items() if frame - track.last_seen <= self.patience}

    def representations(self) -> Tensor:
        """What stands for each track, in the order of ``tracks``, ``(number of tracks, C)``."""
        return torch.stack([self._representation(track) for track in self.tracks.values()])

    def state_dict(self) -> dict[str, Any]:
        """All tracks."""
        return {"tracks": [vars(track).copy() for track in self.tracks.values()]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a saved state."""
        self.tracks = {values["track_id"]: BankedTrack(**values) for values in state["tracks"]}

    def _moved(self, track: BankedTrack, embedding: Tensor) -> Tensor:
        if self.kind == "momentum":
            return _MOMENTUM * track.memory + (1 - _MOMENTUM) * embedding
        return guided_by_similarity(track.memory, track.embeddings, embedding)

    def _representation(self, track: BankedTrack) -> Tensor:
        if self.kind == "last":
            return track.embeddings[-1]
        if self.kind == "weighted":
            order = torch.arange(1, len(track.scores) + 1, dtype=track.scores.dtype) / len(track.scores)
            weights = (track.scores + order)[:, None]
            return (weights * track.embeddings).sum(dim=0) / weights.sum()
        return track.memory
