"""Tracking by query embeddings: the published MinVIS rule (arXiv:2208.02245), and one for videos of any length."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from video_mask2former.structures import ClipOutput
from video_mask2former.tracking.association import match_queries
from video_mask2former.tracking.base import TrackUpdate, check_clip, check_state_kind
from video_mask2former.tracking.detections import find_detections, to_cpu
from video_mask2former.tracking.track_memory import TrackMemory, TrackRules


class MinVISTracker:
    """The published rule: Q tracks, one to one with the queries of the first clip, for the whole video.

    Every clip's queries are assigned to the tracks by the cosine between their embeddings and those that the tracks
    had in the clip before. All Q tracks are reported on every clip, whatever they show, and class logits are averaged
    over all frames; what is an object is decided at the end. This is what published numbers were measured with. An
    object that appears when another has left may take over its track: use :class:`QueryTracker` on long videos.
    """

    def __init__(self) -> None:
        self._embeddings: Tensor | None = None  # (Q, C), of the last clip, in the order of the tracks
        self._logit_sum: Tensor | None = None  # (Q, K + 1)
        self._num_frames = 0
        self._last_frame = -1

    def update(self, output: ClipOutput, frame_indices: Sequence[int]) -> TrackUpdate:
        """Take in the next clip; see :meth:`Tracker.update`."""
        check_clip(output, frame_indices)
        embeddings, logits = to_cpu(output.query_embeddings[0]), to_cpu(output.class_logits[0])
        order = match_queries(embeddings if self._embeddings is None else self._embeddings, embeddings)
        num_new_frames = max(1, sum(index > self._last_frame for index in frame_indices))
        total = num_new_frames * logits[order]
        self._embeddings = embeddings[order]
        self._logit_sum = total if self._logit_sum is None else self._logit_sum + total
        self._num_frames += num_new_frames
        self._last_frame = max(self._last_frame, frame_indices[-1])
        return TrackUpdate(
            track_ids=tuple(range(1, len(order) + 1)),
            query_indices=tuple(order.tolist()),
            class_logits=self._logit_sum / self._num_frames,
            clip_logits=logits[order],
        )

    def next_queries(self) -> Tensor | None:
        """None: every clip starts from the learned queries."""
        return None

    def state_dict(self) -> dict[str, Any]:
        """Embeddings and class logits of the Q tracks."""
        return {
            "kind": "minvis",
            "embeddings": self._embeddings,
            "logit_sum": self._logit_sum,
            "num_frames": self._num_frames,
            "last_frame": self._last_frame,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a saved state."""
        check_state_kind(state, "minvis")
        self._embeddings = state["embeddings"]
        self._logit_sum = state["logit_sum"]
        self._num_frames = state["num_frames"]
        self._last_frame = state["last_frame"]


class QueryTracker:
    """Query matching for videos of any length: as many tracks as there are objects, each id for one object only.

    Compared with :class:`MinVISTracker`, only queries that see something take part, a match must be good enough, an
    object that fits no track gets a new id, and a track that is out of sight is remembered by its embedding until its
    object comes back. After a scene cut nothing fits, so everything gets new ids, and the old ones wait. Classes are
    averaged over the frames on which the object is seen.

    Args:
        rules: Thresholds of the life of a track.
    """

    def __init__(self, rules: TrackRules | None = None) -> None:
        self._memory = TrackMemory(rules or TrackRules())

    def update(self, output: ClipOutput, frame_indices: Sequence[int]) -> TrackUpdate:
        """Take in the next clip; see :meth:`Tracker.update`."""
        check_clip(output, frame_indices)
        detections = find_detections(output, self._memory.rules.keep_score)
        similarity = self._memory.similarity(detections, to_cpu(output.query_embeddings[0]))
        gain = self._memory.gain(similarity, frame_indices)
        return self._memory.update(detections, gain, frame_indices)

    def next_queries(self) -> Tensor | None:
        """None: every clip starts from the learned queries."""
        return None

    def state_dict(self) -> dict[str, Any]:
        """The tracks in memory."""
        return {"kind": "query", "memory": self._memory.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a saved state."""
        check_state_kind(state, "query")
        self._memory.load_state_dict(state["memory"])
