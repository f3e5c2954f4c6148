"""Tracking by slots: for models whose query is the same object on every frame (VidEoMT, PMT, LVMT)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from video_mask2former.structures import ClipOutput
from video_mask2former.tracking.base import TrackUpdate, check_clip, check_state_kind
from video_mask2former.tracking.detections import to_cpu
from video_mask2former.tracking.track_memory import TrackRules


class SlotTracker:
    """A track is a query, with its index plus one as id; the queries go from window to window.

    Nothing is compared and nothing matched: that an object keeps its query, also while it is out of sight, is the
    model's work. What a query is, is the mean of its class logits over all frames so far, as published; its best class
    must have ``rules.keep_score`` there to be reported.

    Args:
        rules: Only ``keep_score`` is used.
        horizon: Frames that the mean looks back on: from then on older frames fade. None is all frames, which suits
            videos of some hundred frames; in an endless stream an object that comes late would be outvoted by the
            frames before it.
    """

    def __init__(self, rules: TrackRules | None = None, horizon: int | None = None) -> None:
        if horizon is not None and horizon < 1:
            raise ValueError(f"horizon must be at least 1 frame, got {horizon}.")
        self._keep_score = (rules or TrackRules()).keep_score
        self._horizon = horizon
        self._mean: Tensor | None = None  # (Q, K + 1)
        self._num_frames = 0  # that the mean stands for
        self._last_frame = -1
        self._queries: Tensor | None = None  # (1, Q, C)

    def update(self, output: ClipOutput, frame_indices: Sequence[int]) -> TrackUpdate:
        """Take in the next window; see :meth:`Tracker.update`.

        Raises:
            ValueError: If the window has frames that came before: its queries would see them twice.
        """
        check_clip(output, frame_indices)
        if frame_indices[0] <= self._last_frame:
            raise ValueError(
                f"the slots tracker takes every frame once, but frame {frame_indices[0]} came before. Use overlap 0, "
                "and remainder short where the window is longer than one frame."
            )
        logits = to_cpu(output.class_logits[0])
        self._num_frames += len(frame_indices)
        if self._horizon is not None:
            self._num_frames = min(self._num_frames, max(self._horizon, len(frame_indices)))
        mean = logits if self._mean is None else self._mean
        self._mean = mean + (logits - mean) * (len(frame_indices) / self._num_frames)
        self._last_frame = frame_indices[-1]
        self._queries = output.queries.detach()
        scores = self._mean.softmax(dim=1)[:, :-1].amax(dim=1)
        chosen = (scores >= self._keep_score).nonzero()[:, 0]
        indices = tuple(chosen.tolist())
        return TrackUpdate(
            track_ids=tuple(index + 1 for index in indices),
            query_indices=indices,
            class_logits=self._mean[chosen],
            clip_logits=logits[chosen],
        )

    def next_queries(self) -> Tensor | None:
        """The queries that the last window left; None before the first."""
        return self._queries

    def state_dict(self) -> dict[str, Any]:
        """The queries, and the class logits so far."""
        return {
            "kind": "slots",
            "mean": self._mean,
            "num_frames": self._num_frames,
            "last_frame": self._last_frame,
            "queries": None if self._queries is None else self._queries.cpu(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a saved state."""
        check_state_kind(state, "slots")
        self._mean, self._num_frames = state["mean"], state["num_frames"]
        self._last_frame, self._queries = state["last_frame"], state["queries"]
