"""What every tracker is: clips in, the track of each reported query out."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from video_mask2former.mask_logits import MaskLogits
from video_mask2former.structures import ClipOutput, class_probabilities


@dataclass(frozen=True)
class TrackUpdate:
    """The objects of one clip, by the track they belong to.

    Class logits are on the CPU. What is known of a track's class changes while a video runs: ``class_logits`` is the
    mean over everything seen up to and including this clip, so the last update that names a track has its final class.

    Attributes:
        track_ids: Id of each reported object, N of them, all different, from 1.
        query_indices: The query of the clip that is this object, N of them.
        class_logits: Mean class logits of each track so far, ``(N, K + 1)``.
        clip_logits: Class logits of this clip alone, ``(N, K + 1)``.
        mask_logits: Masks that ``query_indices`` count in, a batch of one clip, on the device of the output; None for
            those of the segmenter's output. For trackers that predict masks of their own.
        class_scores: Score of each class so far, where it is not the softmax of ``class_logits``, ``(N, K)``.
        withdrawn_ids: Tracks reported earlier that have turned out to be none: what was reported of them so far does
            not count in the result of the video.
    """

    track_ids: tuple[int, ...]
    query_indices: tuple[int, ...]
    class_logits: Tensor
    clip_logits: Tensor
    mask_logits: MaskLogits | None = None
    class_scores: Tensor | None = None
    withdrawn_ids: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        lengths = {len(self.track_ids), len(self.query_indices), len(self.class_logits), len(self.clip_logits)}
        if len(lengths) != 1:
            raise ValueError(
                "track_ids, query_indices, class_logits and clip_logits must have one length, got "
                f"{len(self.track_ids)}, {len(self.query_indices)}, {len(self.class_logits)} and "
                f"{len(self.clip_logits)}."
            )
        if len(set(self.track_ids)) != len(self.track_ids) or min(self.track_ids, default=1) < 1:
            raise ValueError(f"track_ids must all be different and at least 1, got {self.track_ids}.")

    def __len__(self) -> int:
        return len(self.track_ids)

    def class_probabilities(self) -> Tensor:
        """Probability of each class of each track, ``(N, K + 1)``; see :meth:`ClipOutput.class_probabilities`."""
        return class_probabilities(self.class_logits, self.class_scores)


@runtime_checkable
class Tracker(Protocol):
    """Gives objects the same id in every clip of a video.

    A tracker sees the clips in order and holds everything it remembers in a state that can be saved: after
    ``load_state_dict`` it continues as if it had never stopped. Its state is bounded: it does not grow with the
    number of frames. One tracker follows one video.
    """

    def update(self, output: ClipOutput, frame_indices: Sequence[int]) -> TrackUpdate:
        """Take in the next clip.

        Args:
            output: The model's output for a batch of one clip.
            frame_indices: Position of each of its T frames in the video, ascending. Neighbouring clips may share
                frames, no frame may come that is older than all of the previous clip.
        """
        ...

    def next_queries(self) -> Tensor | None:
        """The queries that the decoder starts the next clip from, ``(1, Q, C)``; None for its learned ones."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Everything remembered, as tensors and plain values that ``torch.save`` writes and reads back safely."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a saved state.

        Raises:
            ValueError: If the state is of another kind of tracker.
        """
        ...


def check_clip(output: ClipOutput, frame_indices: Sequence[int]) -> None:
    """Reject what no tracker can take: more clips than one, or frame indices that do not fit the frames."""
    batch, _, num_frames, _, _ = output.mask_logits.shape
    if batch != 1:
        raise ValueError(f"trackers take one clip at a time, got a batch of {batch}. Pass output.clip(index).")
    if len(frame_indices) != num_frames:
        raise ValueError(f"frame_indices must name the {num_frames} frames of the clip, got {len(frame_indices)}.")
    if any(late <= early for early, late in itertools.pairwise(frame_indices)):
        raise ValueError(f"frame_indices must ascend, got {list(frame_indices)}.")


def check_state_kind(state: Mapping[str, Any], kind: str) -> None:
    """Reject the state of another kind of tracker."""
    if state.get("kind") != kind:
        raise ValueError(
            f"expected the state of a {kind!r} tracker, got that of {state.get('kind')!r}. "
            "Restore with the tracker the state was saved from."
        )
