"""A segmenter, a tracker and a refiner as one model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from video_mask2former.mask_logits import MaskLogits
from video_mask2former.models.segmenter import Segmenter
from video_mask2former.refinement.base import QueryHistory, Refiner
from video_mask2former.structures import ClipFeatures, ClipOutput
from video_mask2former.tracking.base import Tracker, TrackUpdate
from video_mask2former.tracking.learned import LearnedTracker, TrackerState

MakeTracker = Callable[[], Tracker]

_SEGMENTER = "segmenter."
_OTHER_PARTS = ("tracker.", "refiner.")


class TrackedModel(Segmenter):
    """Finds objects frame by frame, follows them, and may look at the whole clip again.

    The segmenter decodes every frame by itself. A query of the output is one object through the whole clip: one of the
    tracker's queries, or one of the tracks that a tracker without weights made. Without tracker and refiner the output
    is that of the segmenter, in which queries are not the same from frame to frame; that is what the segmenter is
    trained with.

    In the state dict the names of the segmenter's weights are its own, so that the checkpoint of a segmenter is that
    of the first stage of this model. Parts whose parameters are all frozen run as in evaluation, without gradients.

    Args:
        segmenter: What finds objects in a frame.
        tracker: With weights, or whatever makes a new tracker without.
        refiner: Looks at the queries of the whole clip.

    Attributes:
        is_frame_by_frame: True: queries of the segmenter are not the same from frame to frame.
    """

    is_frame_by_frame = True

    def __init__(
        self,
        segmenter: Segmenter,
        tracker: LearnedTracker | MakeTracker | None = None,
        refiner: Refiner | None = None,
    ) -> None:
        super().__init__(
            segmenter.num_classes,
            size_divisibility=segmenter.size_divisibility,
            class_names=segmenter.class_names,
            input_sides=segmenter.input_sides,
        )
        self.pixel_mean, self.pixel_std = segmenter.pixel_mean, segmenter.pixel_std
        self.segmenter = segmenter
        self.tracker = tracker if isinstance(tracker, LearnedTracker) else None
        self.refiner = refiner
        self._make_tracker = None if isinstance(tracker, LearnedTracker) else tracker
        if refiner is not None and self._make_tracker is not None:
            raise ValueError("a refiner needs a tracker with weights, or none; leave out one of the two.")
        segmenter.keeps_pixel_features = any(
            part.reads_pixel_features for part in (self.tracker, refiner) if part is not None
        )
        self.mask_quality = next((part.mask_quality for part in (refiner, self.tracker) if part is not None), "none")
        self.online_window = segmenter.online_window if self.tracker is None else self.tracker.online_window
        self.register_state_dict_post_hook(_flatten_names)  # type: ignore[no-untyped-call]
        self.register_load_state_dict_pre_hook(_nest_names)  # type: ignore[no-untyped-call]

    @property
    def num_queries(self) -> int:
        """Q of the segmenter."""
        return self.segmenter.num_queries

    def encode(self, frames: Tensor | Sequence[Tensor]) -> ClipFeatures:
        """As the segmenter's."""
        with _gradients_of(self.segmenter):
            return self.segmenter.encode(frames)

    def decode(self, features: ClipFeatures, initial_queries: Tensor | None = None) -> ClipOutput:
        """Find, follow and refine the objects of whole clips, each a video of its own.

        Args:
            features: From :meth:`encode`.
            initial_queries: Not taken: every frame starts from the segmenter's own queries.
        """
        segmented = self.decode_window(features, initial_queries)
        if self._make_tracker is not None and not self.training:
            return track_clips(segmented, self._make_tracker)
        tracked = segmented
        if self.tracker is not None:
            with _gradients_of(self.tracker):
                tracked = self.tracker(segmented)
        return self.refine(segmented, tracked, features)

    def refine(self, segmented: ClipOutput, tracked: ClipOutput, features: ClipFeatures) -> ClipOutput:
        """What the refiner makes of a whole clip; the tracker's output where there is no refiner."""
        if self.refiner is None:
            return tracked
        with torch.no_grad():
            history = self.history(segmented, tracked)
        refined = self.refiner(tracked, history, self.refiner.source_features(features))
        scores = self.refined_scores(refined.class_logits, history)
        return replace(refined, class_scores=scores, guide=tracked if self.training else None)

    def refined_scores(self, class_logits: Tensor, history: QueryHistory) -> Tensor | None:
        """A class has the greater of the refiner's and the tracker's probability, ``(B, Q, K)``, as published.

        Args:
            class_logits: The refiner's, ``(B, Q, K + 1)``.
            history: Of the whole video.

        Returns:
            None without a tracker, where there is only one opinion.
        """
        return None if self.tracker is None else greater_scores(class_logits, history.class_logits.mean(dim=1))

    def follow(self, features: ClipFeatures, state: TrackerState | None) -> tuple[QueryHistory, TrackerState | None]:
        """What the refiner sees of the next frames of videos.

        Args:
            features: From :meth:`encode`.
            state: From the call for the frames before, None at the start.

        Returns:
            The queries of these frames, and the state to go on from.
        """
        segmented = self.decode_window(features)
        if self.tracker is None:
            return self.history(segmented, segmented), None
        tracked, state = self.tracker.advance(segmented, state)
        return self.history(segmented, tracked), state

    def track(self, features: ClipFeatures, state: TrackerState | None) -> tuple[ClipOutput, TrackerState]:
        """What the tracker, which has weights, says of the next frames of videos; arguments as in :meth:`follow`."""
        assert self.tracker is not None
        return self.tracker.advance(self.decode_window(features), state)

    def decode_window(self, features: ClipFeatures, initial_queries: Tensor | None = None) -> ClipOutput:
        """The segmenter on each frame by itself, joined: what a tracker takes in."""
        if initial_queries is not None:
            raise ValueError("a model that decodes frame by frame takes no initial_queries; use another tracker.")
        with _gradients_of(self.segmenter):
            joined = self.segmenter.decode(features.single_frames()).joined_frames(features.num_frames)
        return replace(joined, pixel_features=features.pixel_features)

    def history(self, segmented: ClipOutput, tracked: ClipOutput) -> QueryHistory:
        """What the refiner sees of some frames.

        Args:
            segmented: From :meth:`decode_window`.
            tracked: From the tracker; the same where there is none.
        """
        assert tracked.frame_embeddings is not None and tracked.frame_class_logits is not None
        memory = tracked.frame_embeddings if self.tracker is None else self.tracker.refiner_memory(segmented)
        return QueryHistory(tracked.frame_embeddings, memory, tracked.frame_class_logits)

    def begin_tracking(self) -> Tracker | None:
        """A tracker for one video, None where the model has none of its own."""
        if self.tracker is not None:
            return self.tracker.begin()
        return None if self._make_tracker is None else self._make_tracker()

    def train(self, mode: bool = True) -> TrackedModel:
        """Training mode, except for parts that are frozen: they are the stages that were trained before."""
        super().train(mode)
        for part in (self.segmenter, self.tracker, self.refiner):
            if part is not None and _is_frozen(part):
                part.eval()
        return self


def track_clips(output: ClipOutput, make_tracker: MakeTracker) -> ClipOutput:
    """Follow the objects of whole clips with a tracker without weights.

    Args:
        output: A batch of one clip, made frame by frame.
        make_tracker: Makes a tracker for one video.

    Returns:
        A query for each track; where a track is not seen, all its mask logits are zero.
    """
    batch, _, num_frames, _, _ = output.mask_logits.shape
    if batch != 1:
        raise ValueError(f"tracks differ in number from clip to clip: pass one clip at a time, got {batch}.")
    tracker = make_tracker()
    updates: list[TrackUpdate] = []
    seen: dict[int, dict[int, int]] = {}  # track id to frame to query
    logits: dict[int, Tensor] = {}
    for frame in range(num_frames):
        update = tracker.update(output.frames(frame, frame + 1), [frame])
        updates.append(update)
        for track_id in update.withdrawn_ids:
            seen.pop(track_id, None)
        for row, track_id in enumerate(update.track_ids):
            seen.setdefault(track_id, {})[frame] = update.query_indices[row]
            logits[track_id] = update.class_logits[row]
    own = output.mask_logits.embeddings  # (1, T, Q, C)
    embeddings = own.new_zeros(1, num_frames, len(seen), own.shape[3])
    for column, queries in enumerate(seen.values()):
        embeddings[0, list(queries), column] = own[0, list(queries), list(queries.values())]
    means = [logits[track_id] for track_id in seen]
    class_logits = torch.stack(means) if means else output.class_logits[0, :0]
    nothing = output.query_embeddings[:, :0].expand(-1, 0, -1)
    return ClipOutput(
        class_logits[None].to(output.class_logits),
        MaskLogits(embeddings, output.mask_logits.features),
        nothing,
        nothing,
        output.frame_size,
        output.padded_size,
    )


def greater_scores(refined: Tensor, online: Tensor) -> Tensor:
    """The greater probability of each class by two sets of logits ``(..., K + 1)``, ``(..., K)``."""
    dtype = torch.promote_types(refined.dtype, torch.float32)
    return torch.maximum(refined.to(dtype).softmax(dim=-1), online.to(dtype).softmax(dim=-1))[..., :-1]


def _is_frozen(part: nn.Module) -> bool:
    parameters = list(part.parameters())
    return bool(parameters) and not any(parameter.requires_grad for parameter in parameters)


def _gradients_of(part: nn.Module) -> torch.autograd.grad_mode.set_grad_enabled:
    """Gradients as far as they are wanted at all, and not in a frozen part."""
    return torch.set_grad_enabled(torch.is_grad_enabled() and not _is_frozen(part))


def _flatten_names(module: nn.Module, state: Any, prefix: str, metadata: Mapping[str, Any]) -> None:
    """The segmenter's weights under its own names."""
    for name in list(state):
        if name.startswith(prefix + _SEGMENTER):
            state[prefix + name.removeprefix(prefix + _SEGMENTER)] = state.pop(name)


def _nest_names(module: nn.Module, state: Any, prefix: str, *_: object) -> None:
    own = tuple(prefix + part for part in (_SEGMENTER, *_OTHER_PARTS))
    for name in list(state):
        if name.startswith(prefix) and not name.startswith(own):
            state[prefix + _SEGMENTER + name.removeprefix(prefix)] = state.pop(name)
