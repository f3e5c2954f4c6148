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
from video_mask2former.rle.packed import PackedRles
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
    "PackedRles",
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
    "measure_packed",
    "merge_rles",
    "rle_area",
    "rle_areas",
    "rle_box",
    "rle_boxes",
    "rle_intersections",
    "rle_iou",
    "run_lengths",
    "shared_pixels",
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


def measure_packed(parts: Sequence[PackedRles]) -> tuple[np.ndarray, np.ndarray]:
    """Areas and boxes of the N masks of several tracks; the runs of a track are read once, however often it is asked.

    Returns:
        Areas ``(N,)`` int64; tight boxes as (x, y, width, height), ``(N, 4)`` int64, zeros for an empty mask.

    Raises:
        ValueError: If a mask is malformed.
    """
    measured = [part.measures(_areas_and_boxes) for part in parts]
    areas = np.concatenate([areas for areas, _ in measured] or [np.zeros(0)]).astype(np.int64)
    return areas, np.concatenate([boxes for _, boxes in measured] or [np.zeros((0, 4))]).astype(np.int64)


def _areas_and_boxes(part: PackedRles) -> tuple[np.ndarray, np.ndarray]:
    compiled = kernels()
    if compiled is None:
        rles = list(part.values())
        return reference.rle_areas(rles), reference.rle_boxes(rles)
    areas, boxes, _ = compiled.measure_text(part.text, len(part), part.size, None, boxes=True)
    assert boxes is not None
    return areas, boxes


def shared_pixels(parts: Sequence[PackedRles], pairs: np.ndarray) -> np.ndarray:
    """Pixels that the two masks of each pair share, ``(P,)`` int64.

    Args:
        parts: The masks of each track; a mask's index counts through all of them.
        pairs: Indices of the masks of each pair, ``(P, 2)``.

    Raises:
        ValueError: If a mask is malformed, or they are not of one size.
    """
    # only the tracks that are in a pair are read
    starts = np.cumsum([0, *map(len, parts)])
    is_read = np.zeros(len(parts), bool)
    is_read[np.searchsorted(starts, pairs.ravel(), side="right") - 1] = True
    read = [part for part, is_wanted in zip(parts, is_read.tolist(), strict=True) if is_wanted]
    reference.check_one_size([Rle(size=[*part.size], counts="") for part in read], ())
    lengths = np.diff(starts)
    pairs = pairs - np.repeat(np.cumsum(np.where(is_read, 0, lengths)), lengths)[pairs]
    compiled = kernels()
    if compiled is None:
        return reference.shared_pixels([rle for part in read for rle in part.values()], pairs)
    size = read[0].size if read else (0, 0)
    text = b"".join(part.text for part in read)
    shared = compiled.measure_text(text, sum(map(len, read)), size, pairs, boxes=False)[2]
    assert shared is not None
    return shared
