"""Run-length encoding of masks, in the compressed COCO form with string counts (pycocotools does the work)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

import numpy as np
from pycocotools import mask as coco_mask


class Rle(TypedDict):
    """A compressed COCO RLE: ``size`` is [height, width], ``counts`` a string."""

    size: list[int]
    counts: str


def encode_masks(masks: np.ndarray) -> list[Rle]:
    """Encode masks ``(N, H, W)`` (bool or 0/1)."""
    if masks.ndim != 3:
        raise ValueError(f"masks must be (N, H, W), got {masks.shape}. Use masks[None] for a single one.")
    if masks.shape[0] == 0:
        return []
    # pycocotools wants Fortran order, (H, W, N)
    columns = np.asfortranarray(masks.astype(np.uint8, copy=False).transpose(1, 2, 0))
    return [
        Rle(size=[int(side) for side in rle["size"]], counts=rle["counts"].decode("ascii"))
        for rle in coco_mask.encode(columns)
    ]


def decode_rle(rle: Rle) -> np.ndarray:
    """Decode to ``(H, W)`` bool."""
    return coco_mask.decode(rle).astype(bool)


def rle_area(rle: Rle) -> int:
    """Number of pixels in the mask."""
    return int(coco_mask.area(rle))


def rle_box(rle: Rle) -> tuple[float, float, float, float]:
    """Tight box as (x, y, width, height); zeros for an empty mask."""
    x, y, width, height = (float(value) for value in coco_mask.toBbox(rle))
    return x, y, width, height


def rle_iou(first: Sequence[Rle], second: Sequence[Rle]) -> np.ndarray:
    """Mask IoU of every pair, ``(len(first), len(second))`` float64; 0 where both are empty."""
    if not first or not second:
        return np.zeros((len(first), len(second)))
    return np.asarray(coco_mask.iou(list(first), list(second), [False] * len(second)))
