"""Losses of learned trackers and of refiners: DVIS (arXiv:2306.03413) and DVIS++ (arXiv:2312.13305).

At the beginning of a training its own predictions say little about which query should become which object. So objects
are matched by what the stage before predicts of the same queries (the output's ``guide``), the segmenter's for a
tracker and the tracker's for a refiner, and only later by the output itself.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from typing_extensions import Unpack

from video_mask2former.losses.contrast import (
    ClassMemory,
    ContrastItem,
    contrastive_losses,
    reference_chain_items,
    refined_items,
)
from video_mask2former.losses.criterion import CriterionOptions, LossNormalizer, Match, SetCriterion, at_least_float32
from video_mask2former.losses.first_appearance import UNSEEN, Assignments, FirstAppearanceCriterion, is_seen
from video_mask2former.losses.matcher import HungarianMatcher
from video_mask2former.mask_logits import MaskLogits
from video_mask2former.option_values import NonNegative, Share
from video_mask2former.structures import ClipOutput, ClipTarget


class TrackerCriterion(FirstAppearanceCriterion):
    """Loss of a referring tracker: an object belongs to the query it got on the first frame that shows it.

    Args:
        num_classes: K, without "no object".
        matcher: Assigns queries to instances.
        guided_share: Share of the training in which the segmenter's predictions are matched.
        contrast_weight: Of the contrastive loss on what the tracker refers to; 0 leaves it out.
        classes_of_last_frame: Train objects that are absent from the last frame as "no object", as the published DVIS
            does and DVIS++ does not.
        options: See :class:`SetCriterion`.
    """

    def __init__(
        self,
        num_classes: int,
        matcher: HungarianMatcher,
        *,
        guided_share: Share = 0.5,
        contrast_weight: NonNegative = 2.0,
        classes_of_last_frame: bool = False,
        **options: Unpack[CriterionOptions],
    ) -> None:
        super().__init__(num_classes, matcher, **options)
        self.guided_share = guided_share
        self.contrast_weight = contrast_weight
        self.classes_of_last_frame = classes_of_last_frame

    def forward(
        self,
        output: ClipOutput,
        targets: Sequence[ClipTarget],
        normalizer: LossNormalizer | None = None,
        assignments: Assignments | None = None,
    ) -> dict[str, Tensor]:
        """Losses named as in :meth:`SetCriterion.forward`, and ``loss_reid`` where there is a contrastive loss."""
        self._check_targets(output, targets)
        if normalizer is None:
            normalizer = self._of_whole_batch(self.normalizer(targets, output.class_logits.shape[1]))
        if self.classes_of_last_frame:
            targets = [_with_classes_of_last_frame(target, self.num_classes) for target in targets]
        with torch.autocast(output.class_logits.device.type, enabled=False):
            if assignments is None:
                assignments = self.assignments(output, targets)
            losses = self._assigned_losses(output, targets, normalizer, assignments)
            if self.contrast_weight and output.contrast_embeddings is not None:
                # Published: the pairs are those of the last but one prediction, where each is matched by itself
                pairs = assignments[-2] if len(assignments) > 1 else assignments[-1]
                losses["loss_reid"] = self.contrast_weight * self._contrast(output.contrast_embeddings, pairs)
        return losses

    def normalizer(self, targets: Sequence[ClipTarget], num_queries: int) -> LossNormalizer:
        """The normaliser of some clips: every object counts on every frame."""
        normalizer = super().normalizer(targets, num_queries)
        if not self.classes_of_last_frame:
            return normalizer
        num_gone = sum(target.masks.shape[1] * _num_gone(target) for target in targets)
        return _without_classes(normalizer, num_gone, self.no_object_weight)

    def assignments(self, output: ClipOutput, targets: Sequence[ClipTarget]) -> Assignments:
        """The query of every object: by the guide, the same for all predictions, or by each prediction."""
        if output.guide is None or self.progress >= self.guided_share:
            return self.assign(output, targets)
        return self.assign(output.guide, targets) * (len(output.auxiliary) + 1)

    def _contrast(self, references: Tensor, pairs: Sequence[Tensor]) -> Tensor:
        references = at_least_float32(references)
        items: list[ContrastItem] = []
        for clip, queries in enumerate(pairs):
            items += reference_chain_items(references[clip], queries[queries != UNSEEN].tolist())
        return contrastive_losses(items, references)[0]


class RefinerCriterion(SetCriterion):
    """Loss of a temporal refiner: one class per query and clip, and the masks of all frames as one large mask.

    Args:
        num_classes: K, without "no object".
        matcher: Assigns queries to instances.
        guided_share: Share of the training in which the tracker's predictions are matched.
        contrast_weight: Of the contrastive loss between tracks; 0 leaves it out.
        classes_of_last_frame: See :class:`TrackerCriterion`.
        options: See :class:`SetCriterion`.
    """

    def __init__(
        self,
        num_classes: int,
        matcher: HungarianMatcher,
        *,
        guided_share: Share = 0.5,
        contrast_weight: NonNegative = 2.0,
        classes_of_last_frame: bool = False,
        **options: Unpack[CriterionOptions],
    ) -> None:
        super().__init__(num_classes, matcher, **options)
        self.num_points_per_frame = self.num_points
        self.guided_share = guided_share
        self.contrast_weight = contrast_weight
        self.classes_of_last_frame = classes_of_last_frame
        self._memory = ClassMemory()

    def forward(
        self, output: ClipOutput, targets: Sequence[ClipTarget], normalizer: LossNormalizer | None = None
    ) -> dict[str, Tensor]:
        """Losses named as in :meth:`SetCriterion.forward`, and ``loss_reid`` where there is a contrastive loss."""
        self._check_targets(output, targets)
        own_labels = [target.labels for target in targets]
        if normalizer is None:
            normalizer = self._of_whole_batch(self.normalizer(targets, output.class_logits.shape[1]))
        if self.classes_of_last_frame:
            targets = [_with_classes_of_last_frame(target, self.num_classes) for target in targets]
        stacked_targets = [_stacked_target(target, output.padded_size) for target in targets]
        self.num_points = self.num_points_per_frame * output.mask_logits.shape[2]
        with torch.autocast(output.class_logits.device.type, enabled=False):
            stacked = dataclasses.replace(
                stacked_output(output), auxiliary=tuple(stacked_output(earlier) for earlier in output.auxiliary)
            )
            matches = self._matches(stacked, output.guide, stacked_targets)
            losses = self._losses(stacked, stacked_targets, normalizer, matches)
            if self.contrast_weight and output.contrast_embeddings is not None:
                # Published: the pairs are those of the last but one prediction, where each is matched by itself
                pairs = matches[-2] if len(matches) > 1 else matches[-1]
                contrast = self._contrast(output.contrast_embeddings, pairs, own_labels)
                losses["loss_reid"] = self.contrast_weight * contrast
        return losses

    def normalizer(self, targets: Sequence[ClipTarget], num_queries: int) -> LossNormalizer:
        """The normaliser of some clips, without looking at their predictions."""
        normalizer = super().normalizer(targets, num_queries)
        if not self.classes_of_last_frame:
            return normalizer
        return _without_classes(normalizer, sum(map(_num_gone, targets)), self.no_object_weight)

    def _matches(
        self, stacked: ClipOutput, guide: ClipOutput | None, targets: Sequence[ClipTarget]
    ) -> list[list[Match]]:
        if guide is None or self.progress >= self.guided_share:
            return self.match(stacked, targets)
        return self.match(stacked_output(guide), targets) * (len(stacked.auxiliary) + 1)

    def _contrast(self, embeddings: Tensor, pairs: Sequence[Match], labels: Sequence[Tensor]) -> Tensor:
        embeddings = at_least_float32(embeddings)
        items: list[ContrastItem] = []
        for clip, (queries, instances) in enumerate(pairs):
            classes = labels[clip][instances].tolist()
            items += refined_items(embeddings[clip], queries.tolist(), classes, self._memory)
        return contrastive_losses(items, embeddings)[0]


def stacked_output(output: ClipOutput) -> ClipOutput:
    """A clip as one tall image, its frames below each other, without auxiliary predictions."""
    num_frames = output.mask_logits.shape[2]
    logits = MaskLogits(
        at_least_float32(output.mask_logits.embeddings), at_least_float32(output.mask_logits.features)
    ).dense()
    height, width = output.padded_size
    return ClipOutput(
        output.class_logits,
        MaskLogits.from_dense(logits.flatten(2, 3)[:, :, None]),
        output.query_embeddings,
        output.queries,
        (num_frames * height, width),
        (num_frames * height, width),
    )


def _stacked_target(target: ClipTarget, padded_size: tuple[int, int]) -> ClipTarget:
    height, width = target.masks.shape[2:]
    masks = F.pad(target.masks, (0, padded_size[1] - width, 0, padded_size[0] - height))
    ignored = target.ignored
    if ignored is not None:
        ignored = F.pad(ignored, (0, padded_size[1] - width, 0, padded_size[0] - height)).flatten(0, 1)[None]
    return dataclasses.replace(target, masks=masks.flatten(1, 2)[:, None], ignored=ignored)


def _without_classes(normalizer: LossNormalizer, num_gone: int, no_object_weight: float) -> LossNormalizer:
    """The normaliser where so many of the matched predictions are trained as "no object"."""
    return dataclasses.replace(normalizer, class_weight=normalizer.class_weight - num_gone * (1 - no_object_weight))


def _num_gone(target: ClipTarget) -> int:
    """Objects that were seen, and not on the last frame."""
    seen = is_seen(target)
    return int((seen.any(dim=1) & ~seen[:, -1]).sum())


def _with_classes_of_last_frame(target: ClipTarget, no_object: int) -> ClipTarget:
    return dataclasses.replace(target, labels=torch.where(is_seen(target)[:, -1], target.labels, no_object))
