"""The loss of a branch that classifies masks of another model: each takes the class of the instance it covers."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from video_mask2former.losses.clip_by_clip import ClipByClipCriterion
from video_mask2former.losses.criterion import at_least_float32, padded_maps
from video_mask2former.option_values import NonNegative, Share
from video_mask2former.structures import ClipOutput, ClipTarget

_UNJUDGED = -1


class ClassQueryCriterion(ClipByClipCriterion):
    """Cross-entropy of the class of each mask; masks are not trained.

    Args:
        num_classes: K, without "no object".
        weight: Of the loss.
        no_object_weight: Of "no object" inside the cross-entropy.
        match_iou: A mask has the class of the instance that it overlaps most, if by this much at least.
        nothing_iou: A mask that overlaps every instance by less is of no object; between the two nothing is said.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        weight: NonNegative = 1.0,
        no_object_weight: NonNegative = 0.1,
        match_iou: Share = 0.5,
        nothing_iou: Share = 0.3,
    ) -> None:
        super().__init__()
        if not 0 <= nothing_iou <= match_iou <= 1:
            raise ValueError(
                f"nothing_iou and match_iou must be in [0, 1] and in this order, got {nothing_iou} and {match_iou}."
            )
        self.num_classes = num_classes
        self.weight = weight
        self.no_object_weight = no_object_weight
        self.match_iou, self.nothing_iou = match_iou, nothing_iou

    def clip_losses(self, output: ClipOutput, target: ClipTarget) -> dict[str, Tensor]:
        """``loss_ce``, divided by the weights of the clip's masks."""
        logits = at_least_float32(output.class_logits[0])
        loss = class_query_loss(logits, self.classes(output, target), self.no_object_weight)
        return {"loss_ce": self.weight * loss}

    @torch.no_grad()
    def classes(self, output: ClipOutput, target: ClipTarget) -> Tensor:
        """The class of each mask of a clip, K for no object, -1 where nothing is said, ``(Q,)`` int64."""
        masks = output.mask_logits.dense()[0] > 0  # (Q, T, h, w)
        if len(target) == 0:
            return torch.full((len(masks),), self.num_classes, dtype=torch.int64, device=masks.device)
        maps = F.interpolate(padded_maps(target.masks, output), size=masks.shape[2:], mode="nearest").flatten(1)
        flat = masks.flatten(1).to(maps.dtype)
        overlaps = flat @ maps.T
        iou = overlaps / (flat.sum(dim=1)[:, None] + maps.sum(dim=1) - overlaps).clamp(min=1)
        best, instances = iou.max(dim=1)
        classes = torch.where(best >= self.match_iou, target.labels[instances], _UNJUDGED)
        return torch.where(best < self.nothing_iou, self.num_classes, classes)


def class_query_loss(logits: Tensor, classes: Tensor, no_object_weight: float) -> Tensor:
    """Weighted mean of the cross-entropy of ``(N, K + 1)`` at classes ``(N,)``; those below 0 do not count."""
    nothing = logits.shape[-1] - 1
    weights = torch.where(classes == nothing, no_object_weight, 1.0) * (classes >= 0)
    loss = F.cross_entropy(logits, classes.clamp(min=0), reduction="none")
    return (loss * weights).sum() / weights.sum().clamp(min=1e-6)
