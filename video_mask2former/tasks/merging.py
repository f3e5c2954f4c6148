"""From overlapping masks to one owner of each pixel of a video: panoptic segments, and classes.

The rules are those of DVIS++ (arXiv:2312.13305) and VidEoMT, which are those of Mask2Former for images with two
differences: masks become probabilities before the last resize, and what a segment keeps is counted over all frames.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from video_mask2former.mask_logits import MaskLogits
from video_mask2former.rle import Rle, encode_masks, merge_rles
from video_mask2former.tasks.mask_encoding import MaskGeometry, upsample_probabilities

# Full-resolution masks of one frame that exist at once
QUERIES_PER_CHUNK = 16


@dataclass
class MergedSegment:
    """One thing, or all there is of a stuff class.

    Attributes:
        row: The query (or track) that it is; of stuff, the first one.
        label: Class index.
        score: Class probability; of stuff, that of its most confident part.
        masks: Position of the frame among those that were merged to the mask on it.
    """

    row: int
    label: int
    score: float
    masks: dict[int, Rle] = field(default_factory=dict)


@torch.no_grad()
def merge_segments(
    probabilities: Tensor,
    mask_logits: MaskLogits,
    geometry: MaskGeometry,
    is_thing: Sequence[bool],
    *,
    object_mask_threshold: float,
    overlap_threshold: float,
    fill: bool = False,
) -> list[MergedSegment]:
    """Every pixel to one segment at most.

    A pixel goes to the query with the greatest product of class and mask probability. A query that keeps too little of
    its own masks, all frames together, is dropped; those of one stuff class become one segment.

    Args:
        probabilities: ``(Q, K + 1)``, "no object" last.
        mask_logits: Of one clip, Q queries.
        geometry: How they lie on the original frames.
        is_thing: Whether each class has countable objects.
        object_mask_threshold: Queries must have more class probability than this to take part.
        overlap_threshold: Least share of its own mask that a query must keep.
        fill: Give a segment every pixel that its query won, not only those inside of its own mask.
    """
    scores, labels = probabilities.max(dim=1)
    rows = ((labels < len(is_thing)) & (scores > object_mask_threshold)).nonzero()[:, 0]
    scores, labels = scores[rows], labels[rows]
    owned, own, kept = (np.zeros(len(rows), np.int64) for _ in range(3))
    masks: list[dict[int, Rle]] = [{} for _ in range(len(rows))]
    for position in range(mask_logits.shape[2] if len(rows) else 0):
        frame = mask_logits.frames(position, position + 1).select(rows.to(mask_logits.embeddings.device))
        owner, is_inside, own_areas = _owners(frame, geometry, scores)
        own += own_areas
        owned += np.bincount(owner.ravel(), minlength=len(rows))
        if not fill:
            owner[~is_inside] = len(rows)
        areas = np.bincount(owner.ravel(), minlength=len(rows) + 1)[:-1]
        kept += areas
        present = np.flatnonzero(areas)
        for index, rle in zip(present.tolist(), encode_masks(owner == present[:, None, None]), strict=True):
            masks[index][position] = rle
    segments: list[MergedSegment] = []
    stuff: dict[int, MergedSegment] = {}
    for index, (row, label, score) in enumerate(zip(rows.tolist(), labels.tolist(), scores.tolist(), strict=True)):
        if kept[index] == 0 or own[index] == 0 or owned[index] < overlap_threshold * own[index]:
            continue
        if label in stuff:
            first = stuff[label]
            first.score = max(first.score, score)
            for position, rle in masks[index].items():
                first.masks[position] = merge_rles([first.masks[position], rle]) if position in first.masks else rle
            continue
        segments.append(MergedSegment(row, label, score, masks[index]))
        if not is_thing[label]:
            stuff[label] = segments[-1]
    return segments


@torch.no_grad()
def merge_classes(probabilities: Tensor, mask_logits: MaskLogits, geometry: MaskGeometry) -> Iterator[np.ndarray]:
    """The class of each pixel: that of the greatest sum over queries of class times mask probability.

    Args:
        probabilities: ``(Q, K)``, without "no object".
        mask_logits: Of one clip, Q queries.
        geometry: How they lie on the original frames.

    Yields:
        For each frame, ``(H, W)`` int64.
    """
    device = mask_logits.embeddings.device
    probabilities = probabilities.to(device)
    rows = torch.arange(len(probabilities), device=device)
    for position in range(mask_logits.shape[2]):
        frame = mask_logits.frames(position, position + 1)
        scores = probabilities.new_zeros(probabilities.shape[1], *geometry.output_size)
        for part in rows.split(QUERIES_PER_CHUNK):
            masks = upsample_probabilities(frame.select(part).dense()[0, :, 0], geometry)
            scores += torch.einsum("qk,qhw->khw", probabilities[part], masks.to(scores.dtype))
        yield scores.argmax(0).cpu().numpy()


def _owners(frame: MaskLogits, geometry: MaskGeometry, scores: Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of one frame: the row that owns each pixel, whether that row's own mask has it, and areas of own masks."""
    device = frame.features.device
    scores = scores.to(device)
    best = torch.full(geometry.output_size, -1.0, device=device, dtype=scores.dtype)
    owner = torch.zeros(geometry.output_size, dtype=torch.int64, device=device)
    is_inside = torch.zeros(geometry.output_size, dtype=torch.bool, device=device)
    areas = []
    for part in torch.arange(len(scores), device=device).split(QUERIES_PER_CHUNK):
        masks = upsample_probabilities(frame.select(part).dense()[0, :, 0], geometry).to(scores.dtype)
        areas.append((masks >= 0.5).flatten(1).sum(1))
        value, first = (scores[part, None, None] * masks).max(dim=0)
        is_better = value > best  # of equal ones the first has the pixel
        best = torch.where(is_better, value, best)
        owner = torch.where(is_better, part[first], owner)
        is_inside = torch.where(is_better, masks.gather(0, first[None])[0] >= 0.5, is_inside)
    return owner.cpu().numpy(), is_inside.cpu().numpy(), torch.cat(areas).cpu().numpy()
