"""What a model says of a batch of clips."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from video_mask2former.mask_logits import MaskLogits
from video_mask2former.structures.shapes import ShownByShape


@dataclass(frozen=True, repr=False)
class ClipOutput(ShownByShape):
    """What the model says of a batch of clips: one prediction per query for the whole clip.

    Models that predict frame by frame fill the fields of single frames as well, and give mask embeddings per frame.

    Attributes:
        class_logits: ``(B, Q, K + 1)``, "no object" last.
        mask_logits: Mask of each query on each frame, kept factored; see :class:`MaskLogits`.
        query_embeddings: The LayerNormed queries that the prediction heads read, or what a re-ID head makes of them,
            ``(B, Q, C)``; what trackers compare.
        queries: The decoder's state behind them, before that LayerNorm, ``(B, Q, C)``; what starts the next clip
            when queries are propagated.
        frame_size: Height and width of the frames that went in.
        padded_size: Height and width after padding, which ``mask_logits`` cover.
        auxiliary: Earlier predictions, first that of the learned queries, then one per decoder layer but the last.
            Their ``auxiliary`` is empty. Where they share one tensor of mask features, losses multiply it out once.
        frame_class_logits: ``(B, T, Q, K + 1)``; ``class_logits`` is their mean unless a model says otherwise.
        frame_embeddings: As ``query_embeddings``, frame by frame, ``(B, T, Q, C)``.
        frame_queries: As ``queries``, frame by frame, ``(B, T, Q, C)``.
        class_scores: Score of each class where it is not the softmax of ``class_logits`` (the greatest of several
            clips', or of a tracker's and a refiner's), ``(B, Q, K)``; see :meth:`class_probabilities`.
        contrast_embeddings: What contrastive losses compare between frames, ``(B, T, Q, C)``; for training.
        pixel_features: Those of :class:`ClipFeatures`.
        semantic_logits: Class of each pixel from a head of its own, ``(B, T, K + 1, h, w)``, "nothing" last; for
            training.
        centre_logits: Logit that the centre of an object of each class is there, at stride 8, ``(B, T, K, h, w)``; for
            training.
        guide: What an earlier stage predicts of the same queries, by which a criterion may match them while they are
            still poor; for training.
    """

    class_logits: Tensor
    mask_logits: MaskLogits
    query_embeddings: Tensor
    queries: Tensor
    frame_size: tuple[int, int]
    padded_size: tuple[int, int]
    auxiliary: tuple[ClipOutput, ...] = ()
    frame_class_logits: Tensor | None = None
    frame_embeddings: Tensor | None = None
    frame_queries: Tensor | None = None
    class_scores: Tensor | None = None
    contrast_embeddings: Tensor | None = None
    pixel_features: Tensor | None = None
    semantic_logits: Tensor | None = None
    centre_logits: Tensor | None = None
    guide: ClipOutput | None = None

    def __post_init__(self) -> None:
        batch, num_queries, num_frames, _, _ = self.mask_logits.shape
        if self.class_logits.ndim != 3 or self.class_logits.shape[:2] != (batch, num_queries):
            raise ValueError(
                f"class_logits must be (B, Q, K + 1) with (B, Q) = {(batch, num_queries)} "
                f"as in mask_logits, got {tuple(self.class_logits.shape)}."
            )
        for name in _FRAME_FIELDS:
            value = getattr(self, name)
            if value is not None and (value.ndim != 4 or value.shape[:3] != (batch, num_frames, num_queries)):
                raise ValueError(
                    f"{name} must be (B, T, Q, ...) with (B, T, Q) = {(batch, num_frames, num_queries)}, "
                    f"got {tuple(value.shape)}."
                )

    @property
    def num_classes(self) -> int:
        """K, without "no object"."""
        return self.class_logits.shape[2] - 1

    def class_probabilities(self) -> Tensor:
        """Probability of each class, ``(B, Q, K + 1)``, "no object" last, in float32 at least.

        Classes have their ``class_scores`` where there are any, and may then add up to more than one with "no object".
        """
        return class_probabilities(self.class_logits, self.class_scores)

    def clip(self, index: int) -> ClipOutput:
        """The output of one clip of the batch, as a batch of one."""
        part = slice(index, index + 1)
        return self._cut(lambda value: value[part])

    def joined_frames(self, num_frames: int) -> ClipOutput:
        """Clips of one frame, ``num_frames`` of which follow each other in one video, as the frames of longer clips.

        Queries keep their index, whatever they show on each frame: what is the same object is for a tracker to find.

        Args:
            num_frames: T; this output is a batch of ``B * T`` clips of one frame each.
        """
        if self.mask_logits.features.shape[1] != 1 or len(self.class_logits) % num_frames:
            raise ValueError(
                f"expected a batch of clips of one frame each, a multiple of {num_frames = } of them, got "
                f"{len(self.class_logits)} clips of {self.mask_logits.features.shape[1]} frames."
            )

        def join_frames(value: Tensor) -> Tensor:
            return value.squeeze(1).unflatten(0, (-1, num_frames))

        features = _OnceEach(join_frames)

        def join(output: ClipOutput, auxiliary: tuple[ClipOutput, ...]) -> ClipOutput:
            embeddings = output.mask_logits.embeddings
            if output.mask_logits.is_per_frame:
                embeddings = embeddings.squeeze(1)
            logits, query_embeddings, queries, embeddings = (
                value.unflatten(0, (-1, num_frames))
                for value in (output.class_logits, output.query_embeddings, output.queries, embeddings)
            )
            return replace(
                output,
                class_logits=logits.mean(dim=1),
                mask_logits=MaskLogits(embeddings, features(output.mask_logits.features)),
                query_embeddings=query_embeddings.mean(dim=1),
                queries=queries.mean(dim=1),
                auxiliary=auxiliary,
                frame_class_logits=logits,
                frame_embeddings=query_embeddings,
                frame_queries=queries,
                contrast_embeddings=_map_optional(output.contrast_embeddings, join_frames),
                centre_logits=_map_optional(output.centre_logits, join_frames),
            )

        return join(self, tuple(join(earlier, ()) for earlier in self.auxiliary))

    def frames(self, start: int, stop: int) -> ClipOutput:
        """The frames ``start:stop`` of an output that was made frame by frame, without auxiliary predictions.

        Raises:
            ValueError: If it has no class logits per frame.
        """
        if self.frame_class_logits is None:
            raise ValueError("only an output with frame_class_logits can be cut into frames.")
        fields: dict[str, Any] = {
            name: value[:, start:stop]
            for name in (*_FRAME_FIELDS, *_MAP_FIELDS)
            if (value := getattr(self, name)) is not None
        }
        of_clip = {"query_embeddings": "frame_embeddings", "queries": "frame_queries"}
        fields |= {name: fields[frame].mean(dim=1) for name, frame in of_clip.items() if frame in fields}
        return replace(
            self,
            class_logits=fields["frame_class_logits"].mean(dim=1),
            mask_logits=self.mask_logits.frames(start, stop),
            auxiliary=(),
            class_scores=None,
            guide=None,
            **fields,
        )

    def _cut(self, function: Callable[[Tensor], Tensor]) -> ClipOutput:
        """``function`` of every tensor; of mask features once, so that predictions that share them go on doing so."""
        features = _OnceEach(function)

        def cut(output: ClipOutput, auxiliary: tuple[ClipOutput, ...]) -> ClipOutput:
            names = ("class_logits", "query_embeddings", "queries", *_OPTIONAL_FIELDS)
            parts: dict[str, Any] = {
                name: function(value) for name in names if (value := getattr(output, name)) is not None
            }
            mask_logits = MaskLogits(function(output.mask_logits.embeddings), features(output.mask_logits.features))
            guide = None if output.guide is None else output.guide._cut(function)
            return replace(output, mask_logits=mask_logits, auxiliary=auxiliary, guide=guide, **parts)

        return cut(self, tuple(cut(earlier, ()) for earlier in self.auxiliary))


_FRAME_FIELDS = ("frame_class_logits", "frame_embeddings", "frame_queries", "contrast_embeddings")
_MAP_FIELDS = ("pixel_features", "semantic_logits", "centre_logits")
_OPTIONAL_FIELDS = (*_FRAME_FIELDS, *_MAP_FIELDS, "class_scores")


def _map_optional(value: Tensor | None, function: Callable[[Tensor], Tensor]) -> Tensor | None:
    return None if value is None else function(value)


class _OnceEach:
    """A function of tensors that gives the same result for the same tensor."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        self._function = function
        self._results: dict[int, Tensor] = {}

    def __call__(self, tensor: Tensor) -> Tensor:
        if id(tensor) not in self._results:
            self._results[id(tensor)] = self._function(tensor)
        return self._results[id(tensor)]


def class_probabilities(class_logits: Tensor, class_scores: Tensor | None) -> Tensor:
    """Softmax of ``class_logits (..., K + 1)``, with ``class_scores (..., K)`` for its classes where they are given."""
    probabilities = _at_least_float32(class_logits).softmax(dim=-1)
    if class_scores is None:
        return probabilities
    return torch.cat([class_scores.to(probabilities.dtype), probabilities[..., -1:]], dim=-1)


def _at_least_float32(values: Tensor) -> Tensor:
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values
