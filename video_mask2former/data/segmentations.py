"""Segmentations of annotation files: checked, packed into bytes, and decoded again.

A segmentation is null, an RLE (compressed or not) or a list of polygons, as in the COCO format. Packed, the first two
are the bytes of a compressed RLE; polygons stay polygons until somebody asks for the mask.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping, Sequence
from enum import IntEnum
from typing import Any

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from video_mask2former.rle import Rle

MIN_POLYGON_NUMBERS = 6
"""Three points: a polygon of fewer covers nothing."""

MAX_COORDINATE = 100_000
"""Of a polygon, in pixels, either way; one that leaves the frame is cut off at its border."""


class MaskKind(IntEnum):
    """How the mask of one instance on one frame is packed."""

    ABSENT = 0
    RLE = 1
    POLYGONS = 2


def segmentation_problem(segmentation: object, size: tuple[int, int]) -> str | None:
    """Say what is wrong with the form of a segmentation, or None.

    The runs of a compressed RLE are not added up here, which takes as long as reading the file; :func:`run_lengths`
    and :func:`unpack_mask` do that.

    Args:
        segmentation: One element of ``segmentations`` as parsed from JSON.
        size: Height and width of the video.
    """
    if segmentation is None:
        return None
    if isinstance(segmentation, Mapping):
        return _rle_problem(segmentation, size)
    if isinstance(segmentation, list):
        return _polygons_problem(segmentation)
    return f"a segmentation must be null, an RLE or a list of polygons, got {_shortened(segmentation)}."


def degenerate_polygons(segmentation: object) -> int:
    """Number of polygons that cannot cover anything, having fewer than three points."""
    if not isinstance(segmentation, list):
        return 0
    return sum(len(polygon) < MIN_POLYGON_NUMBERS for polygon in segmentation)


def pack_segmentation(segmentation: Any, size: tuple[int, int]) -> tuple[MaskKind, bytes]:
    """Pack a segmentation without a problem; polygons of fewer than three points are left out."""
    if segmentation is None:
        return MaskKind.ABSENT, b""
    if isinstance(segmentation, Mapping):
        counts = segmentation["counts"]
        if isinstance(counts, str):
            return MaskKind.RLE, counts.encode("ascii")
        compressed = coco_mask.frPyObjects({"size": list(size), "counts": counts}, *size)
        return MaskKind.RLE, compressed["counts"]
    polygons = [polygon for polygon in segmentation if len(polygon) >= MIN_POLYGON_NUMBERS]
    if not polygons:
        return MaskKind.ABSENT, b""
    numbers = array("d", [len(polygons), *map(len, polygons)])
    for polygon in polygons:
        numbers.extend(polygon)
    return MaskKind.POLYGONS, numbers.tobytes()


def unpack_mask(kind: MaskKind, data: bytes, size: tuple[int, int]) -> np.ndarray:
    """Decode a packed mask to ``(H, W)`` bool.

    Raises:
        ValueError: If the RLE is malformed or does not cover the frame.
    """
    if kind == MaskKind.ABSENT:
        return np.zeros(size, bool)
    counts = _rasterised(data, size) if kind == MaskKind.POLYGONS else data
    return decode_runs(run_lengths(counts), size)


def unpack_rle(kind: MaskKind, data: bytes, size: tuple[int, int]) -> Rle | None:
    """A packed mask as a compressed RLE, None where it is absent or empty.

    Raises:
        ValueError: If the RLE is malformed or does not cover the frame.
    """
    if kind == MaskKind.ABSENT:
        return None
    counts = _rasterised(data, size) if kind == MaskKind.POLYGONS else data
    runs = run_lengths(counts)
    _check_total(runs, size)
    if not runs[1::2].any():
        return None
    return Rle(size=[size[0], size[1]], counts=counts.decode("ascii"))


def run_lengths(counts: bytes) -> np.ndarray:
    """Read the runs of a compressed RLE: pixels off, on, off, ... in column order.

    Each run is stored as base-32 digits in the low bits of characters from "0" on, least significant first; bit 5
    says that another digit follows, bit 4 of the last digit is the sign. From the fourth on, the difference to the
    run two before is stored.

    Returns:
        ``(R,)`` int64.

    Raises:
        ValueError: If a character is out of range, the last number is cut off, or a run is negative.
    """
    digits = np.frombuffer(counts, np.uint8) - np.uint8(48)
    if digits.size == 0:
        raise ValueError("its counts are empty.")
    if digits.max() > 63:
        raise ValueError("its counts hold characters that no RLE has.")
    is_last = (digits & 0x20) == 0
    if not is_last[-1]:
        raise ValueError("its counts are cut off in the middle of a number.")
    ends = np.flatnonzero(is_last)
    num_digits = np.diff(ends, prepend=-1)
    if num_digits.max() > 7:
        raise ValueError("its counts hold a number that is out of range.")
    last = digits[ends].astype(np.int64)
    values = (last & 0x1F) - ((last & 0x10) << 1)
    for place in range(1, int(num_digits.max())):
        longer = num_digits > place
        values[longer] = (values[longer] << 5) | (digits[ends[longer] - place] & 0x1F)
    values[1::2] = np.cumsum(values[1::2])
    values[2::2] = np.cumsum(values[2::2])
    if values.min() < 0:
        raise ValueError("it has a negative run.")
    return values


def decode_runs(runs: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Runs in column order to a mask ``(H, W)`` bool.

    Raises:
        ValueError: If the runs do not add up to the number of pixels.
    """
    _check_total(runs, size)
    is_on = (np.arange(len(runs)) % 2).astype(np.uint8)
    columns = np.repeat(is_on, runs).reshape(size[1], size[0])
    return cv2.transpose(columns).view(bool)  # faster than numpy's strided copy


def _check_total(runs: np.ndarray, size: tuple[int, int]) -> None:
    total, num_pixels = int(runs.sum()), size[0] * size[1]
    if total != num_pixels:
        raise ValueError(f"its runs cover {total} pixels, the frame has {size[0]} x {size[1]} = {num_pixels}.")


def _rasterised(data: bytes, size: tuple[int, int]) -> bytes:
    merged = coco_mask.merge(coco_mask.frPyObjects(list(_polygons(data)), *size))
    counts: bytes = merged["counts"]
    return counts


def _polygons(data: bytes) -> Iterator[list[float]]:
    numbers = np.frombuffer(data, np.float64)
    count = int(numbers[0])
    start = 1 + count
    for length in numbers[1:start].astype(int):
        yield numbers[start : start + length].tolist()
        start += length


def _rle_problem(rle: Mapping[str, object], size: tuple[int, int]) -> str | None:
    counts, own_size = rle.get("counts"), rle.get("size")
    if not isinstance(own_size, Sequence) or tuple(own_size) != size:
        return f"an RLE must have the video's size [height, width] = {list(size)}, got {_shortened(own_size)}."
    if isinstance(counts, str):
        return None if counts.isascii() else "the counts of its RLE hold characters that no RLE has."
    if not isinstance(counts, list) or set(map(type, counts)) != {int} or min(counts) < 0:
        return f"the counts of an RLE must be a string or a list of integers >= 0, got {_shortened(counts)}."
    if sum(counts) != size[0] * size[1]:
        return f"the runs of its RLE cover {sum(counts)} pixels, the frame has {size[0] * size[1]}."
    return None


def _polygons_problem(polygons: list[object]) -> str | None:
    for polygon in polygons:
        if not isinstance(polygon, list) or not set(map(type, polygon)) <= {int, float}:
            return f"a polygon must be a flat list of numbers x0, y0, x1, y1, ..., got {_shortened(polygon)}."
        if len(polygon) % 2:
            return f"a polygon must have as many x as y, got {len(polygon)} numbers."
        if polygon and not _is_bounded(polygon):
            return f"the coordinates of a polygon must lie within +-{MAX_COORDINATE}, got {_shortened(polygon)}."
    return None


def _is_bounded(polygon: list[Any]) -> bool:
    """Whether pycocotools survives the polygon: it walks along the edges, and NaN or infinity crash it."""
    total = sum(polygon)  # min and max may step over a NaN, a sum does not
    return bool(min(polygon) >= -MAX_COORDINATE and max(polygon) <= MAX_COORDINATE and total == total)


def _shortened(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
