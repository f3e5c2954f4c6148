"""Segmentations of annotation files: checked, packed into bytes, and decoded again.

A segmentation is null, an RLE (compressed or not) or a list of polygons, as in the COCO format. Packed, the first two
are the bytes of a compressed RLE; polygons stay polygons until the mask is needed.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping, Sequence
from enum import IntEnum
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from video_mask2former.messages import shortened
from video_mask2former.rle import Rle, check_counts, compress_counts, decode_rle, rle_area

MIN_POLYGON_NUMBERS = 6
"""Three points: a polygon of fewer covers nothing."""

MAX_COORDINATE = 100_000
"""Of a polygon, in pixels, either way; one that leaves the frame is cut off at its border."""


MAX_PERIMETER = 4_000_000
"""Of a polygon, in pixels: pycocotools keeps a hundred bytes for each."""


class MaskKind(IntEnum):
    """How the mask of one instance on one frame is packed."""

    ABSENT = 0
    RLE = 1
    POLYGONS = 2


def segmentation_problem(segmentation: object, size: tuple[int, int]) -> str | None:
    """Say what is wrong with the form of a segmentation, or None.

    The runs of a compressed RLE are not added up here, which takes as long as reading the file; :func:`unpack_mask`
    and :func:`unpack_rle` do that.

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
    return f"a segmentation must be null, an RLE or a list of polygons, got {shortened(segmentation)}."


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
        return MaskKind.RLE, compress_counts(counts, size).encode("ascii")
    polygons = [polygon for polygon in segmentation if len(polygon) >= MIN_POLYGON_NUMBERS]
    if not polygons:
        return MaskKind.ABSENT, b""
    numbers = array("d", [len(polygons), *map(len, polygons)])
    for polygon in polygons:
        numbers.extend(polygon)
    return MaskKind.POLYGONS, numbers.tobytes()


def packed_counts(kind: MaskKind, data: bytes, size: tuple[int, int]) -> str:
    """The counts of a packed mask that is there, as compressed RLE; what a file has may be malformed."""
    counts = _rasterised(data, size) if kind == MaskKind.POLYGONS else data
    return counts.decode("ascii")


def unpack_mask(kind: MaskKind, data: bytes, size: tuple[int, int]) -> np.ndarray:
    """Decode a packed mask to ``(H, W)`` bool.

    Raises:
        ValueError: If the RLE is malformed or does not cover the frame.
    """
    if kind == MaskKind.ABSENT:
        return np.zeros(size, bool)
    return decode_rle(Rle(size=[*size], counts=packed_counts(kind, data, size)))


def unpack_rle(kind: MaskKind, data: bytes, size: tuple[int, int]) -> Rle | None:
    """A packed mask as a compressed RLE, None where it is absent or empty.

    Raises:
        ValueError: If the RLE is malformed or does not cover the frame.
    """
    if kind == MaskKind.ABSENT:
        return None
    rle = Rle(size=[*size], counts=packed_counts(kind, data, size))
    return rle if rle_area(rle) else None


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
        return f"an RLE must have the video's size [height, width] = {list(size)}, got {shortened(own_size)}."
    if isinstance(counts, str):
        return None if counts.isascii() else "the counts of its RLE hold characters that no RLE has."
    try:
        check_counts(counts, size)
    except ValueError as error:
        return f"the RLE cannot be read, {error}"
    return None


def _polygons_problem(polygons: list[object]) -> str | None:
    for polygon in polygons:
        if not isinstance(polygon, list) or not set(map(type, polygon)) <= {int, float}:
            return f"a polygon must be a flat list of numbers x0, y0, x1, y1, ..., got {shortened(polygon)}."
        if len(polygon) % 2:
            return f"a polygon must have as many x as y, got {len(polygon)} numbers."
        if polygon and not _is_bounded(polygon):
            return f"the coordinates of a polygon must lie within +-{MAX_COORDINATE}, got {shortened(polygon)}."
        if polygon and _is_endless(polygon):
            return f"a polygon must be at most {MAX_PERIMETER} pixels around, got one of {len(polygon) // 2} points."
    return None


def _is_endless(polygon: list[Any]) -> bool:
    """Whether it goes to and fro so often that pycocotools would fill the memory with its outline."""
    if (max(polygon) - min(polygon)) * len(polygon) <= MAX_PERIMETER:  # quick, and more than the perimeter
        return False
    points = np.asarray(polygon, np.float64).reshape(-1, 2)
    return bool(np.abs(points - np.roll(points, 1, axis=0)).max(axis=1).sum() > MAX_PERIMETER)


def _is_bounded(polygon: list[Any]) -> bool:
    """Whether pycocotools survives the polygon: it walks along the edges, and NaN or infinity crash it."""
    total = sum(polygon)  # min and max may step over a NaN, a sum does not
    return bool(min(polygon) >= -MAX_COORDINATE and max(polygon) <= MAX_COORDINATE and total == total)
