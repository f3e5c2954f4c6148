"""Losses of MaX-DeepLab (arXiv:2012.00759): a differentiable panoptic quality, and three that help it.

Masks are softmaxes over the queries at each pixel, so that each pixel is shared out among the queries once. Targets
are taken at the size of the predictions by keeping every fourth row and column, as published. A pixel without any
mask is void, unless the target ignores it: then it belongs to no mask and says nothing about queries without one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from video_mask2former.losses.base import Loss
from video_mask2former.losses.clip_by_clip import ClipByClipCriterion
from video_mask2former.losses.criterion import at_least_float32
from video_mask2former.losses.matcher import assign
from video_mask2former.structures import ClipOutput, ClipTarget

# Least weight of a query in the losses of classes and masks
_LEAST_WEIGHT = 1e-5


@dataclass(frozen=True)
class PixelTargets:
    """The target of one clip at the size of the predictions, all pixels of all frames in a row.

    Attributes:
        labels: Class of each instance that has a pixel left, ``(N,)``.
        masks: Where each is, ``(N, P)`` floating point.
        is_void: Pixels of no instance, ``(P,)`` bool.
    """

    labels: Tensor
    masks: Tensor
    is_void: Tensor

    @staticmethod
    def of(target: ClipTarget, size: tuple[int, int], dtype: torch.dtype) -> PixelTargets:
        """Every so many rows and columns of a target, for predictions of height and width ``size``.

        Raises:
            ValueError: If the target is too large for them.
        """
        masks = _strided(target.masks, size).flatten(1)
        is_void = ~masks.any(dim=0)
        if target.ignored is not None:
            is_void &= ~_strided(target.ignored[None], size).flatten()
        is_left = masks.any(dim=1)
        return PixelTargets(target.labels[is_left], masks[is_left].to(dtype), is_void)


def pixel_shares(mask_logits: Tensor) -> Tensor:
    """Share of each query in each pixel, ``(Q, P)``, from logits ``(Q, P)``."""
    return mask_logits.softmax(dim=0)


def pq_similarity(shares: Tensor, class_logits: Tensor, targets: PixelTargets) -> tuple[Tensor, Tensor]:
    """How well each query predicts each instance.

    Args:
        shares: From :func:`pixel_shares`, ``(Q, P)``.
        class_logits: ``(Q, K + 1)``.
        targets: Of ``N`` instances.

    Returns:
        Class probability times dice coefficient, and the dice coefficient alone, both ``(Q, N)``; only pixels that
        are not void count.
    """
    judged = shares * ~targets.is_void
    overlap = judged @ targets.masks.T
    dice = 2 * overlap / (judged.sum(dim=1)[:, None] + targets.masks.sum(dim=1) + 2e-5)
    return class_logits.softmax(dim=1)[:, targets.labels] * dice, dice


class PanopticQualityLoss(nn.Module):
    """One minus a soft panoptic quality of matched queries; queries that match nothing learn to be "no object".

    Args:
        weight: Of both terms.
        mask_id_weight: Of a cross-entropy that gives each pixel to the query of its instance.
        alpha: Share of the loss that matched queries have in its terms.
    """

    def __init__(self, weight: float = 3.0, mask_id_weight: float = 0.3, alpha: float = 0.75) -> None:
        super().__init__()
        if not 0 <= alpha <= 1:
            raise ValueError(f"alpha must be in [0, 1], got {alpha}.")
        self.weight, self.mask_id_weight, self.alpha = weight, mask_id_weight, alpha

    def forward(self, class_logits: Tensor, mask_logits: Tensor, targets: PixelTargets) -> dict[str, Tensor]:
        """Losses of one clip.

        Args:
            class_logits: ``(Q, K + 1)``.
            mask_logits: ``(Q, P)``.
            targets: Of the clip.

        Returns:
            ``loss_pq_mask``, ``loss_pq_class`` and ``loss_mask_id``, weighted.
        """
        shares = pixel_shares(mask_logits)
        with torch.no_grad():
            similarity, dice = pq_similarity(shares, class_logits, targets)
            queries, instances = assign(-similarity)
        return {
            "loss_pq_mask": self.weight * self._mask_term(shares, class_logits, targets, queries, instances),
            "loss_pq_class": self.weight * self._class_term(shares, class_logits, dice, targets, queries, instances),
            "loss_mask_id": self.mask_id_weight * _mask_id_loss(mask_logits, targets, queries, instances),
        }

    def _mask_term(
        self, shares: Tensor, class_logits: Tensor, targets: PixelTargets, queries: Tensor, instances: Tensor
    ) -> Tensor:
        """Dice losses of matched queries, weighted by the probability of the right class."""
        masks = targets.masks[instances]
        predicted = shares[queries] * targets.masks.amax(dim=0) if len(targets.labels) else shares[queries]
        overlap = (predicted * masks).sum(dim=1)
        loss = 1 - (2 * overlap + 1) / (predicted.sum(dim=1) + masks.sum(dim=1) + 1)
        probabilities = class_logits.detach().softmax(dim=1)[queries, targets.labels[instances]]
        return self.alpha * (probabilities.clamp(min=_LEAST_WEIGHT) * loss).sum() / len(shares)

    def _class_term(
        self,
        shares: Tensor,
        class_logits: Tensor,
        dice: Tensor,
        targets: PixelTargets,
        queries: Tensor,
        instances: Tensor,
    ) -> Tensor:
        """Cross-entropy of every query, weighted by how good its mask is, or by how much of it is void."""
        num_queries, num_columns = class_logits.shape
        classes = torch.full((num_queries,), num_columns - 1, dtype=torch.int64, device=class_logits.device)
        classes[queries] = targets.labels[instances]
        with torch.no_grad():
            void_share = (shares * targets.is_void).sum(dim=1) / (shares.sum(dim=1) + 1e-5)
            weights = (1 - self.alpha) * void_share
            weights[queries] = self.alpha * dice[queries, instances]
        loss = F.cross_entropy(class_logits, classes, reduction="none")
        return (weights.clamp(min=_LEAST_WEIGHT) * loss).sum() / num_queries


class InstanceDiscriminationLoss(nn.Module):
    """Pixel features are to be nearer to the mean of their own instance than to those of the others.

    Args:
        weight: Of the loss.
        temperature: By which similarities are divided.
    """

    def __init__(self, weight: float = 1.0, temperature: float = 0.3) -> None:
        super().__init__()
        if temperature <= 0:
            raise ValueError(f"temperature must be positive, got {temperature}.")
        self.weight, self.temperature = weight, temperature

    def forward(self, features: Tensor, targets: PixelTargets, is_thing: Tensor | None = None) -> dict[str, Tensor]:
        """The loss of one clip.

        Args:
            features: Of length one at each pixel, ``(C, P)``.
            targets: Of the clip.
            is_thing: Whether each instance is a thing, ``(N,)`` bool; the loss is taken at the pixels of things, and
                tells them from everything. None: all are.

        Returns:
            ``loss_instance_discrimination``, weighted.
        """
        sums = targets.masks @ features.T
        centres = F.normalize(sums / targets.masks.sum(dim=1, keepdim=True).clamp(min=1e-5), dim=1)
        things = targets.masks if is_thing is None else targets.masks[is_thing]
        pixels = things.sum(dim=0).nonzero()[:, 0]
        if len(pixels) == 0:
            return {"loss_instance_discrimination": features.sum() * 0}
        logits = (centres @ features[:, pixels]).T / self.temperature  # (P, N)
        loss = F.cross_entropy(logits, targets.masks[:, pixels].argmax(dim=0), reduction="none")
        return {"loss_instance_discrimination": self.weight * mean_of_nonzero(loss)}


class PanopticQuality(Loss):
    """The soft panoptic quality of MaX-DeepLab as a loss of any segmenter, with a matching of its own.

    Args:
        weight: Of both terms; the published model has 3.
        mask_id_weight: Of a cross-entropy that gives each pixel to the query of its instance.
        alpha: Share of the loss that matched queries have in its terms.
    """

    def __init__(self, weight: float = 1.0, mask_id_weight: float = 0.0, alpha: float = 0.75) -> None:
        super().__init__()
        self.loss = PanopticQualityLoss(weight, mask_id_weight, alpha)

    def forward(self, output: ClipOutput, targets: Sequence[ClipTarget]) -> dict[str, Tensor]:
        """``loss_pq_mask``, ``loss_pq_class`` and ``loss_mask_id``; see :meth:`Loss.forward`."""

        def of_clip(clip: ClipOutput, target: ClipTarget) -> dict[str, Tensor]:
            class_logits, mask_logits, _, pixel_targets = _pixels_of_clip(clip, target)
            losses: dict[str, Tensor] = self.loss(class_logits, mask_logits, pixel_targets)
            return losses

        return _mean_over_clips(of_clip, output, targets)


class InstanceDiscrimination(Loss):
    """The instance discrimination of MaX-DeepLab as a loss of any segmenter, on its mask features.

    Args:
        weight: Of the loss.
        temperature: By which similarities are divided.
    """

    def __init__(self, weight: float = 1.0, temperature: float = 0.3) -> None:
        super().__init__()
        self.loss = InstanceDiscriminationLoss(weight, temperature)

    def forward(self, output: ClipOutput, targets: Sequence[ClipTarget]) -> dict[str, Tensor]:
        """``loss_instance_discrimination``; see :meth:`Loss.forward`."""

        def of_clip(clip: ClipOutput, target: ClipTarget) -> dict[str, Tensor]:
            _, _, features, pixel_targets = _pixels_of_clip(clip, target)
            losses: dict[str, Tensor] = self.loss(features, pixel_targets)
            return losses

        return _mean_over_clips(of_clip, output, targets)


def _pixels_of_clip(output: ClipOutput, target: ClipTarget) -> tuple[Tensor, Tensor, Tensor, PixelTargets]:
    """Class logits ``(Q, K + 1)``, mask logits ``(Q, P)``, features ``(C, P)`` and the target of a batch of one."""
    mask_logits = at_least_float32(output.mask_logits.dense()[0]).flatten(1)
    height, width = output.mask_logits.shape[3:]
    maps = output.mask_logits.features
    if output.pixel_features is not None and output.semantic_logits is not None:
        maps = output.pixel_features
    features = F.normalize(at_least_float32(maps[0]).transpose(0, 1).flatten(1), dim=0)
    targets = PixelTargets.of(target, (height, width), mask_logits.dtype)
    return at_least_float32(output.class_logits[0]), mask_logits, features, targets


def _mean_over_clips(
    of_clip: Callable[[ClipOutput, ClipTarget], dict[str, Tensor]], output: ClipOutput, targets: Sequence[ClipTarget]
) -> dict[str, Tensor]:
    with torch.autocast(output.class_logits.device.type, enabled=False):
        clips = [of_clip(output.clip(index), target) for index, target in enumerate(targets)]
    return {name: torch.stack([losses[name] for losses in clips]).mean() for name in clips[0]}


def mean_of_nonzero(loss: Tensor, top_fraction: float = 1.0) -> Tensor:
    """Mean over the entries that are not zero, of the greatest ``top_fraction`` of all."""
    loss = loss.flatten()
    if top_fraction < 1.0:
        loss = loss.topk(round(top_fraction * len(loss))).values
    return loss.sum() / (loss != 0).sum().clamp(min=1)


def _mask_id_loss(mask_logits: Tensor, targets: PixelTargets, queries: Tensor, instances: Tensor) -> Tensor:
    """Cross-entropy over the queries at each pixel of a matched instance."""
    masks = targets.masks[instances]
    pixels = masks.sum(dim=0).nonzero()[:, 0]
    if len(pixels) == 0:
        return mask_logits.sum() * 0
    own = queries[masks[:, pixels].argmax(dim=0)]
    return mean_of_nonzero(F.cross_entropy(mask_logits[:, pixels].T, own, reduction="none"))


def _strided(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Every fourth row and column of ``(N, T, H, W)``, filled up with nothing to ``(N, T, *size)``."""
    strided = maps[:, :, ::4, ::4]
    padding = (0, size[1] - strided.shape[3], 0, size[0] - strided.shape[2])
    if min(padding) < 0:
        raise ValueError(
            f"target masks are {tuple(maps.shape[2:])}, larger than four times the predictions {size}. "
            "Masks and frames must have one size."
        )
    return F.pad(strided, padding)


class MaXDeepLabCriterion(ClipByClipCriterion):
    """The training loss of MaX-DeepLab; each clip has its own, and a batch has their mean.

    Args:
        num_classes: K, without "no object".
        num_thing_classes: The first so many classes are things, whose instances are distinguished; None: all are.
        pq_weight: See :class:`PanopticQualityLoss`.
        mask_id_weight: See :class:`PanopticQualityLoss`.
        instance_weight: See :class:`InstanceDiscriminationLoss`.
        semantic_weight: Of the cross-entropy of the semantic head.
        small_instance_weight: Of the pixels of small instances in it; the published large model has 3.
        small_instance_area: Instances of fewer pixels of the frame are small.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        num_thing_classes: int | None = None,
        pq_weight: float = 3.0,
        mask_id_weight: float = 0.3,
        instance_weight: float = 1.0,
        semantic_weight: float = 1.0,
        small_instance_weight: float = 1.0,
        small_instance_area: int = 4096,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.num_thing_classes = num_classes if num_thing_classes is None else num_thing_classes
        self.panoptic_quality = PanopticQualityLoss(pq_weight, mask_id_weight)
        self.instance_discrimination = InstanceDiscriminationLoss(instance_weight)
        self.semantic_weight = semantic_weight
        self.small_instance_weight = small_instance_weight
        self.small_instance_area = small_instance_area

    def clip_losses(self, output: ClipOutput, target: ClipTarget) -> dict[str, Tensor]:
        """``loss_pq_mask``, ``loss_pq_class``, ``loss_mask_id``, ``loss_instance_discrimination`` and, where the model
        predicts the class of each pixel, ``loss_semantic``.
        """
        class_logits, mask_logits, features, pixel_targets = _pixels_of_clip(output, target)
        is_thing = pixel_targets.labels < self.num_thing_classes
        losses = self.panoptic_quality(class_logits, mask_logits, pixel_targets)
        losses |= self.instance_discrimination(features, pixel_targets, is_thing)
        if output.semantic_logits is not None:
            semantic = at_least_float32(output.semantic_logits[0])
            losses["loss_semantic"] = self.semantic_weight * self._semantic_loss(semantic, target, pixel_targets)
        return losses

    def _semantic_loss(self, logits: Tensor, target: ClipTarget, pixel_targets: PixelTargets) -> Tensor:
        """Cross-entropy of ``(T, K + 1, h, w)`` at the pixels that have a class."""
        classes = torch.full_like(pixel_targets.is_void, -100, dtype=torch.int64)
        weights = torch.ones_like(classes, dtype=logits.dtype)
        areas = target.masks.flatten(2).sum(dim=2)  # (N, T)
        masks = _strided(target.masks, (logits.shape[2], logits.shape[3]))
        for label, mask, area in zip(target.labels, masks, areas, strict=True):
            classes[mask.flatten()] = label
            is_small = (area < self.small_instance_area)[:, None, None] & (label < self.num_thing_classes)
            weights[(mask & is_small).flatten()] = self.small_instance_weight
        loss = F.cross_entropy(logits.permute(0, 2, 3, 1).flatten(0, 2), classes, reduction="none")
        return mean_of_nonzero(loss * weights)
