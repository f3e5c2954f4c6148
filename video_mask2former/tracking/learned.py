"""Trackers with weights: the base class, and the session in which one follows a video."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, TypeAlias

import torch
from torch import Tensor, nn

from video_mask2former.mask_logits import MaskLogits
from video_mask2former.option_values import MaskQualityChoice
from video_mask2former.structures import ClipOutput
from video_mask2former.tracking.base import Tracker, TrackUpdate, check_clip, check_state_kind
from video_mask2former.tracking.detections import to_cpu

# What a learned tracker carries from one frame to the next, by name
TrackerState: TypeAlias = dict[str, Tensor]


class LearnedTracker(nn.Module, ABC):
    """A tracker with weights: queries found frame by frame in, queries that follow one object each out.

    A subclass writes :meth:`advance`. Everything that it remembers is in the state that it returns, so that a video
    can be taken in pieces of any length, stopped, saved and continued. Its weights are in the model's checkpoint under
    ``tracker.``.

    Attributes:
        criterion: Name of the training loss, where a configuration names none.
        reads_pixel_features: Whether it wants the maps that mask features are projected from.
        mask_quality: How scores count the quality of masks where nothing is said, see :class:`InferenceSettings`.
        online_window: Frames of a window online, where nothing is said.
    """

    criterion: ClassVar[str] = "tracker"
    reads_pixel_features: bool = False
    mask_quality: MaskQualityChoice = "none"
    online_window: int = 1

    @abstractmethod
    def advance(self, output: ClipOutput, state: TrackerState | None = None) -> tuple[ClipOutput, TrackerState]:
        """Track the objects through the next frames of a batch of videos.

        Args:
            output: The segmenter's output frame by frame (see :meth:`ClipOutput.joined_frames`): on each frame, its
                queries may hold other objects than on the one before.
            state: From the call for the frames before; None at the start of the videos.

        Returns:
            The tracker's own output, in which a query index means one object through all frames and calls, and the
            state to go on from. Earlier layers' predictions are auxiliary outputs in training.
        """

    def forward(self, output: ClipOutput) -> ClipOutput:
        """Track through whole clips, each a video of its own."""
        return self.advance(output, None)[0]

    def refiner_memory(self, output: ClipOutput) -> Tensor:
        """What a refiner that follows may look at beside the tracks: by default, the segmenter's queries of each frame.

        Args:
            output: The segmenter's output, as in :meth:`advance`.

        Returns:
            ``(B, T, Q, C)``.
        """
        if output.frame_queries is None:
            raise ValueError("a refiner needs the queries of each frame; is the segmenter run frame by frame?")
        return output.frame_queries

    def begin(self) -> Tracker:
        """Start on a video: a tracker that remembers where in it it is."""
        return LearnedTrackerSession(self)


class LearnedTrackerSession:
    """A learned tracker on one video.

    Tracks are its queries, with ids from 1, all reported on every frame; what is an object is decided by the mean of
    their class logits over all frames so far.

    Args:
        tracker: In eval mode.
    """

    def __init__(self, tracker: LearnedTracker) -> None:
        self._tracker = tracker
        self._state: TrackerState | None = None
        self._logit_sum: Tensor | None = None  # (Q, K + 1)
        self._num_frames = 0
        self._last_frame = -1

    def update(self, output: ClipOutput, frame_indices: Sequence[int]) -> TrackUpdate:
        """Take in the next frames; those that an earlier window had, too, are left out and get empty masks."""
        check_clip(output, frame_indices)
        num_old = sum(index <= self._last_frame for index in frame_indices)
        if num_old:
            output = output.frames(num_old, len(frame_indices))
        with torch.no_grad():
            tracked, self._state = self._tracker.advance(output, self._state)
        num_new_frames = len(frame_indices) - num_old
        logits = to_cpu(tracked.class_logits[0])
        total = logits * num_new_frames
        self._logit_sum = total if self._logit_sum is None else self._logit_sum + total
        self._num_frames += num_new_frames
        self._last_frame = frame_indices[-1]
        return TrackUpdate(
            track_ids=tuple(range(1, len(logits) + 1)),
            query_indices=tuple(range(len(logits))),
            class_logits=self._logit_sum / self._num_frames,
            clip_logits=logits,
            class_scores=None if tracked.class_scores is None else to_cpu(tracked.class_scores[0]),
            mask_logits=_with_empty_frames(tracked.mask_logits, num_old),
        )

    def next_queries(self) -> Tensor | None:
        """None: the segmenter starts every frame from its learned queries."""
        return None

    def state_dict(self) -> dict[str, Any]:
        """The tracker's state and the class logits so far."""
        return {
            "kind": type(self._tracker).__name__,
            "state": None if self._state is None else {name: value.cpu() for name, value in self._state.items()},
            "logit_sum": self._logit_sum,
            "num_frames": self._num_frames,
            "last_frame": self._last_frame,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a saved state, on whatever device the tracker is."""
        check_state_kind(state, type(self._tracker).__name__)
        device = next((parameter.device for parameter in self._tracker.parameters()), torch.device("cpu"))
        saved = state["state"]
        self._state = None if saved is None else {name: value.to(device) for name, value in saved.items()}
        self._logit_sum = state["logit_sum"]
        self._num_frames = state["num_frames"]
        self._last_frame = state["last_frame"]


def _with_empty_frames(logits: MaskLogits, count: int) -> MaskLogits:
    """The same masks with frames before them on which every mask is empty."""
    if count == 0:
        return logits
    embeddings, features = logits.embeddings, logits.features
    if not logits.is_per_frame:
        embeddings = embeddings[:, None].expand(-1, features.shape[1], -1, -1)
    empty = replace(
        logits,
        embeddings=embeddings.new_zeros(1, count, *embeddings.shape[2:]),
        features=features.new_zeros(1, count, *features.shape[2:]),
    )
    return MaskLogits(torch.cat([empty.embeddings, embeddings], dim=1), torch.cat([empty.features, features], dim=1))
