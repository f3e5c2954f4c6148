"""The tracks of a video: how they are born, recognised, lost, remembered and forgotten."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from video_mask2former.tracking.association import assign_by_gain, cosine_similarity
from video_mask2former.tracking.base import TrackUpdate
from video_mask2former.tracking.detections import Detections

# Frames after which a track counts as old: where two claim one object, the older one has it
OLD_AGE = 20


@dataclass(frozen=True)
class TrackRules:
    """When a query continues a track, starts one or is ignored.

    Similarities are cosines of embeddings from which the mean over all queries of the video so far was subtracted:
    what all queries share says nothing about which object one of them is, and would lift every cosine.

    Attributes:
        birth_score: Class probability from which an unmatched query starts a new track.
        keep_score: Class probability from which a query may continue a track; below it the object is not seen.
        match_threshold: Least similarity to a track seen within the last ``patience`` frames.
        revival_threshold: Least similarity to a track that was out of sight for longer.
        patience: Frames without a sight of it after which a track counts as out of sight.
        memory_size: Most tracks remembered; beyond it the one out of sight the longest is forgotten, its id with it.
        memory_momentum: Share of the old in the long-term embedding at each sight of a track.
        duplicate_iou: Mask IoU with an object reported on the same clip from which a query is a duplicate of it.
        part_share: As that, for an object of the same class: what the masks share, by the smaller of the two. Objects
            of other classes may lie within each other, as cups do on tables.
    """

    birth_score: float = 0.5
    keep_score: float = 0.2
    match_threshold: float = 0.4
    revival_threshold: float = 0.6
    patience: int = 10
    memory_size: int = 256
    memory_momentum: float = 0.9
    duplicate_iou: float = 0.5
    part_share: float = 0.5

    def __post_init__(self) -> None:
        if not 0.0 <= self.keep_score <= self.birth_score <= 1.0:
            raise ValueError(
                f"keep_score must not be above birth_score, both in [0, 1], got {self.keep_score = } and "
                f"{self.birth_score = }."
            )
        if not -1.0 <= self.match_threshold <= self.revival_threshold <= 1.0:
            raise ValueError(
                "match_threshold must not be above revival_threshold, both in [-1, 1], got "
                f"{self.match_threshold = } and {self.revival_threshold = }."
            )
        if self.patience < 0 or self.memory_size < 1:
            raise ValueError(
                f"patience must be at least 0 and memory_size at least 1, got {self.patience = } and "
                f"{self.memory_size = }."
            )
        if not 0.0 <= self.memory_momentum < 1.0:
            raise ValueError(f"memory_momentum must be in [0, 1), got {self.memory_momentum}.")
        if not 0.0 < self.duplicate_iou <= 1.0 or not 0.0 < self.part_share <= 1.0:
            raise ValueError(
                f"duplicate_iou and part_share must be in (0, 1], got {self.duplicate_iou = } and {self.part_share = }."
            )


@dataclass(frozen=True)
class RememberedTrack:
    """One track as the memory holds it.

    Attributes:
        track_id: Its id.
        latest: Embedding where it was last seen, ``(C,)``.
        memory: Running mean of its embeddings, ``(C,)``.
        logit_sum: Sum over its frames of its class logits, ``(K + 1,)``.
        num_frames: Number of frames in that sum.
        last_frame: Index of the last frame it was seen on.
    """

    track_id: int
    latest: Tensor
    memory: Tensor
    logit_sum: Tensor
    num_frames: int
    last_frame: int


class TrackMemory:
    """The tracks that can be continued, and the rules by which they are.

    Trackers differ in what they hold similar; everything else about the life of a track is here. Ids count from 1
    and are never given twice.
    """

    def __init__(self, rules: TrackRules) -> None:
        self.rules = rules
        self.tracks: list[RememberedTrack] = []
        self.last_frame = -1
        self._next_id = 1
        self._embedding_sum: Tensor | None = None
        self._num_embeddings = 0

    def similarity(self, detections: Detections, all_embeddings: Tensor) -> Tensor:
        """How like each track each detection is, ``(N, number of tracks)``.

        Args:
            detections: What the clip shows.
            all_embeddings: Embeddings of all queries of the clip, ``(Q, C)``, which move the mean.
        """
        mean = self._update_mean(all_embeddings)
        if not self.tracks:
            return detections.scores.new_zeros(len(detections), 0)
        centred = detections.embeddings - mean
        latest = cosine_similarity(centred, torch.stack([track.latest for track in self.tracks]) - mean)
        memory = cosine_similarity(centred, torch.stack([track.memory for track in self.tracks]) - mean)
        return torch.maximum(latest, memory)

    def gain(self, similarity: Tensor, frame_indices: Sequence[int]) -> Tensor:
        """How far each similarity is above the threshold of its track, ``(N, number of tracks)``."""
        hidden = [frame_indices[0] - track.last_frame > self.rules.patience + 1 for track in self.tracks]
        thresholds = [self.rules.revival_threshold if out else self.rules.match_threshold for out in hidden]
        return similarity - similarity.new_tensor(thresholds)

    def update(self, detections: Detections, gain: Tensor, frame_indices: Sequence[int]) -> TrackUpdate:
        """Continue and start tracks.

        Args:
            detections: What the clip shows, N of them.
            gain: How well each fits each track, not above 0 where it may not continue it, ``(N, number of tracks)``.
            frame_indices: The frames of the clip.
        """
        num_new_frames = max(1, sum(index > self.last_frame for index in frame_indices))
        self.last_frame = max(self.last_frame, frame_indices[-1])
        accepted: list[int] = []
        updated: list[RememberedTrack] = []
        pairs = assign_by_gain(gain)
        # what comes first suppresses its duplicates: newcomers must not hide those that were there before
        for row, column in sorted(pairs, key=lambda pair: -self._claim(float(gain[pair]), self.tracks[pair[1]])):
            if not self._is_duplicate(detections, row, accepted):
                accepted.append(row)
                updated.append(self._continued(self.tracks[column], detections, row, num_new_frames))
        matched = {row for row, _ in pairs}
        for row in range(len(detections)):  # the most confident first
            newborn = row not in matched and float(detections.scores[row]) >= self.rules.birth_score
            if newborn and not self._is_duplicate(detections, row, accepted):
                accepted.append(row)
                updated.append(self._born(detections, row, num_new_frames))
        self._remember(updated)
        sums = [track.logit_sum / track.num_frames for track in updated]
        no_logits = detections.class_logits[:0]
        return TrackUpdate(
            track_ids=tuple(track.track_id for track in updated),
            query_indices=tuple(detections.query_indices[accepted].tolist()),
            class_logits=torch.stack(sums) if sums else no_logits,
            clip_logits=detections.class_logits[accepted] if accepted else no_logits,
        )

    def state_dict(self) -> dict[str, Any]:
        """Everything remembered."""
        return {
            "tracks": [vars(track).copy() for track in self.tracks],
            "last_frame": self.last_frame,
            "next_id": self._next_id,
            "embedding_sum": self._embedding_sum,
            "num_embeddings": self._num_embeddings,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a saved state."""
        self.tracks = [RememberedTrack(**values) for values in state["tracks"]]
        self.last_frame = state["last_frame"]
        self._next_id = state["next_id"]
        self._embedding_sum = state["embedding_sum"]
        self._num_embeddings = state["num_embeddings"]

    def _update_mean(self, all_embeddings: Tensor) -> Tensor:
        finite = all_embeddings[all_embeddings.isfinite().all(dim=1)]
        total = finite.sum(dim=0)
        self._embedding_sum = total if self._embedding_sum is None else self._embedding_sum + total
        self._num_embeddings += len(finite)
        return self._embedding_sum / max(1, self._num_embeddings)

    @staticmethod
    def _claim(gain: float, track: RememberedTrack) -> float:
        return gain * min(track.num_frames, OLD_AGE)

    def _is_duplicate(self, detections: Detections, row: int, accepted: list[int]) -> bool:
        is_duplicate = detections.mask_iou[row, accepted] >= self.rules.duplicate_iou
        is_part = detections.mask_share[row, accepted] >= self.rules.part_share
        is_same_class = detections.labels[accepted] == detections.labels[row]
        return bool((is_duplicate | is_part & is_same_class).any())

    def _continued(self, track: RememberedTrack, seen: Detections, row: int, num_frames: int) -> RememberedTrack:
        momentum = self.rules.memory_momentum
        return RememberedTrack(
            track.track_id,
            latest=seen.embeddings[row].clone(),  # a view would keep the clip's other rows alive
            memory=momentum * track.memory + (1.0 - momentum) * seen.embeddings[row],
            logit_sum=track.logit_sum + num_frames * seen.class_logits[row],
            num_frames=track.num_frames + num_frames,
            last_frame=self.last_frame,
        )

    def _born(self, seen: Detections, row: int, num_frames: int) -> RememberedTrack:
        embedding, logits = seen.embeddings[row].clone(), seen.class_logits[row]
        track_id = self._next_id
        self._next_id += 1
        return RememberedTrack(track_id, embedding, embedding, num_frames * logits, num_frames, self.last_frame)

    def _remember(self, updated: list[RememberedTrack]) -> None:
        by_id = {track.track_id: track for track in self.tracks} | {track.track_id: track for track in updated}
        newest_first = sorted(by_id.values(), key=lambda track: (-track.last_frame, track.track_id))
        kept = newest_first[: self.rules.memory_size]
        self.tracks = sorted(kept, key=lambda track: track.track_id)
