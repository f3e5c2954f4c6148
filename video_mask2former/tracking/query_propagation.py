"""Tracking by propagation: the decoder starts each clip from the queries that found the objects of the last one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from video_mask2former.structures import ClipOutput
from video_mask2former.tracking.base import TrackUpdate, check_clip, check_state_kind
from video_mask2former.tracking.detections import find_detections, to_cpu
from video_mask2former.tracking.track_memory import TrackMemory, TrackRules

# Added to the gain of a query that was started from the track it is compared with: it wins over every other query,
# whose gain is at most 2 (a cosine of 1 over a threshold of -1)
PROPAGATED_GAIN = 2.0


class PropagationTracker:
    """Hands each object's query to the next clip, where it is the same object unless its embedding says otherwise.

    A query that holds no object starts from the model's learned query, and so stays free to find new ones. A query
    whose object went out of sight starts from where it last saw it, for as long as the rules have patience; after
    that it is free again, and the object can still be recognised by its embedding.

    Args:
        rules: Thresholds of the life of a track.
    """

    def __init__(self, rules: TrackRules | None = None) -> None:
        self._memory = TrackMemory(rules or TrackRules())
        self._learned: Tensor | None = None  # (Q, C)
        self._queries: Tensor | None = None  # (Q, C), what the next clip starts from
        self._held: dict[int, int] = {}  # query index to the id of the track it was started from

    def update(self, output: ClipOutput, frame_indices: Sequence[int]) -> TrackUpdate:
        """Take in the next clip; see :meth:`Tracker.update`.

        Raises:
            ValueError: If the first clip's output does not hold the learned queries (its first auxiliary prediction).
        """
        check_clip(output, frame_indices)
        if self._learned is None:
            self._learned = self._queries = _learned_queries(output)
        detections = find_detections(output, self._memory.rules.keep_score)
        similarity = self._memory.similarity(detections, to_cpu(output.query_embeddings[0]))
        gain = self._memory.gain(similarity, frame_indices)
        is_propagated = torch.tensor(
            [
                [self._held.get(query) == track.track_id for track in self._memory.tracks]
                for query in detections.query_indices.tolist()
            ],
            dtype=torch.bool,
        ).reshape(gain.shape)
        gain = torch.where(is_propagated & (gain > 0), gain + PROPAGATED_GAIN, gain)
        update = self._memory.update(detections, gain, frame_indices)
        self._hand_over(update, output.queries[0].detach())
        return update

    def next_queries(self) -> Tensor | None:
        """The queries of the objects in sight, and learned ones beside them; None before the first clip."""
        return None if self._queries is None else self._queries[None]

    def state_dict(self) -> dict[str, Any]:
        """The tracks in memory and the queries that hold them."""
        return {
            "kind": "propagate",
            "memory": self._memory.state_dict(),
            "learned": self._learned,
            "queries": self._queries,
            "held": dict(self._held),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a saved state."""
        check_state_kind(state, "propagate")
        self._memory.load_state_dict(state["memory"])
        self._learned = state["learned"]
        self._queries = state["queries"]
        self._held = dict(state["held"])

    def _hand_over(self, update: TrackUpdate, queries: Tensor) -> None:
        """Choose what each query of the next clip starts from."""
        assert self._learned is not None and self._queries is not None
        seen = dict(zip(update.query_indices, update.track_ids, strict=True))
        waiting = {
            track.track_id
            for track in self._memory.tracks
            if self._memory.last_frame - track.last_frame <= self._memory.rules.patience
        } - set(update.track_ids)
        kept = {query: track for query, track in self._held.items() if track in waiting and query not in seen}
        following = self._learned.clone()
        for query in kept:
            following[query] = self._queries[query]
        for query in seen:
            following[query] = queries[query]
        self._queries, self._held = following, kept | seen


def _learned_queries(output: ClipOutput) -> Tensor:
    """The decoder's learned queries, which the first of its predictions is made from."""
    if not output.auxiliary:
        raise ValueError(
            "query propagation needs the model's learned queries, which are those of its first auxiliary prediction, "
            "but the output has no auxiliary predictions. Use another tracker with this model."
        )
    return output.auxiliary[0].queries[0].detach()
