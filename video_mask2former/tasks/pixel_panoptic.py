"""Panoptic segmentation by the two rules of MaX-DeepLab (arXiv:2012.00759): pixel by pixel, and mask by mask."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from video_mask2former.structures import ClipOutput
from video_mask2former.tasks.panoptic import PanopticTask
from video_mask2former.tasks.postprocess import PanopticSegment, PanopticSegmentation

# Takes the place of logits of queries that are left out
_NEVER = -99999.0


class PixelPanopticTask(PanopticTask):
    """Every pixel of an image to the query that has most of it, where both query and pixel are sure enough.

    Args:
        class_threshold: Queries below this class score take no part.
        pixel_threshold: Pixels that no query has more than this share of belong to nothing.
        min_thing_area: Things of fewer pixels, of the frame as the model saw it, are left out.
        min_stuff_area: Stuff classes of fewer pixels are left out.
    """

    name = "pixel_panoptic"

    def __init__(
        self,
        class_threshold: float = 0.7,
        pixel_threshold: float = 0.4,
        min_thing_area: int = 100,
        min_stuff_area: int = 1600,
    ) -> None:
        super().__init__()
        self.class_threshold = class_threshold
        self.pixel_threshold = pixel_threshold
        self.min_thing_area = min_thing_area
        self.min_stuff_area = min_stuff_area

    def segment(self, output: ClipOutput, size: tuple[int, int], things: Collection[int]) -> PanopticSegmentation:
        """See :func:`pixel_panoptic`."""
        return pixel_panoptic(
            output,
            size,
            things,
            class_threshold=self.class_threshold,
            pixel_threshold=self.pixel_threshold,
            min_thing_area=self.min_thing_area,
            min_stuff_area=self.min_stuff_area,
        )


class PastedPanopticTask(PanopticTask):
    """The other rule of MaX-DeepLab: masks are pasted one by one, the most certain first.

    Args:
        thing_threshold: Least class probability of a thing.
        stuff_threshold: Least class probability of stuff.
        pixel_threshold: A mask is where its query has more than this share of a pixel.
        mask_overlap_threshold: A mask is left out unless more than this share of it is free.
        class_exponent: Of the class probability, in the order of the masks.
        mask_exponent: Of the mean share inside of a mask, in their order.
        min_thing_area: Things of fewer pixels, of the frame as the model saw it, are left out.
        min_stuff_area: Stuff classes of fewer pixels are left out.
    """

    name = "pasted_panoptic"

    def __init__(
        self,
        thing_threshold: float = 0.7,
        stuff_threshold: float = 0.5,
        pixel_threshold: float = 0.4,
        mask_overlap_threshold: float = 0.5,
        class_exponent: float = 1.0,
        mask_exponent: float = 1.0,
        min_thing_area: int = 100,
        min_stuff_area: int = 1600,
    ) -> None:
        super().__init__()
        self.class_threshold = min(thing_threshold, stuff_threshold)
        self._rule = partial(
            pasted_panoptic,
            thing_threshold=thing_threshold,
            stuff_threshold=stuff_threshold,
            pixel_threshold=pixel_threshold,
            overlap_threshold=mask_overlap_threshold,
            class_exponent=class_exponent,
            mask_exponent=mask_exponent,
            min_thing_area=min_thing_area,
            min_stuff_area=min_stuff_area,
        )

    def segment(self, output: ClipOutput, size: tuple[int, int], things: Collection[int]) -> PanopticSegmentation:
        """See :func:`pasted_panoptic`."""
        return self._rule(output, size, things)


@torch.no_grad()
def pixel_panoptic(
    output: ClipOutput,
    output_size: tuple[int, int],
    thing_classes: Collection[int],
    *,
    class_threshold: float = 0.7,
    pixel_threshold: float = 0.4,
    min_thing_area: int = 100,
    min_stuff_area: int = 1600,
) -> PanopticSegmentation:
    """Every pixel to the query with the greatest mask logit, where query and pixel are sure enough.

    Args:
        output: A batch of one clip of one frame.
        output_size: Height and width of the original image.
        thing_classes: Indices of the classes with countable objects; the others are stuff.
        class_threshold: Least class probability of a query.
        pixel_threshold: A pixel counts where its query has more than this share of it.
        min_thing_area: Least pixels of a thing, on the frame as the model saw it.
        min_stuff_area: Least pixels of a stuff class.
    """
    scores, labels = output.class_probabilities()[0, :, :-1].max(dim=1)
    is_kept = scores >= class_threshold
    if not is_kept.any():
        return PanopticSegmentation(torch.zeros(output_size, dtype=torch.int32), ())
    logits = _frame_logits(output)
    best = logits.amax(dim=0)
    logits = logits.masked_fill(~is_kept[:, None, None], _NEVER)
    highest, owner = logits.max(dim=0)
    share = 1 / (logits - highest).exp().sum(dim=0)
    is_sure = (share > pixel_threshold) & (highest == best)
    owner = torch.where(is_sure, owner, -1)
    return _segments(owner, scores, labels, is_kept, thing_classes, (min_thing_area, min_stuff_area), output_size)


@torch.no_grad()
def pasted_panoptic(
    output: ClipOutput,
    output_size: tuple[int, int],
    thing_classes: Collection[int],
    *,
    thing_threshold: float = 0.7,
    stuff_threshold: float = 0.5,
    pixel_threshold: float = 0.4,
    overlap_threshold: float = 0.5,
    class_exponent: float = 1.0,
    mask_exponent: float = 1.0,
    min_thing_area: int = 100,
    min_stuff_area: int = 1600,
) -> PanopticSegmentation:
    """Masks of the queries one by one, the best first, each where no better one is; see :class:`PastedPanopticTask`.

    Differs from the published code where no query has the confidence that its other rule asks for: it then answers
    nothing at all.

    Args:
        output: A batch of one clip of one frame.
        output_size: Height and width of the original image.
        thing_classes: Indices of the classes with countable objects; the others are stuff.
        thing_threshold: Least class probability of a thing.
        stuff_threshold: Of stuff.
        pixel_threshold: A mask is where its query has more than this share of a pixel.
        overlap_threshold: A mask is left out unless more than this share of it is free.
        class_exponent: Of the class probability in the order.
        mask_exponent: Of the mean share inside of the mask.
        min_thing_area: Least pixels of a thing, on the frame as the model saw it.
        min_stuff_area: Least pixels of a stuff class.
    """
    scores, labels = output.class_probabilities()[0, :, :-1].max(dim=1)
    things = _are_things(output.num_classes, thing_classes, labels)[labels]
    is_kept = scores >= torch.where(things, thing_threshold, stuff_threshold)
    shares = output.mask_logits.dense()[0, :, 0].softmax(dim=0).flatten(1)
    inside = shares > pixel_threshold
    quality = (shares * inside).sum(dim=1) / inside.sum(dim=1).clamp(min=1)
    order = (scores**class_exponent * quality**mask_exponent).argsort(descending=True, stable=True)
    masks = _frame_logits(output).softmax(dim=0) > pixel_threshold
    owner = torch.full(masks.shape[1:], -1, dtype=torch.int64, device=masks.device)
    for query in order[is_kept[order]].tolist():
        free = masks[query] & (owner < 0)
        if int(free.sum()) > overlap_threshold * int(masks[query].sum()):
            owner[free] = query
    return _segments(owner, scores, labels, is_kept, thing_classes, (min_thing_area, min_stuff_area), output_size)


def _frame_logits(output: ClipOutput) -> Tensor:
    """Mask logits of each query at the size of the frame, ``(Q, H, W)``."""
    height, width = output.frame_size
    logits = output.mask_logits.dense()[:, :, 0]
    return F.interpolate(logits, size=output.padded_size, mode="bilinear", align_corners=True)[0, :, :height, :width]


def _are_things(num_classes: int, thing_classes: Collection[int], like: Tensor) -> Tensor:
    return torch.tensor([label in thing_classes for label in range(num_classes)], device=like.device)


def _segments(
    owner: Tensor,
    scores: Tensor,
    labels: Tensor,
    is_kept: Tensor,
    thing_classes: Collection[int],
    least_areas: tuple[int, int],
    output_size: tuple[int, int],
) -> PanopticSegmentation:
    """From the query of each pixel, -1 for none, to segments: a thing for each query, one of each class of stuff."""
    things = _are_things(int(labels.max()) + 1, thing_classes, labels)
    keys = torch.where(things[labels], torch.arange(len(labels), device=labels.device), len(labels) + labels)
    key_map = torch.where(owner >= 0, keys[owner.clamp(min=0)], -1)
    segments: list[PanopticSegment] = []
    label_map = torch.zeros_like(key_map, dtype=torch.int32)
    for key in key_map[key_map >= 0].unique().tolist():
        members = (keys == key) & is_kept
        label = int(labels[members][0])
        mask = key_map == key
        area = int(mask.sum())
        if area >= least_areas[0 if things[label] else 1]:
            segment_id = len(segments) + 1
            label_map[mask] = segment_id
            score = float(scores[members].max())
            segments.append(PanopticSegment(segment_id, label, bool(things[label]), score, area))
    return _at_size(label_map, tuple(segments), output_size)


def _at_size(label_map: Tensor, segments: tuple[PanopticSegment, ...], size: tuple[int, int]) -> PanopticSegmentation:
    """The nearest label of each pixel of the original image; segments that lose all their pixels are gone."""
    if tuple(label_map.shape) != tuple(size):
        label_map = F.interpolate(label_map[None, None].float(), size=size, mode="nearest")[0, 0].int()
    areas = label_map.flatten().long().bincount(minlength=len(segments) + 1).tolist()
    kept = tuple(
        PanopticSegment(part.segment_id, part.label, part.is_thing, part.score, areas[part.segment_id])
        for part in segments
        if areas[part.segment_id]
    )
    return PanopticSegmentation(label_map.cpu(), kept)
