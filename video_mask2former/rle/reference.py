"""Run-length encoded masks with numpy and pycocotools: the definition, and what serves where nothing is compiled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from video_mask2former.messages import shortened

MAX_PIXELS = 2**27
"""Most pixels of a mask or an image; more (11,585 x 11,585) is a mistake, or a file made to exhaust the memory."""

_MAX_DIGITS = 7  # of one number: 35 bits, more than any run has


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


def merge_rles(rles: Sequence[Rle]) -> Rle:
    """The union of masks of one size."""
    merged = coco_mask.merge(list(rles))
    return Rle(size=[int(side) for side in merged["size"]], counts=merged["counts"].decode("ascii"))


def decode_rle(rle: Rle) -> np.ndarray:
    """Decode to ``(H, W)`` bool.

    Raises:
        ValueError: If it is malformed or does not cover its size.
    """
    return decode_runs(run_lengths(rle["counts"]), frame_size(rle))


def decode_runs(runs: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Runs in column order to a mask ``(H, W)`` bool.

    Raises:
        ValueError: If the runs do not add up to the number of pixels.
    """
    check_runs(runs, size)
    is_on = (np.arange(len(runs)) % 2).astype(np.uint8)
    columns = np.repeat(is_on, runs).reshape(size[1], size[0])
    if columns.size == 0:
        return np.zeros(size, bool)
    return cv2.transpose(columns).view(bool)  # faster than numpy's strided copy


def decode_box(rle: Rle, box_xywh: tuple[int, int, int, int]) -> np.ndarray:
    """Decode the part of a mask inside a box of the frame to ``(h, w)`` bool.

    Raises:
        ValueError: If the mask is malformed, or the box leaves its frame.
    """
    check_box(rle, box_xywh)
    x, y, width, height = box_xywh
    rows = rle["size"][0]
    runs = run_lengths(rle["counts"])
    check_runs(runs, frame_size(rle))
    ends = runs.cumsum().clip(x * rows, (x + width) * rows)
    lengths = np.diff(ends, prepend=x * rows)
    is_inside = np.arange(lengths.size) % 2 == 1  # runs alternate, beginning with the background
    return np.ascontiguousarray(np.repeat(is_inside, lengths).reshape(width, rows)[:, y : y + height].T)


def check_box(rle: Rle, box_xywh: tuple[int, int, int, int]) -> None:
    """Reject boxes that leave the frame of a mask.

    Raises:
        ValueError: If it does.
    """
    x, y, width, height = box_xywh
    rows, columns = rle["size"]
    if min(x, y, width, height) < 0 or x + width > columns or y + height > rows:
        raise ValueError(f"box_xywh must lie in the frame of {rows} x {columns} (height x width), got {box_xywh}.")


def run_lengths(counts: str | bytes) -> np.ndarray:
    """Read the runs of a compressed RLE: pixels off, on, off, ... in column order.

    Each run is stored as base-32 digits in the low bits of characters from "0" on, least significant first; bit 5
    says that another digit follows, bit 4 of the last digit is the sign. From the fourth on, the difference to the
    run two before is stored.

    Returns:
        ``(R,)`` int64.

    Raises:
        ValueError: If a character is out of range, the last number is cut off, or a run is negative.
    """
    if isinstance(counts, str):
        # what is not ASCII becomes a character beyond those that are allowed
        counts = counts.encode("ascii", errors="xmlcharrefreplace")
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
    if num_digits.max() > _MAX_DIGITS:
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


def compress_counts(counts: list[int], size: tuple[int, int]) -> str:
    """Compress runs that are written as a list.

    Raises:
        ValueError: If they are not integers from 0, or do not add up to the number of pixels.
    """
    check_counts(counts, size)
    compressed = coco_mask.frPyObjects({"size": list(size), "counts": counts}, *size)
    text: str = compressed["counts"].decode("ascii")
    return text


def check_counts(counts: object, size: tuple[int, int]) -> None:
    """Reject runs written as a list that are not integers from 0, or do not cover a frame exactly.

    Raises:
        ValueError: If that is so.
    """
    if not isinstance(counts, list) or set(map(type, counts)) != {int} or min(counts) < 0:
        raise ValueError(f"its counts must be a string or a list of integers >= 0, got {shortened(counts)}.")
    total, num_pixels = sum(counts), size[0] * size[1]
    if total != num_pixels:
        raise ValueError(
            f"its runs cover {shortened(total)} pixels, the frame has {size[0]} x {size[1]} = {num_pixels}."
        )


def check_runs(runs: np.ndarray, size: tuple[int, int]) -> None:
    """Reject runs that do not cover a frame exactly: such would crash what decodes them.

    Raises:
        ValueError: If they do not add up to the number of pixels, or the frame is too large.
    """
    check_size(size)
    num_pixels = size[0] * size[1]
    # a run beyond the frame is refused by itself: the sum of several of them may exceed 64 bits, and wrap around
    if runs.max(initial=0) > num_pixels or int(runs.sum()) != num_pixels:
        total = sum(runs.tolist())
        raise ValueError(f"its runs cover {total} pixels, the frame has {size[0]} x {size[1]} = {num_pixels}.")


def check_size(size: tuple[int, int]) -> None:
    """Reject frames, height x width, of more pixels than are ever taken into memory.

    Raises:
        ValueError: If there are more than ``MAX_PIXELS``.
    """
    if size[0] * size[1] > MAX_PIXELS:
        raise ValueError(f"a frame may have up to {MAX_PIXELS} pixels, got {size[0]} x {size[1]} (height x width).")


def check_rles(rles: Sequence[Rle]) -> None:
    """Reject masks that are malformed or do not cover their sizes.

    Raises:
        ValueError: Which is the first of them, and what is wrong with it.
    """
    for index, rle in enumerate(rles):
        try:
            check_runs(run_lengths(rle["counts"]), frame_size(rle))
        except ValueError as error:
            if len(rles) == 1:
                raise
            raise ValueError(f"mask {index}: the RLE cannot be read, {error}") from error


def frame_size(rle: Rle) -> tuple[int, int]:
    """Height and width of a mask's frame.

    Raises:
        ValueError: If they are not two integers from 0.
    """
    size = rle["size"]
    if len(size) != 2 or not all(isinstance(side, (int, np.integer)) and side >= 0 for side in size):
        raise ValueError(f"its size must be [height, width], got {shortened(size)}.")
    return int(size[0]), int(size[1])


def rle_areas(rles: Sequence[Rle]) -> np.ndarray:
    """Pixels of each mask, ``(N,)`` int64.

    Raises:
        ValueError: If one is malformed.
    """
    check_rles(rles)
    return np.array([run_lengths(rle["counts"])[1::2].sum() for rle in rles], np.int64)


def rle_boxes(rles: Sequence[Rle]) -> np.ndarray:
    """Tight box of each mask as (x, y, width, height), zeros for an empty one, ``(N, 4)`` int64.

    Raises:
        ValueError: If one is malformed.
    """
    check_rles(rles)
    boxes = [_box(run_lengths(rle["counts"]), rle["size"][0]) for rle in rles]
    return np.array(boxes, np.int64).reshape(-1, 4)


def _box(runs: np.ndarray, height: int) -> tuple[int, int, int, int]:
    ends = runs.cumsum()[1::2]
    lengths = runs[1::2]
    last = ends[lengths > 0] - 1
    if last.size == 0:
        return 0, 0, 0, 0
    first = last - lengths[lengths > 0] + 1
    left, right = int(first[0] // height), int(last[-1] // height)
    if (first // height != last // height).any():  # goes on in the next column
        return left, 0, right - left + 1, height
    top, bottom = int((first % height).min()), int((last % height).max())
    return left, top, right - left + 1, bottom - top + 1


def rle_intersections(first: Sequence[Rle], second: Sequence[Rle]) -> np.ndarray:
    """Pixels that every pair of masks shares, ``(len(first), len(second))`` int64.

    pycocotools gives the ratio i / (a + b - i) of whole numbers; the whole number i is recovered from it exactly, since
    rounding errors are about 1e-16 of i.

    Raises:
        ValueError: If one is malformed, or they are not of one size.
    """
    check_one_size(first, second)
    areas = rle_areas(first)[:, None] + rle_areas(second)[None]
    if areas.size == 0:
        return areas
    pair = [[_without_empty_runs(rle) for rle in rles] for rles in (first, second)]
    iou = np.asarray(coco_mask.iou(*pair, [False] * len(second)))
    return np.rint(iou * areas / (1 + iou)).astype(np.int64)


def check_one_size(first: Sequence[Rle], second: Sequence[Rle]) -> None:
    """Reject masks of which two can not be compared pixel by pixel.

    Raises:
        ValueError: If they are not all of one size.
    """
    sizes = {tuple(rle["size"]) for rle in (*first, *second)}
    if len(sizes) > 1:
        raise ValueError(
            f"masks must have one size, got {' and '.join(map(str, sorted(sizes)[:2]))} (height, width). "
            "Resize the predicted masks to the size of the annotated video."
        )


def _without_empty_runs(rle: Rle) -> Rle:
    """The same mask as pycocotools itself would write it: it looks for overlaps within boxes that other forms spoil."""
    if (run_lengths(rle["counts"])[1:] > 0).all():
        return rle
    return encode_masks(decode_rle(rle)[None])[0]


def rle_iou(first: Sequence[Rle], second: Sequence[Rle]) -> np.ndarray:
    """Mask IoU of every pair, ``(len(first), len(second))`` float64; 0 where both are empty.

    Raises:
        ValueError: If one is malformed, or they are not of one size.
    """
    shared = rle_intersections(first, second)
    return shared / np.maximum(rle_areas(first)[:, None] + rle_areas(second)[None] - shared, 1)


def shared_pixels(rles: Sequence[Rle], pairs: np.ndarray) -> np.ndarray:
    """Pixels that the two masks of each pair share; see :func:`video_mask2former.rle.shared_pixels`."""
    shared = np.zeros(len(pairs), np.int64)
    for index in np.unique(pairs[:, 0]).tolist():
        places = np.flatnonzero(pairs[:, 0] == index)
        shared[places] = rle_intersections([rles[index]], [rles[other] for other in pairs[places, 1].tolist()])[0]
    return shared
