"""Class queries on a promptable model: it finds masks, frozen, and a small trained branch says what they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import Unpack

from video_mask2former.mask_logits import MaskLogits
from video_mask2former.models.class_queries.classifier import MaskClassifier
from video_mask2former.models.class_queries.promptable import (
    PromptableModel,
    PromptedMasks,
    boxes_of,
    grid_of_points,
)
from video_mask2former.models.segmenter import FrameOptions, Segmenter
from video_mask2former.option_values import PositiveInt, Share
from video_mask2former.structures import ClipFeatures, ClipOutput

# Added to the logit of "no object" of a query without a mask
_NOTHING = 1e4


class ClassQueries(Segmenter):
    """Masks of a frozen promptable model, classified by learned class queries.

    On the first frame of a clip a grid of points is asked; masks that repeat a better one are left out. On every other
    frame the boxes of the frame before are asked, so that a query goes on with its object. A mask's class is decided
    once for the clip. The design is this package's own: see the documentation.

    Args:
        num_classes: K, without "no object".
        promptable: What gives masks for points and boxes.
        points_per_side: Points along each side of the grid.
        num_queries: Most masks of a clip.
        duplicate_iou: Masks that overlap a better one by more than this are left out.
        min_quality: Masks that the promptable model thinks worth less are left out.
        hidden_dim: See ``MaskClassifier``.
        num_heads: See ``MaskClassifier``.
        mlp_dim: Hidden features of the feed-forward networks.
        num_layers: See ``MaskClassifier``.
        frame_options: See :class:`Segmenter`; normalisation and padding are the promptable model's own.
    """

    criterion: ClassVar = "class_queries"
    preferred_tracker: ClassVar = "slots"

    def __init__(
        self,
        num_classes: int,
        promptable: PromptableModel,
        *,
        points_per_side: PositiveInt = 16,
        num_queries: PositiveInt = 64,
        duplicate_iou: Share = 0.7,
        min_quality: Share = 0.0,
        hidden_dim: PositiveInt = 256,
        num_heads: PositiveInt = 8,
        mlp_dim: PositiveInt = 1024,
        num_layers: PositiveInt = 3,
        **frame_options: Unpack[FrameOptions],
    ) -> None:
        super().__init__(num_classes, **frame_options)
        self.promptable = promptable
        self.points_per_side = points_per_side
        self.duplicate_iou, self.min_quality = duplicate_iou, min_quality
        self._num_queries = num_queries
        self.mask_classifier = MaskClassifier(
            num_classes,
            self.promptable.level_channels,
            hidden_dim=hidden_dim,
            num_heads=num_heads,
            feedforward_dim=mlp_dim,
            num_layers=num_layers,
        )

    @property
    def num_queries(self) -> int:
        """Q."""
        return self._num_queries

    def encode(self, frames: Tensor | Sequence[Tensor]) -> ClipFeatures:
        """The promptable model's image features, coarsest first; clips of a batch must have one size."""
        clips = list(frames)
        sizes = {tuple(clip.shape[-2:]) for clip in clips}
        if len(sizes) != 1:
            raise ValueError(
                f"clips of a batch must have one size, since frames are stretched to a square, got {sorted(sizes)}."
            )
        batch = torch.stack([clip.to(self.pixel_mean.device) for clip in clips])
        size = (batch.shape[3], batch.shape[4])
        levels = self.promptable.embed(batch.flatten(0, 1).to(self.pixel_mean.dtype))
        stacked = tuple(level.unflatten(0, batch.shape[:2]) for level in reversed(levels))
        padded = (max(size), max(size)) if self.promptable.pads else size
        return ClipFeatures(None, stacked, size, padded)

    def decode(self, features: ClipFeatures, initial_queries: Tensor | None = None) -> ClipOutput:
        """Masks of the clip and their classes.

        Args:
            features: From :meth:`encode`.
            initial_queries: ``queries`` of the clip before: boxes as (x0, y0, x1, y1) in [0, 1], ``(B, Q, 4)``, to ask
                on the first frame instead of the grid.
        """
        levels = list(reversed(features.levels))  # finest first
        first = [level[:, 0] for level in levels]
        if initial_queries is None:
            masks, is_valid = self._first_masks(first, features)
        else:
            masks = self.promptable.from_boxes(first, initial_queries)
            is_valid = torch.ones_like(masks.quality, dtype=torch.bool)
        frames = [masks]
        for index in range(1, features.num_frames):
            frames.append(
                self.promptable.from_boxes([level[:, index] for level in levels], boxes_of(frames[-1].logits))
            )
        logits = torch.stack([frame.logits for frame in frames], dim=2)  # (B, Q, T, h, w)
        quality = torch.stack([frame.quality for frame in frames], dim=2)
        return self._classified(levels, logits, quality, is_valid, features)

    def _classified(
        self, levels: list[Tensor], logits: Tensor, quality: Tensor, is_valid: Tensor, features: ClipFeatures
    ) -> ClipOutput:
        class_logits, embeddings = self.mask_classifier(levels, logits, quality, is_valid)
        nothing = torch.zeros_like(class_logits)
        nothing[..., -1] = _NOTHING
        class_logits = class_logits + torch.where(is_valid[..., None], 0.0, nothing)
        # A query is worth its class times the root of what its mask is thought to be worth.
        worth = quality.mean(dim=2).sqrt()[..., None]
        return ClipOutput(
            class_logits=class_logits,
            mask_logits=MaskLogits.from_dense(torch.where(is_valid[..., None, None, None], logits, -1.0)),
            query_embeddings=embeddings,
            queries=boxes_of(logits[:, :, -1]),
            frame_size=features.frame_size,
            padded_size=features.padded_size,
            class_scores=class_logits.softmax(dim=-1)[..., :-1] * worth,
        )

    def _first_masks(self, levels: list[Tensor], features: ClipFeatures) -> tuple[PromptedMasks, Tensor]:
        """The best masks of the grid on each frame, and which of them there are."""
        (height, width), padded = features.frame_size, features.padded_size
        points = grid_of_points(self.points_per_side, levels[0])
        points = points * points.new_tensor([width / padded[1], height / padded[0]])
        found = self.promptable.from_points(levels, points.expand(len(levels[0]), -1, -1))
        chosen = [
            distinct_masks(logits, quality, self.num_queries, self.duplicate_iou, self.min_quality)
            for logits, quality in zip(found.logits, found.quality, strict=True)
        ]
        is_valid = torch.zeros(len(chosen), self.num_queries, dtype=torch.bool, device=points.device)
        rows = torch.zeros(len(chosen), self.num_queries, dtype=torch.int64, device=points.device)
        for index, indices in enumerate(chosen):
            rows[index, : len(indices)] = indices
            is_valid[index, : len(indices)] = True
        every = torch.arange(len(chosen), device=points.device)[:, None]
        return PromptedMasks(found.logits[every, rows], found.quality[every, rows]), is_valid


def distinct_masks(
    logits: Tensor, quality: Tensor, most: int, duplicate_iou: float, min_quality: float = 0.0
) -> Tensor:
    """The best masks that are no duplicates, the best first.

    Args:
        logits: ``(P, h, w)``.
        quality: ``(P,)``.
        most: How many at most.
        duplicate_iou: A mask that overlaps a better one by more than this is its duplicate.
        min_quality: Masks worth less are left out, and so are empty ones.

    Returns:
        Their indices, ``(N,)`` int64; at least one, whatever it is worth.
    """
    masks = (logits > 0).flatten(1).to(logits.dtype)
    areas = masks.sum(dim=1)
    overlaps = masks @ masks.T
    iou = overlaps / (areas[:, None] + areas[None] - overlaps).clamp(min=1)
    kept: list[int] = []
    order = quality.argsort(descending=True).tolist()
    for index in order:
        is_worth_it = bool(areas[index] > 0) and bool(quality[index] >= min_quality)
        if is_worth_it and not (iou[index, kept] > duplicate_iou).any():
            kept.append(index)
            if len(kept) == most:
                break
    return torch.tensor(kept or order[:1], dtype=torch.int64, device=logits.device)
