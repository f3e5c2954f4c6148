"""Cross-entropy over the pixels, for segmenters whose queries are their classes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from video_mask2former.losses.base import Criterion
from video_mask2former.losses.criterion import LossNormalizer, at_least_float32
from video_mask2former.option_values import NonNegative
from video_mask2former.structures import ClipOutput, ClipTarget

_IGNORED = -100


class SemanticCriterion(Criterion):
    """Cross-entropy of the class of each pixel, averaged over all pixels of a batch, ignored ones included.

    Mask logits are brought to the size of the frames first. Pixels of no instance are ignored.

    Args:
        num_classes: K.
        weight: Of the loss.
    """

    def __init__(self, num_classes: int, *, weight: NonNegative = 1.0) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.weight = weight

    def normalizer(self, targets: Sequence[ClipTarget], num_queries: int) -> LossNormalizer:
        """The number of clips, as both divisors."""
        return LossNormalizer(num_instances=float(len(targets)), class_weight=float(len(targets)))

    def forward(
        self, output: ClipOutput, targets: Sequence[ClipTarget], normalizer: LossNormalizer | None = None
    ) -> dict[str, Tensor]:
        """The weighted loss.

        Args:
            output: Of the model; query k is class k.
            targets: One per clip, masks at the clip's own size before padding; where two overlap the later one counts.
            normalizer: Of the whole batch, where this is a part of it; None: this batch's own.

        Returns:
            ``loss_semantic``, float32 at least.
        """
        batch, num_queries, _, _, _ = output.mask_logits.shape
        if len(targets) != batch:
            raise ValueError(f"expected one target per clip, {batch}, got {len(targets)}.")
        if num_queries != self.num_classes:
            raise ValueError(f"expected one query per class, {self.num_classes}, got {num_queries}.")
        num_clips = len(targets) if normalizer is None else normalizer.num_instances
        with torch.autocast(output.class_logits.device.type, enabled=False):
            losses = [self._clip_loss(output.clip(index), target) for index, target in enumerate(targets)]
        return {"loss_semantic": self.weight * torch.stack(losses).sum() / num_clips}

    def _clip_loss(self, output: ClipOutput, target: ClipTarget) -> Tensor:
        classes = torch.full(
            (target.masks.shape[1], *output.padded_size), _IGNORED, dtype=torch.int64, device=target.masks.device
        )
        height, width = target.masks.shape[2:]
        inside = classes[:, :height, :width]
        for label, mask in zip(target.labels, target.masks, strict=True):
            inside[mask] = label
        if target.ignored is not None:
            inside[target.ignored] = _IGNORED
        logits = at_least_float32(output.mask_logits.dense()[0]).transpose(0, 1)  # (T, K, h, w)
        logits = F.interpolate(logits, size=output.padded_size, mode="bilinear", align_corners=False)
        return F.cross_entropy(logits, classes, ignore_index=_IGNORED, reduction="none").mean()
