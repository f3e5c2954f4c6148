"""The training loss of MaskFormer (arXiv:2107.06278): focal and dice losses on whole masks instead of sampled points.

Queries are matched at the size of the predictions; the losses are taken at the size of the frames, which costs memory
in proportion to instances times pixels. Padding counts as background, as published.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from video_mask2former.losses.criterion import Match, SetCriterion, at_least_float32, matched_mask_logits, padded_maps
from video_mask2former.losses.mask_losses import dice, pairwise_sigmoid_focal, sigmoid_focal
from video_mask2former.losses.matcher import HungarianMatcher
from video_mask2former.option_values import NonNegative
from video_mask2former.structures import ClipOutput, ClipTarget


class FocalMatcher(HungarianMatcher):
    """Assign each instance of a clip the query that predicts it best, by class, focal and dice losses.

    Args:
        class_weight: Of minus the probability of the instance's class.
        mask_weight: Of the focal loss over all pixels of all frames.
        dice_weight: Of the dice loss over the same pixels.
    """

    def __init__(self, class_weight: float = 1.0, mask_weight: float = 20.0, dice_weight: float = 1.0) -> None:
        super().__init__(class_weight, mask_weight, dice_weight)

    def mask_cost(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Mean focal loss of every prediction with every target, ``(Q, N)``."""
        return pairwise_sigmoid_focal(logits, targets)


class WholeMaskCriterion(SetCriterion):
    """Loss of a batch of clips on whole masks; see :class:`SetCriterion` for what it returns.

    Over clips of several frames a mask is the volume of all frames: one dice loss per instance, not per frame.

    Args:
        num_classes: K, without "no object".
        matcher: Assigns queries to instances.
        class_weight: Weight of the cross-entropy over K + 1 classes.
        mask_weight: Weight of the focal loss.
        dice_weight: Weight of the dice loss.
        no_object_weight: Weight of "no object" inside the cross-entropy.
    """

    matcher_type = FocalMatcher

    def __init__(
        self,
        num_classes: int,
        matcher: HungarianMatcher,
        *,
        class_weight: NonNegative = 1.0,
        mask_weight: NonNegative = 20.0,
        dice_weight: NonNegative = 1.0,
        no_object_weight: NonNegative = 0.1,
    ) -> None:
        super().__init__(
            num_classes,
            matcher,
            class_weight=class_weight,
            mask_weight=mask_weight,
            dice_weight=dice_weight,
            no_object_weight=no_object_weight,
        )

    def _match_clip(self, predictions: Sequence[ClipOutput], clip: int, target: ClipTarget) -> list[Match]:
        size = predictions[-1].mask_logits.shape[3:]
        maps = F.interpolate(padded_maps(target.masks, predictions[-1]), size=size, mode="nearest").flatten(1)
        counts: slice | Tensor = slice(None)
        if target.ignored is not None:
            ignored = F.interpolate(padded_maps(target.ignored[None], predictions[-1]), size=size, mode="nearest")
            counts = (ignored.flatten() == 0).nonzero()[:, 0]
        matches = []
        for prediction in predictions:
            logits = at_least_float32(prediction.mask_logits.clip(clip).dense()[0]).flatten(1)
            class_logits = prediction.class_logits[clip].to(logits.dtype)
            queries, instances = self.matcher(class_logits, logits[:, counts], target.labels, maps[:, counts])
            order = instances.argsort()
            matches.append((queries[order], instances[order]))
        return matches

    def _mask_losses(
        self, predictions: Sequence[ClipOutput], targets: Sequence[ClipTarget], matches: Sequence[Sequence[Match]]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Sums over all instances of the focal and dice losses of each prediction."""
        mask_sums: list[list[Tensor]] = [[] for _ in predictions]
        dice_sums: list[list[Tensor]] = [[] for _ in predictions]
        size = predictions[-1].padded_size
        for clip, target in enumerate(targets):
            layer_matches = [matches[layer][clip] for layer in range(len(predictions))]
            maps = padded_maps(target.masks, predictions[-1])
            weights = None
            if target.ignored is not None:
                weights = 1 - padded_maps(target.ignored[None], predictions[-1]).flatten(1)
            parts = matched_mask_logits(predictions, clip, layer_matches)
            for layer, (part, (_, instances)) in enumerate(zip(parts, layer_matches, strict=True)):
                logits = F.interpolate(part, size=size, mode="bilinear", align_corners=False).flatten(1)
                volume = maps[instances].to(logits.dtype).flatten(1)
                mask_sums[layer].append(sigmoid_focal(logits, volume, weights).sum())
                dice_sums[layer].append(dice(logits, volume, weights).sum())
        return [torch.stack(sums).sum() for sums in mask_sums], [torch.stack(sums).sum() for sums in dice_sums]
