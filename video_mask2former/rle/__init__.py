"""Run-length encoding of masks, in the compressed COCO form with string counts.

The compiled kernels do the work where there are any, numpy and pycocotools where there are none, with the same results.
Whatever reads runs checks them: a mask that does not cover its size exactly is a ValueError.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np

from video_mask2former import kernel_library
from video_mask2former.rle import reference
from video_mask2former.rle.kernels import RleKernels
from video_mask2former.rle.reference import (
    MAX_PIXELS,
    Rle,
    check_counts,
    check_runs,
    check_size,
    compress_counts,
    decode_runs,
    merge_rles,
    run_lengths,
)

__all__ = [
    "MAX_PIXELS",
    "Rle",
    "check_counts",
    "check_rles",
    "check_runs",
    "check_size",
    "compress_counts",
    "decode_box",
    "decode_rle",
    "decode_runs",
    "encode_masks",
    "merge_rles",
    "rle_area",
    "rle_areas",
    "rle_box",
    "rle_boxes",
    "rle_intersections",
    "rle_iou",
    "run_lengths",
]


@functools.cache
def kernels() -> RleKernels | None:
    """The compiled kernels, None where there are none."""
    library, _ = kernel_library.loaded()
    return None if library is None else RleKernels(library)


def encode_masks(masks: np.ndarray) -> list[Rle]:
    """Encode masks ``(N, H, W)`` (bool or 0/1)."""
    compiled = kernels()
    if compiled is None or masks.ndim != 3 or masks.dtype not in (np.bool_, np.uint8) or not masks.flags.c_contiguous:
        return reference.encode_masks(masks)
    return [compiled.encode(mask) for mask in masks]


def decode_rle(rle: Rle) -> np.ndarray:
    """Decode to ``(H, W)`` bool.

    Raises:
        ValueError: If it is malformed or does not cover its size.
    """
    compiled = kernels()
    if compiled is None:
        return reference.decode_rle(rle)
    return compiled.decode(rle, (0, 0, *reference.frame_size(rle)[::-1]))


def decode_box(rle: Rle, box_xywh: tuple[int, int, int, int]) -> np.ndarray:
    """Decode the part of a mask inside a box of the frame, without touching the rest of the frame, to ``(h, w)`` bool.

    Several times faster than :func:`decode_rle` and a crop where the box is small: it costs the columns of the box.

    Raises:
        ValueError: If the mask is malformed, or the box leaves its frame.
    """
    reference.check_box(rle, box_xywh)
    compiled = kernels()
    return reference.decode_box(rle, box_xywh) if compiled is None else compiled.decode(rle, box_xywh)


def check_rles(rles: Sequence[Rle]) -> None:
    """Reject masks that are malformed or do not cover their sizes.

    Raises:
        ValueError: Which is the first of them, and what is wrong with it.
    """
    compiled = kernels()
    if compiled is None:
        reference.check_rles(rles)
    else:
        compiled.areas(rles)


def rle_area(rle: Rle) -> int:
    """Number of pixels in the mask."""
    return int(rle_areas([rle])[0])


def rle_box(rle: Rle) -> tuple[float, float, float, float]:
    """Tight box as (x, y, width, height); zeros for an empty mask."""
    x, y, width, height = rle_boxes([rle])[0].tolist()
    return float(x), float(y), float(width), float(height)


def rle_areas(rles: Sequence[Rle]) -> np.ndarray:
    """Pixels of each mask, ``(N,)`` int64.

    Raises:
        ValueError: If one is malformed.
    """
    compiled = kernels()
    return reference.rle_areas(rles) if compiled is None else compiled.areas(rles)


def rle_boxes(rles: Sequence[Rle]) -> np.ndarray:
    """Tight box of each mask as (x, y, width, height), zeros for an empty one, ``(N, 4)`` int64.

    Raises:
        ValueError: If one is malformed.
    """
    compiled = kernels()
    return reference.rle_boxes(rles) if compiled is None else compiled.boxes(rles)


def rle_intersections(first: Sequence[Rle], second: Sequence[Rle]) -> np.ndarray:
    """Pixels that every pair of masks shares, ``(len(first), len(second))`` int64.

    Raises:
        ValueError: If one is malformed, or they are not of one size.
    """
    compiled = kernels()
    return reference.rle_intersections(first, second) if compiled is None else compiled.intersections(first, second)[0]


def rle_iou(first: Sequence[Rle], second: Sequence[Rle]) -> np.ndarray:
    """Mask IoU of every pair, ``(len(first), len(second))`` float64; 0 where both are empty.

    Raises:
        ValueError: If one is malformed, or they are not of one size.
    """
    compiled = kernels()
    if compiled is None:
        return reference.rle_iou(first, second)
    shared, areas = compiled.intersections(first, second)
    return shared / np.maximum(areas[: len(first), None] + areas[None, len(first) :] - shared, 1)
