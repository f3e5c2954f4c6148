"""Losses of models whose query is one object on every frame: matched where the object first appears.

VidEoMT (arXiv:2602.17807) and PMT (arXiv:2603.25398), after TrackFormer and DVIS: an object gets a query on the first
frame that shows it, among those that no earlier object has, and keeps it. The query is then supervised on every frame,
with an empty mask where the object is absent.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor

from video_mask2former.losses.criterion import (
    LossNormalizer,
    Match,
    SetCriterion,
    at_least_float32,
    padded_maps,
    point_generator,
)
from video_mask2former.losses.matcher import assign
from video_mask2former.mask_logits import MaskLogits
from video_mask2former.ops import point_sample
from video_mask2former.structures import ClipOutput, ClipTarget

TAKEN_COST = 1e6
"""Cost of a query that an earlier object has."""

UNSEEN = -1
"""Query of an object that has not appeared yet."""

Assignments = list[list[Tensor]]
"""Of each prediction and each clip, the query of each instance or ``UNSEEN``, ``(N,)`` int64."""


class FirstAppearanceCriterion(SetCriterion):
    """Loss of clips that were predicted frame by frame; arguments as those of :class:`SetCriterion`.

    Objects that are on no frame of a clip do not count. Long clips may come in parts: what :meth:`assign` gave for one
    part goes into the call for the next, so that objects keep their queries.
    """

    def forward(
        self,
        output: ClipOutput,
        targets: Sequence[ClipTarget],
        normalizer: LossNormalizer | None = None,
        assignments: Assignments | None = None,
    ) -> dict[str, Tensor]:
        """Weighted losses, named as in :meth:`SetCriterion.forward`.

        Args:
            output: With ``frame_class_logits``.
            targets: One per clip.
            normalizer: Of the whole batch; None for this batch's own.
            assignments: From :meth:`assign`; None matches here.

        Raises:
            ValueError: If the output is not one of single frames.
        """
        self._check_targets(output, targets)
        if output.frame_class_logits is None:
            raise ValueError("matching at first appearance needs predictions per frame: output.frame_class_logits.")
        if normalizer is None:
            normalizer = self._of_whole_batch(self.normalizer(targets, output.class_logits.shape[1]))
        with torch.autocast(output.class_logits.device.type, enabled=False):
            assignments = self.assign(output, targets) if assignments is None else assignments
            return self._assigned_losses(output, targets, normalizer, assignments)

    def _assigned_losses(
        self,
        output: ClipOutput,
        targets: Sequence[ClipTarget],
        normalizer: LossNormalizer,
        assignments: Assignments,
    ) -> dict[str, Tensor]:
        matches = [
            [_pairs(queries) for queries, target in zip(layer, targets, strict=True) for _ in range(_length(target))]
            for layer in assignments
        ]
        return self._losses(frames_as_clips(output), frame_targets(targets), normalizer, matches)

    def normalizer(self, targets: Sequence[ClipTarget], num_queries: int) -> LossNormalizer:
        """The normaliser of some clips: every object counts on every frame."""
        num_instances, class_weight = 0.0, 0.0
        for target in targets:
            num_frames, count = _length(target), int(is_seen(target).any(dim=1).sum())
            num_matched = min(count, num_queries)
            num_instances += num_frames * count
            class_weight += num_frames * (num_matched + self.no_object_weight * (num_queries - num_matched))
        return LossNormalizer(num_instances, class_weight)

    @torch.no_grad()
    def assign(
        self, output: ClipOutput, targets: Sequence[ClipTarget], before: Assignments | None = None
    ) -> Assignments:
        """Give a query to every object that appears.

        Args:
            output: Of a batch of clips, or of a part of the frames of longer ones.
            targets: Masks of the same frames.
            before: What this gave for the frames before, if any.
        """
        predictions = (*output.auxiliary, output)
        assignments: Assignments = [[] for _ in predictions]
        for clip, target in enumerate(targets):
            maps = padded_maps(target.masks, output)
            generator = point_generator(target, maps.device, stream=0)
            for layer, prediction in enumerate(predictions):
                held = torch.full_like(target.labels, UNSEEN) if before is None else before[layer][clip].clone()
                self._assign_new(prediction, clip, target, maps, held, generator)
                assignments[layer].append(held)
        return assignments

    def _assign_new(
        self,
        prediction: ClipOutput,
        clip: int,
        target: ClipTarget,
        maps: Tensor,
        held: Tensor,
        generator: torch.Generator | None,
    ) -> None:
        """Fill ``held`` for the objects of one clip that appear, frame by frame."""
        is_visible = is_seen(target)
        for frame in range(_length(target)):
            new = (is_visible[:, frame] & (held == UNSEEN)).nonzero()[:, 0]
            if len(new) == 0:
                continue
            points = torch.rand(1, self.num_points, 2, device=maps.device, generator=generator)
            if target.ignored is not None:
                ignored = padded_maps(target.ignored[None, frame : frame + 1], prediction)
                points = points[:, point_sample(ignored, points).flatten() < 0.5]
            cost = self.frame_cost(prediction, clip, frame, target.labels[new], maps[new, frame], points)
            cost[held[held != UNSEEN]] = TAKEN_COST
            queries, columns = assign(cost)
            is_free = cost[queries, columns] < TAKEN_COST  # more objects than queries: the last ones get none
            held[new[columns[is_free]]] = queries[is_free]

    def frame_cost(
        self, prediction: ClipOutput, clip: int, frame: int, labels: Tensor, maps: Tensor, points: Tensor
    ) -> Tensor:
        """Cost of giving each query to each of some objects, by what one frame shows.

        Args:
            prediction: Of a batch of clips.
            clip: Which clip.
            frame: Which of its frames.
            labels: ``(N,)``.
            maps: Their masks on that frame, padded, ``(N, H, W)``.
            points: Where masks are compared, as (x, y) in [0, 1], ``(1, P, 2)``.

        Returns:
            ``(Q, N)``.
        """
        assert prediction.frame_class_logits is not None
        logits = prediction.mask_logits.clip(clip).frames(frame, frame + 1)
        logits = MaskLogits(at_least_float32(logits.embeddings), at_least_float32(logits.features))
        point_logits = logits.at_points(points.to(logits.features.dtype))[0].flatten(1)  # (Q, P)
        expanded = points.to(maps.dtype).expand(len(maps), -1, -1)
        point_targets = point_sample(maps[:, None], expanded).flatten(1)  # (N, P)
        class_logits = prediction.frame_class_logits[clip, frame].to(point_logits.dtype)
        return self.matcher.cost(class_logits, point_logits, labels, point_targets)


def is_seen(target: ClipTarget) -> Tensor:
    """On which frames each instance has a mask, ``(N, T)`` bool."""
    return target.masks.flatten(2).any(dim=2)


def frames_as_clips(output: ClipOutput) -> ClipOutput:
    """The ``B * T`` frames of an output that was made frame by frame, as clips of one frame each.

    Predictions that share mask features go on sharing them.

    Raises:
        ValueError: If it has no predictions per frame.
    """
    folded: dict[int, Tensor] = {}
    auxiliary = tuple(_fold(earlier, folded) for earlier in output.auxiliary)
    return dataclasses.replace(_fold(output, folded), auxiliary=auxiliary)


def _fold(output: ClipOutput, folded: dict[int, Tensor]) -> ClipOutput:
    """One prediction; ``folded`` has the mask features so far, by the identity of what they were folded from."""
    if output.frame_class_logits is None or output.frame_embeddings is None:
        raise ValueError("the output must be made frame by frame, with class logits and embeddings of each frame.")
    num_frames = output.mask_logits.shape[2]
    embeddings, features = output.mask_logits.embeddings, output.mask_logits.features
    if not output.mask_logits.is_per_frame:
        embeddings = embeddings[:, None].expand(-1, num_frames, -1, -1)
    if id(features) not in folded:
        folded[id(features)] = features.flatten(0, 1)[:, None]
    return ClipOutput(
        class_logits=output.frame_class_logits.flatten(0, 1),
        mask_logits=MaskLogits(embeddings.flatten(0, 1)[:, None], folded[id(features)]),
        query_embeddings=output.frame_embeddings.flatten(0, 1),
        queries=output.queries.repeat_interleave(num_frames, dim=0),
        frame_size=output.frame_size,
        padded_size=output.padded_size,
    )


def frame_targets(targets: Sequence[ClipTarget]) -> list[ClipTarget]:
    """The frames of clips as clips of one frame each, all with all instances of their clip."""
    return [
        dataclasses.replace(
            target,
            masks=target.masks[:, frame : frame + 1],
            ignored=None if target.ignored is None else target.ignored[frame : frame + 1],
            point_seed=None if target.point_seed is None else 1009 * target.point_seed + frame,
        )
        for target in targets
        for frame in range(_length(target))
    ]


def _pairs(queries: Tensor) -> Match:
    """Matched queries and their instances, rising."""
    instances = (queries != UNSEEN).nonzero()[:, 0]
    return queries[instances], instances


def _length(target: ClipTarget) -> int:
    return target.masks.shape[1]
