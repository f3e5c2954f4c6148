"""Panoptic segmentation pixel by pixel, by the rule of MaX-DeepLab (arXiv:2012.00759)."""

from __future__ import annotations

from collections.abc import Collection

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
    probabilities = output.class_probabilities()[0]
    scores, labels = probabilities[:, :-1].max(dim=1)
    is_kept = scores >= class_threshold
    height, width = output.frame_size
    if not is_kept.any():
        return PanopticSegmentation(torch.zeros(output_size, dtype=torch.int32), ())
    logits = output.mask_logits.dense()[:, :, 0]
    logits = F.interpolate(logits, size=output.padded_size, mode="bilinear", align_corners=True)
    logits = logits[0, :, :height, :width]
    best = logits.amax(dim=0)
    logits = logits.masked_fill(~is_kept[:, None, None], _NEVER)
    highest, owner = logits.max(dim=0)
    share = 1 / (logits - highest).exp().sum(dim=0)
    is_sure = (share > pixel_threshold) & (highest == best)
    things = torch.tensor([label in thing_classes for label in range(output.num_classes)], device=labels.device)
    # Things are distinguished by query, stuff by class.
    keys = torch.where(things[labels], torch.arange(len(labels), device=labels.device), len(labels) + labels)
    key_map = torch.where(is_sure, keys[owner], -1)
    segments: list[PanopticSegment] = []
    label_map = torch.zeros_like(key_map, dtype=torch.int32)
    for key in key_map[is_sure].unique().tolist():
        members = (keys == key) & is_kept
        label = int(labels[members][0])
        mask = key_map == key
        area = int(mask.sum())
        if area >= (min_thing_area if things[label] else min_stuff_area):
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
