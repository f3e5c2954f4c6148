"""Cross-entropy over the pixels, for segmenters whose queries are their classes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from video_mask2former.losses.clip_by_clip import ClipByClipCriterion
from video_mask2former.losses.criterion import at_least_float32
from video_mask2former.option_values import NonNegative
from video_mask2former.structures import ClipOutput, ClipTarget

_IGNORED = -100


class SemanticCriterion(ClipByClipCriterion):
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

    def clip_losses(self, output: ClipOutput, target: ClipTarget) -> dict[str, Tensor]:
        """``loss_semantic``; query k is class k, and where two masks overlap the later one counts."""
        num_queries = output.mask_logits.num_queries
        if num_queries != self.num_classes:
            raise ValueError(f"expected one query per class, {self.num_classes}, got {num_queries}.")
        return {"loss_semantic": self.weight * self._clip_loss(output, target)}

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
