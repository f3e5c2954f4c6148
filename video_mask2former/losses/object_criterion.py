"""Losses of objects that are made of the object tokens of an image model.

VITA (arXiv:2206.04403) looks at a clip as a whole; GenVIS (arXiv:2211.08834) at one short clip after the other, where
an object keeps the query that it got when it first appeared.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from typing_extensions import Unpack

from video_mask2former import distributed
from video_mask2former.losses.criterion import CriterionOptions, LossNormalizer, Match, SetCriterion
from video_mask2former.losses.first_appearance import frames_as_clips
from video_mask2former.losses.label_assignment import UNASSIGNED, Appearance, assign_new_objects
from video_mask2former.losses.matcher import HungarianMatcher
from video_mask2former.losses.object_output import (
    ObjectOutput,
    TokenLayerObjects,
    cut_target,
    last_of_each,
    similarity_groups,
    visible_targets,
)
from video_mask2former.losses.similarity import similarity_loss
from video_mask2former.option_values import NonNegative
from video_mask2former.structures import ClipOutput, ClipTarget

# For each prediction and video, the query of each object so far
Assignment = list[list[Tensor | None]]


@dataclass(frozen=True)
class ObjectNormalizer:
    """What sums over a batch of videos are divided by; add those of all parts of a batch to get that of the whole.

    Attributes:
        frames: Of the image model's losses.
        visible: Of each video, on which frames each instance is visible, ``(N, T)`` bool.
        num_parts: By how many parts of a batch it was divided.
    """

    frames: LossNormalizer
    visible: tuple[Tensor, ...]
    num_parts: float = 1.0

    def __add__(self, other: ObjectNormalizer) -> ObjectNormalizer:
        return ObjectNormalizer(self.frames + other.frames, self.visible + other.visible, self.num_parts)

    def __truediv__(self, divisor: float) -> ObjectNormalizer:
        return ObjectNormalizer(self.frames / divisor, self.visible, self.num_parts * divisor)

    @property
    def num_videos(self) -> float:
        """Videos of a part."""
        return len(self.visible) / self.num_parts

    def num_instances(self, start: int, stop: int) -> float:
        """Instances of a part that are visible on the frames ``start:stop``."""
        counts = [int(on_frame[:, start:stop].any(dim=1).sum()) for on_frame in self.visible]
        return sum(counts) / self.num_parts


class ObjectCriterion(SetCriterion):
    """Loss of a batch of videos of which each was taken clip by clip.

    Each object keeps the query that fits it best in the clip where it first appears. In every clip the visible objects
    supervise their queries, and all other queries hold nothing. Mask losses of an object are taken over all frames of
    the clip together. Tokens and queries of one object are drawn together, of different objects apart; whose a token
    is tells the image model's own matching. The image model has the losses of its frames, unless it is frozen.

    Args:
        num_classes: K, without "no object".
        matcher: Assigns queries to instances.
        similarity_weight: Weight of the similarity loss.
        options: See :class:`SetCriterion`.
    """

    def __init__(
        self,
        num_classes: int,
        matcher: HungarianMatcher,
        *,
        similarity_weight: NonNegative = 0.5,
        **options: Unpack[CriterionOptions],
    ) -> None:
        super().__init__(num_classes, matcher, **options)
        self.frame_criterion = SetCriterion(num_classes, matcher, **options)
        self.similarity_weight = similarity_weight

    def forward(  # type: ignore[override]
        self, output: ClipOutput, targets: Sequence[ClipTarget], normalizer: ObjectNormalizer | None = None
    ) -> dict[str, Tensor]:
        """Weighted losses; the total is their sum.

        Args:
            output: Of the model in training, an :class:`ObjectOutput`.
            targets: One per video, masks at the video's own size before padding.
            normalizer: Of the whole batch, where this is a part of it (see :meth:`normalizer`); None: this batch's
                own, averaged over all ranks.

        Returns:
            ``loss_ce``, ``loss_mask``, ``loss_dice`` and ``loss_similarity``, sums over clips; ``loss_ce_0``, ... of
            earlier layers; ``loss_frame_ce``, ... of the image model; scalars, float32 at least.
        """
        if not isinstance(output, ObjectOutput) or output.segmenter is None or not output.clips:
            raise ValueError("the loss of object tokens needs the output of VITA or GenVIS in training mode.")
        self._check_targets(output, targets)
        if normalizer is None:
            own = self.normalizer(targets, output.segmenter.class_logits.shape[1])
            everyone = distributed.gather_objects(own)
            normalizer = functools.reduce(operator.add, everyone) / len(everyone)
        with torch.autocast(output.class_logits.device.type, enabled=False):
            return self._object_losses(output, targets, normalizer)

    def normalizer(self, targets: Sequence[ClipTarget], num_queries: int) -> ObjectNormalizer:  # type: ignore[override]
        """The normaliser of some videos; ``num_queries`` are those of the image model."""
        return ObjectNormalizer(
            self.frame_criterion.normalizer(visible_targets(targets)[0], num_queries),
            tuple(target.masks.flatten(2).any(dim=2).cpu() for target in targets),
        )

    def _object_losses(
        self, output: ObjectOutput, targets: Sequence[ClipTarget], normalizer: ObjectNormalizer
    ) -> dict[str, Tensor]:
        assert output.segmenter is not None
        frames, owners = visible_targets(targets)
        num_token_layers = len(output.clips[0])
        is_trained = output.segmenter.class_logits.requires_grad or not torch.is_grad_enabled()
        # Of a frozen model only the layers whose queries are tokens are matched.
        auxiliary = output.segmenter.auxiliary
        needed = auxiliary if is_trained else auxiliary[len(auxiliary) + 1 - num_token_layers :]
        segmenter = frames_as_clips(replace(output.segmenter, auxiliary=needed))
        matches = self.frame_criterion.match(segmenter, frames)
        tokens = [
            [(rows, owner[columns]) for (rows, columns), owner in zip(layer, owners, strict=True)]
            for layer in matches[-num_token_layers:]
        ]
        losses: dict[str, Tensor] = {}
        for clip_losses in self.clip_losses(output.clips, targets, tokens, normalizer):
            for name, value in clip_losses.items():
                losses[name] = losses[name] + value if name in losses else value
        if is_trained:
            of_frames = self.frame_criterion._losses(segmenter, frames, normalizer.frames, matches)
            losses |= {name.replace("loss_", "loss_frame_"): value for name, value in of_frames.items()}
        return losses

    def clip_losses(
        self,
        clips: Sequence[Sequence[TokenLayerObjects]],
        targets: Sequence[ClipTarget],
        tokens: Sequence[Sequence[Match]],
        normalizer: ObjectNormalizer,
    ) -> list[dict[str, Tensor]]:
        """The losses of each clip of the videos, without those of the image model.

        Args:
            clips: See :class:`ObjectOutput`.
            targets: One per video.
            tokens: For each token layer and each of the ``B * T`` frames, tokens and the objects that they are.
            normalizer: See :meth:`normalizer`.
        """
        num_frames = targets[0].masks.shape[1]
        lengths = [layers[0].token_similarity.shape[1] for layers in clips]
        appearances = [Appearance.of_clips(target.masks, lengths) for target in targets]
        assigned: Assignment = [[None] * len(targets) for _ in _predictions(clips[0])]
        losses = []
        for index, layers in enumerate(clips):
            start, stop = sum(lengths[:index]), sum(lengths[: index + 1])
            cut = [cut_target(target, start, stop, stream=num_frames + 1 + index) for target in targets]
            appearance = [of_clips[index] for of_clips in appearances]
            matches = self._assign(_predictions(layers), cut, appearance, assigned)
            num_instances = normalizer.num_instances(start, stop)
            share = self._share(num_instances, normalizer.num_videos, layers, appearance)
            losses.append(self._prediction_losses(layers, cut, matches, max(num_instances, 1.0), share))
            groups = []
            for layer, (objects, of_tokens) in enumerate(zip(layers, tokens, strict=True)):
                frames = [
                    of_tokens[video * num_frames + t] for video in range(len(targets)) for t in range(start, stop)
                ]
                of_queries = matches[(layer + 1) * len(objects.predictions) - 1]
                groups += similarity_groups(objects, frames, of_queries)
            losses[-1]["loss_similarity"] = self.similarity_weight * similarity_loss(groups)
        return losses

    @torch.no_grad()
    def _assign(
        self,
        predictions: Sequence[ClipOutput],
        targets: Sequence[ClipTarget],
        appearances: Sequence[Appearance],
        assigned: Assignment,
    ) -> list[list[Match]]:
        """The queries of visible objects; ``assigned`` is brought up to date."""
        matches: list[list[Match]] = [[] for _ in predictions]
        for video, (target, appearance) in enumerate(zip(targets, appearances, strict=True)):
            for layer, arguments in enumerate(self._matching_samples(predictions, video, target)):
                queries = assign_new_objects(self.matcher.cost(*arguments), appearance, assigned[layer][video])
                assigned[layer][video] = queries
                objects = (appearance.is_visible & (queries != UNASSIGNED)).nonzero()[:, 0]
                matches[layer].append((queries[objects], objects))
        return matches

    def _share(
        self,
        num_instances: float,
        num_videos: float,
        layers: Sequence[TokenLayerObjects],
        appearances: Sequence[Appearance],
    ) -> float:
        """The class weight of the whole batch by that of these videos, each object with a query of its own."""
        num_queries = layers[0].predictions[0].class_logits.shape[1]

        def class_weight(num_matched: float, num_videos: float) -> float:
            return num_matched + self.no_object_weight * (num_queries * num_videos - num_matched)

        own = sum(float(appearance.is_visible.sum()) for appearance in appearances)
        return class_weight(num_instances, num_videos) / class_weight(own, len(appearances))

    def _prediction_losses(
        self,
        layers: Sequence[TokenLayerObjects],
        targets: Sequence[ClipTarget],
        matches: Sequence[Sequence[Match]],
        num_instances: float,
        share: float,
    ) -> dict[str, Tensor]:
        """Class, mask and dice losses of each decoder layer, mean over token layers."""
        predictions, depth = _predictions(layers), len(layers[0].predictions)
        mask_losses, dice_losses = self._mask_losses(predictions, targets, matches)
        losses = {}
        for layer in range(depth):
            suffix = "" if layer == depth - 1 else f"_{layer}"
            same = range(layer, len(predictions), depth)
            by_class = [[last_of_each(*match) for match in matches[index]] for index in same]
            class_sum = torch.stack(
                [self._class_loss(predictions[i], targets, match) for i, match in zip(same, by_class, strict=True)]
            ).sum()
            num_matched = sum(len(queries) for match in by_class for queries, _ in match)
            num_queries = sum(predictions[index].class_logits[..., 0].numel() for index in same)
            weight = num_matched + self.no_object_weight * (num_queries - num_matched)
            losses[f"loss_ce{suffix}"] = self.class_weight * class_sum / (weight * share)
            scale = 1.0 / (len(layers) * num_instances)
            losses[f"loss_mask{suffix}"] = self.mask_weight * scale * torch.stack(mask_losses[layer::depth]).sum()
            losses[f"loss_dice{suffix}"] = self.dice_weight * scale * torch.stack(dice_losses[layer::depth]).sum()
        return losses

    def _sample_points(
        self, logits: Tensor, maps: Tensor, ignored: Tensor | None, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """As of single frames, but the points of all frames of an instance count as one mask, ``(N, T * P)``."""

        def of_instances(values: Tensor) -> Tensor:
            return values.unflatten(0, logits.shape[:2]).flatten(1)

        point_logits, point_targets, weights = super()._sample_points(logits, maps, ignored, generator)
        weights = None if weights is None else of_instances(weights)
        return of_instances(point_logits), of_instances(point_targets), weights


def _predictions(layers: Sequence[TokenLayerObjects]) -> list[ClipOutput]:
    """All predictions of a clip, token layer by token layer."""
    return [prediction for layer in layers for prediction in layer.predictions]
