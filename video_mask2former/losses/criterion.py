"""The training loss over clips: match, then class, mask and dice losses on every layer's prediction.

Mask2Former, arXiv:2112.01527, section 3.4; over clips, arXiv:2112.10764. Mask losses are taken on sampled points, and
only the matched queries' masks are ever multiplied out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor
from typing_extensions import TypedDict

from video_mask2former import distributed
from video_mask2former.losses.base import Criterion
from video_mask2former.losses.incomplete_labels import allow_unlabelled, marginal_cross_entropy
from video_mask2former.losses.mask_losses import dice, sigmoid_cross_entropy
from video_mask2former.losses.matcher import HungarianMatcher
from video_mask2former.mask_logits import multiply
from video_mask2former.ops import point_sample, select_uncertain_points
from video_mask2former.option_values import NonNegative, PositiveInt, Range, Share
from video_mask2former.structures import ClipOutput, ClipTarget

Match = tuple[Tensor, Tensor]

_CERTAIN = 1e4  # a logit that is never among the uncertain ones


@dataclass(frozen=True)
class LossNormalizer:
    """What sums over a batch are divided by; add those of all parts of a batch to get that of the whole.

    Attributes:
        num_instances: Annotated instances, the divisor of mask and dice losses.
        class_weight: Sum of the weights of all queries' classes, the divisor of the cross-entropy.
    """

    num_instances: float
    class_weight: float

    def __add__(self, other: LossNormalizer) -> LossNormalizer:
        return LossNormalizer(self.num_instances + other.num_instances, self.class_weight + other.class_weight)

    def __truediv__(self, divisor: float) -> LossNormalizer:
        return LossNormalizer(self.num_instances / divisor, self.class_weight / divisor)


class CriterionOptions(TypedDict, total=False):
    """The options of :class:`SetCriterion` that criteria built on it hand on."""

    class_weight: NonNegative
    mask_weight: NonNegative
    dice_weight: NonNegative
    no_object_weight: NonNegative
    num_points: PositiveInt
    oversample_ratio: Annotated[float, Range(at_least=1)]
    importance_sample_ratio: Share


class SetCriterion(Criterion):
    """Loss of a batch of clips.

    Each clip is matched once per prediction, on points that all predictions, frames and instances of the clip share.
    Classes that are not labelled and ignored regions count neither for nor against a prediction
    (:mod:`~video_mask2former.losses.incomplete_labels`); such queries do count in the normaliser, which is known
    before there is a prediction.

    Args:
        num_classes: K, without "no object".
        matcher: Assigns queries to instances.
        class_weight: Weight of the cross-entropy over K + 1 classes.
        mask_weight: Weight of the binary cross-entropy on points.
        dice_weight: Weight of the dice loss on points.
        no_object_weight: Weight of "no object" inside the cross-entropy.
        num_points: Points per instance and frame, P.
        oversample_ratio: Candidates per point when the uncertain ones are chosen.
        importance_sample_ratio: Share of the points chosen for their uncertainty.
    """

    class_weights: Tensor

    def __init__(
        self,
        num_classes: int,
        matcher: HungarianMatcher,
        *,
        class_weight: NonNegative = 2.0,
        mask_weight: NonNegative = 5.0,
        dice_weight: NonNegative = 5.0,
        no_object_weight: NonNegative = 0.1,
        num_points: PositiveInt = 12544,
        oversample_ratio: Annotated[float, Range(at_least=1)] = 3.0,
        importance_sample_ratio: Share = 0.75,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.matcher = matcher
        self.class_weight, self.mask_weight, self.dice_weight = class_weight, mask_weight, dice_weight
        self.no_object_weight = no_object_weight
        self.num_points = num_points
        self.oversample_ratio = oversample_ratio
        self.importance_sample_ratio = importance_sample_ratio
        weights = torch.ones(num_classes + 1)
        weights[-1] = no_object_weight
        self.register_buffer("class_weights", weights, persistent=False)

    def forward(
        self, output: ClipOutput, targets: Sequence[ClipTarget], normalizer: LossNormalizer | None = None
    ) -> dict[str, Tensor]:
        """Weighted losses of the last prediction and, numbered, of the auxiliary ones; the total is their sum.

        Args:
            output: Of the model.
            targets: One per clip, masks at the clip's own size before padding.
            normalizer: Of the whole batch, where this is a part of it (see :meth:`normalizer`); None: this batch's
                own, averaged over all ranks.

        Returns:
            ``loss_ce``, ``loss_mask``, ``loss_dice`` of the last prediction and ``loss_ce_0``, ... of the earlier ones,
            that of the learned queries first; scalars, float32 at least.
        """
        self._check_targets(output, targets)
        if normalizer is None:
            normalizer = self._of_whole_batch(self.normalizer(targets, output.class_logits.shape[1]))
        with torch.autocast(output.class_logits.device.type, enabled=False):
            return self._losses(output, targets, normalizer, self.match(output, targets))

    def normalizer(self, targets: Sequence[ClipTarget], num_queries: int) -> LossNormalizer:
        """The normaliser of some clips, without looking at their predictions."""
        num_matched = sum(min(len(target), num_queries) for target in targets)
        num_unmatched = num_queries * len(targets) - num_matched
        return LossNormalizer(
            num_instances=float(sum(len(target) for target in targets)),
            class_weight=num_matched + self.no_object_weight * num_unmatched,
        )

    @torch.no_grad()
    def match(self, output: ClipOutput, targets: Sequence[ClipTarget]) -> list[list[Match]]:
        """Match every prediction with every clip's instances.

        Returns:
            Matched queries and their instances (rising) of each prediction and clip; the auxiliary predictions come
            first, the last one last.
        """
        predictions = (*output.auxiliary, output)
        by_clip = [self._match_clip(predictions, index, target) for index, target in enumerate(targets)]
        return [[matches[layer] for matches in by_clip] for layer in range(len(predictions))]

    def _losses(
        self,
        output: ClipOutput,
        targets: Sequence[ClipTarget],
        normalizer: LossNormalizer,
        matches: Sequence[Sequence[Match]],
    ) -> dict[str, Tensor]:
        predictions = (*output.auxiliary, output)
        mask_losses, dice_losses = self._mask_losses(predictions, targets, matches)
        num_instances = normalizer.num_instances or 1.0  # without instances there is nothing to divide
        losses = {}
        for layer, (prediction, layer_matches) in enumerate(zip(predictions, matches, strict=True)):
            suffix = "" if prediction is output else f"_{layer}"
            class_loss = self._class_loss(prediction, targets, layer_matches) / normalizer.class_weight
            losses[f"loss_ce{suffix}"] = self.class_weight * class_loss
            losses[f"loss_mask{suffix}"] = self.mask_weight * mask_losses[layer] / num_instances
            losses[f"loss_dice{suffix}"] = self.dice_weight * dice_losses[layer] / num_instances
        return losses

    def _match_clip(self, predictions: Sequence[ClipOutput], clip: int, target: ClipTarget) -> list[Match]:
        """Match one clip with each prediction."""
        matches = []
        for arguments in self._matching_samples(predictions, clip, target):
            queries, instances = self.matcher(*arguments)
            order = instances.argsort()
            matches.append((queries[order], instances[order]))
        return matches

    def _matching_samples(
        self, predictions: Sequence[ClipOutput], clip: int, target: ClipTarget
    ) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
        """What the matcher compares of one clip, for each prediction; features and targets are sampled once for all."""
        device = target.masks.device
        points = torch.rand(1, self.num_points, 2, device=device, generator=point_generator(target, device, stream=0))
        maps = padded_maps(target.masks, predictions[-1])
        point_targets = point_sample(maps, points.expand(len(target), -1, -1)).flatten(1)  # (N, T * P)
        counts: slice | Tensor = slice(None)
        if target.ignored is not None:
            ignored = point_sample(padded_maps(target.ignored[None], predictions[-1]), points).flatten()
            counts = (ignored < 0.5).nonzero()[:, 0]
        sampled: dict[int, Tensor] = {}
        for prediction in predictions:
            features = prediction.mask_logits.features
            if id(features) not in sampled:
                maps_of_features = at_least_float32(features[clip])
                shared_points = points.to(maps_of_features.dtype).expand(len(maps_of_features), -1, -1)
                sampled[id(features)] = point_sample(maps_of_features, shared_points)
            samples = sampled[id(features)]  # (T, C, P)
            embeddings = prediction.mask_logits.embeddings[clip].to(samples.dtype)
            class_logits = prediction.class_logits[clip].to(samples.dtype)
            point_logits = multiply(embeddings[None], samples[None])[0].flatten(1)  # (Q, T * P)
            yield class_logits, point_logits[:, counts], target.labels, point_targets[:, counts]

    def _class_loss(self, prediction: ClipOutput, targets: Sequence[ClipTarget], matches: Sequence[Match]) -> Tensor:
        """Sum of the weighted cross-entropy over all queries of all clips."""
        logits = at_least_float32(prediction.class_logits)
        allowed = torch.zeros_like(logits, dtype=torch.bool)
        allowed[..., self.num_classes] = True
        for clip, (target, (queries, instances)) in enumerate(zip(targets, matches, strict=True)):
            if target.labelled_classes is not None or target.ignored is not None:
                allowed[clip] = self._allow_unlabelled(allowed[clip], prediction, clip, target)
            allowed[clip, queries] = False
            allowed[clip, queries, target.labels[instances]] = True
        weights = torch.where(allowed[..., self.num_classes], self.class_weights[-1], 1.0).to(logits.dtype)
        return (weights.flatten() * marginal_cross_entropy(logits.flatten(0, 1), allowed.flatten(0, 1))).sum()

    @staticmethod
    @torch.no_grad()
    def _allow_unlabelled(allowed: Tensor, prediction: ClipOutput, clip: int, target: ClipTarget) -> Tensor:
        """The classes that the queries of one clip may have, compared at the size of the predicted masks."""
        masks = prediction.mask_logits.clip(clip).dense()[0] > 0  # (Q, T, h, w)

        def region(pixels: Tensor) -> Tensor:
            maps = padded_maps(pixels[None], prediction)
            return F.interpolate(maps, size=masks.shape[2:], mode="nearest-exact").flatten() > 0

        ignored = None if target.ignored is None else region(target.ignored)
        return allow_unlabelled(allowed, target, masks.flatten(1), region(target.masks.any(dim=0)), ignored)

    def _mask_losses(
        self, predictions: Sequence[ClipOutput], targets: Sequence[ClipTarget], matches: Sequence[Sequence[Match]]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Sums over all instances and frames of the mask and dice losses of each prediction."""
        mask_sums: list[list[Tensor]] = [[] for _ in predictions]
        dice_sums: list[list[Tensor]] = [[] for _ in predictions]
        for clip, target in enumerate(targets):
            layer_matches = [matches[layer][clip] for layer in range(len(predictions))]
            maps = padded_maps(target.masks, predictions[-1])
            ignored = None if target.ignored is None else padded_maps(target.ignored[None], predictions[-1])
            # predictions that share mask features: one product, and one pass back through it, for all of them
            logits = matched_mask_logits(predictions, clip, layer_matches)
            generator = point_generator(target, maps.device, stream=1)
            for layer, (part, (_, instances)) in enumerate(zip(logits, layer_matches, strict=True)):
                layer_maps = maps if len(instances) == len(target) else maps[instances]
                points = self._sample_points(part, layer_maps, ignored, generator)
                mask_sums[layer].append(sigmoid_cross_entropy(*points).sum())
                dice_sums[layer].append(dice(*points).sum())
        return [torch.stack(sums).sum() for sums in mask_sums], [torch.stack(sums).sum() for sums in dice_sums]

    def _sample_points(
        self, logits: Tensor, maps: Tensor, ignored: Tensor | None, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Logits, targets and weights on points chosen for each instance and frame.

        Logits and maps are ``(N, T, ., .)``, ignored regions ``(1, T, ., .)``, the results ``(N * T, P)``. Points in
        ignored regions have weight 0, and none is chosen for its uncertainty there.
        """
        certainty = logits.detach()
        if ignored is not None:
            ignored = ignored.expand(len(logits), -1, -1, -1)
            is_ignored = F.interpolate(ignored, size=logits.shape[2:], mode="nearest-exact") > 0
            certainty = certainty.masked_fill(is_ignored, _CERTAIN)
        points = select_uncertain_points(
            certainty.flatten(0, 1)[:, None],
            self.num_points,
            self.oversample_ratio,
            self.importance_sample_ratio,
            generator,
        )

        def sample(part: Tensor) -> Tensor:
            return point_sample(part.flatten(0, 1)[:, None], points.to(part.dtype)).squeeze(1)

        weights = None if ignored is None else 1 - sample(ignored).to(logits.dtype)
        return sample(logits), sample(maps).to(logits.dtype), weights

    @staticmethod
    def _of_whole_batch(normalizer: LossNormalizer) -> LossNormalizer:
        """The mean over ranks, as gradients are averaged over them; never less than one instance, as published."""
        return LossNormalizer(
            num_instances=max(distributed.all_reduce_mean(normalizer.num_instances), 1.0),
            class_weight=distributed.all_reduce_mean(normalizer.class_weight),
        )

    def _check_targets(self, output: ClipOutput, targets: Sequence[ClipTarget]) -> None:
        batch, _, num_frames, _, _ = output.mask_logits.shape
        if len(targets) != batch:
            raise ValueError(f"expected one target per clip, {batch}, got {len(targets)}.")
        if output.num_classes != self.num_classes:
            raise ValueError(f"the model predicts {output.num_classes} classes, the criterion has {self.num_classes}.")
        for index, target in enumerate(targets):
            if target.masks.shape[1] != num_frames:
                raise ValueError(
                    f"target {index} has {target.masks.shape[1]} frames, the output {num_frames}. "
                    "Targets need a mask for every frame of the clip, empty where the instance is absent."
                )
            if len(target) and not 0 <= int(target.labels.min()) <= int(target.labels.max()) < self.num_classes:
                raise ValueError(
                    f"labels must be in [0, {self.num_classes}), got {target.labels.tolist()} in target {index}. "
                    "Does model.num_classes fit the dataset?"
                )


def at_least_float32(x: Tensor) -> Tensor:
    """Losses are computed in float32, or in float64 where the model is."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def point_generator(target: ClipTarget, device: torch.device, stream: int) -> torch.Generator | None:
    """Source of a clip's points; ``stream`` tells the points of matching from those of the losses."""
    if target.point_seed is None:
        return None
    return torch.Generator(device).manual_seed(2 * target.point_seed + stream)


def matched_mask_logits(predictions: Sequence[ClipOutput], clip: int, matches: Sequence[Match]) -> tuple[Tensor, ...]:
    """Dense mask logits of each prediction's matched queries, ``(N, T, h, w)`` each."""
    sharing: dict[int, list[int]] = {}
    for index, prediction in enumerate(predictions):
        sharing.setdefault(id(prediction.mask_logits.features), []).append(index)
    logits: dict[int, Tensor] = {}
    for indices in sharing.values():
        chosen = [predictions[index].mask_logits.embeddings[clip][..., matches[index][0], :] for index in indices]
        features = at_least_float32(predictions[indices[0]].mask_logits.features[clip])
        product = multiply(torch.cat(chosen, dim=-2).to(features.dtype)[None], features[None])[0]
        logits.update(zip(indices, product.split([part.shape[-2] for part in chosen]), strict=True))
    return tuple(logits[index] for index in range(len(predictions)))


def padded_maps(masks: Tensor, output: ClipOutput) -> Tensor:
    """Masks of a target, ``(N, T, H, W)`` bool, over the padded frames, float32."""
    height, width = masks.shape[2:]
    padding = (0, output.padded_size[1] - width, 0, output.padded_size[0] - height)
    if min(padding) < 0:
        raise ValueError(
            f"target masks are {height}x{width}, larger than the padded frames {output.padded_size}. "
            "Masks and frames must have one size."
        )
    return F.pad(masks.float(), padding)
