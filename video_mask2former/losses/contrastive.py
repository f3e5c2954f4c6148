"""The contrastive loss of CTVIS (arXiv:2307.12616) and of the re-ID stage of DVIS++ (arXiv:2312.13305)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from video_mask2former.losses.base import Loss
from video_mask2former.losses.contrast import ContrastItem, consecutive_items, contrastive_losses, reference_items
from video_mask2former.losses.criterion import at_least_float32, padded_maps
from video_mask2former.losses.matcher import HungarianMatcher
from video_mask2former.mask_logits import MaskLogits
from video_mask2former.ops import point_sample
from video_mask2former.option_values import NonNegative, PositiveInt, Share
from video_mask2former.structures import ClipOutput, ClipTarget

AbsentClass = Literal["no_object", "own"]


class ContrastiveLoss(Loss):
    """Embeddings of one object through a clip become alike, those of different objects do not.

    Every frame is matched by itself with all objects of the clip; objects absent from it take part with an empty mask,
    so that the query that stands for their absence is no other object's.

    Args:
        num_classes: K, without "no object".
        matcher: Assigns queries to instances.
        weight: Of the contrastive loss.
        cosine_weight: Of the loss on cosines.
        pairs: ``consecutive`` compares each frame with a memory of the frames before (CTVIS); ``first`` the first frame
            with all others; ``all`` each frame with all others.
        num_negatives: Negatives of a frame that shows the object; None for all other queries.
        memory_probability: Chance that the positive is the memory rather than the latest embedding.
        absent_class: Class that an absent object is matched by: ``no_object`` (CTVIS) or its ``own`` (DVIS++).
        pads_targets: False matches target masks of the size before padding with mask logits of the size after, as the
            published CTVIS does.
        num_points: Points at which masks are compared.
    """

    def __init__(
        self,
        num_classes: int,
        matcher: HungarianMatcher,
        *,
        weight: NonNegative = 2.0,
        cosine_weight: NonNegative = 3.0,
        pairs: Literal["consecutive", "first", "all"] = "consecutive",
        num_negatives: PositiveInt | None = None,
        memory_probability: Share = 0.5,
        absent_class: AbsentClass = "no_object",
        pads_targets: bool = True,
        num_points: PositiveInt = 12544,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.matcher = matcher
        self.weight, self.cosine_weight = weight, cosine_weight
        self.pairs = pairs
        self.num_negatives = num_negatives
        self.memory_probability = memory_probability
        self.absent_class = absent_class
        self.pads_targets = pads_targets
        self.num_points = num_points

    def forward(self, output: ClipOutput, targets: Sequence[ClipTarget]) -> dict[str, Tensor]:
        """``loss_reid`` and ``loss_aux_reid``, weighted.

        Args:
            output: Made frame by frame, with ``contrast_embeddings``.
            targets: One per clip.

        Raises:
            ValueError: If the output has no embeddings to compare.
        """
        if output.contrast_embeddings is None or output.frame_class_logits is None:
            raise ValueError(
                "the contrastive loss needs a segmenter with a re-ID head that is run frame by frame: set "
                "model.decoder.reid_layers."
            )
        embeddings = at_least_float32(output.contrast_embeddings)
        items: list[ContrastItem] = []
        for clip, target in enumerate(targets):
            queries = self.match(output, clip, target)
            queries = torch.where(target.masks.flatten(2).any(dim=2), queries, -1)
            items += self._items(embeddings[clip], queries)
        contrast, cosine = contrastive_losses(items, embeddings)
        return {"loss_reid": self.weight * contrast, "loss_aux_reid": self.cosine_weight * cosine}

    @torch.no_grad()
    def match(self, output: ClipOutput, clip: int, target: ClipTarget) -> Tensor:
        """The query of every object on every frame, -1 where queries are too few, ``(N, T)``."""
        assert output.frame_class_logits is not None
        maps = padded_maps(target.masks, output) if self.pads_targets else target.masks.float()
        is_seen = target.masks.flatten(2).any(dim=2)  # (N, T)
        queries = torch.full(is_seen.shape, -1, device=maps.device)
        logits = output.mask_logits.clip(clip)
        logits = MaskLogits(at_least_float32(logits.embeddings), at_least_float32(logits.features))
        for frame in range(maps.shape[1]):
            points = torch.rand(1, self.num_points, 2, device=maps.device)
            point_targets = point_sample(maps[:, frame, None], points.expand(len(maps), -1, -1)).flatten(1)
            point_logits = logits.frames(frame, frame + 1).at_points(points.to(logits.features.dtype))[0].flatten(1)
            labels = target.labels
            if self.absent_class == "no_object":
                labels = torch.where(is_seen[:, frame], labels, self.num_classes)
            class_logits = output.frame_class_logits[clip, frame].to(point_logits.dtype)
            rows, columns = self.matcher(class_logits, point_logits, labels, point_targets)
            queries[columns, frame] = rows
        return queries

    def _items(self, embeddings: Tensor, queries: Tensor) -> list[ContrastItem]:
        if self.pairs == "consecutive":
            return consecutive_items(
                embeddings,
                queries,
                num_negatives=self.num_negatives,
                memory_probability=self.memory_probability,
            )
        return reference_items(embeddings, queries, first_anchor_only=self.pairs == "first")
