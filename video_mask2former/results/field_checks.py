"""Checks of what comes out of other people's files, with messages that name the place."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from video_mask2former.messages import shortened
from video_mask2former.rle import PackedRles, Rle, check_rles, check_size, compress_counts, measure_packed
from video_mask2former.video_io.frame_rate import parse_frame_rate

MAX_INDEX = 10_000_000
"""Frames: of four days at 30 a second. Beyond, a file is wrong, or made to keep a program counting."""

CategoryIds = Sequence[int] | Mapping[int, int]


def require(entry: Any, key: str, kind: type | tuple[type, ...], place: str) -> Any:
    """The value of a key of a JSON object.

    Raises:
        ValueError: If it is missing or of another type; ``place`` says in the message where that is.
    """
    if not isinstance(entry, dict):
        raise ValueError(f"{place} must be a JSON object, got {shortened(entry)}.")
    if key not in entry:
        raise ValueError(f"{place} lacks {key!r}; it has {shortened(sorted(entry))}.")
    value = entry[key]
    # bool is an int to Python, but not in JSON
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        kinds = kind if isinstance(kind, tuple) else (kind,)
        names = " or ".join(_json_name(each) for each in kinds)
        raise ValueError(f"{place}: {key!r} must be a {names}, got {shortened(value)}.")
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ValueError(f"{place}: {key!r} is beyond 64 bits, got {shortened(value)}.")
    return value


def require_score(entry: Any, place: str) -> float:
    """The score of an entry, a finite number."""
    score = float(require(entry, "score", (int, float), place))
    if not math.isfinite(score):
        raise ValueError(f"{place}: 'score' must be finite, got {score}.")
    return score


def require_index(entry: Any, key: str, place: str) -> int:
    """An index, a number of frames or a size of an entry: an integer from 0, and not beyond what videos have."""
    index: int = require(entry, key, int, place)
    if not 0 <= index <= MAX_INDEX:
        raise ValueError(f"{place}: {key!r} must be 0 or more, and at most {MAX_INDEX}, got {index}.")
    return index


def require_rate(entry: Any, place: str) -> Fraction | None:
    """The frame rate of an entry, written as a fraction or null."""
    text = require(entry, "frame_rate", (str, type(None)), place)
    return None if text is None else parse_frame_rate(text, f"{place}: 'frame_rate'")


def require_format(entry: Any, name: str, version: int, place: str) -> None:
    """Check the ``format`` and ``version`` keys of the project's own files."""
    found = require(entry, "format", str, place)
    if found != name:
        raise ValueError(f"{place}: 'format' must be {name!r}, got {found!r}. Is it another kind of file?")
    found_version = require(entry, "version", int, place)
    if found_version > version:
        raise ValueError(
            f"{place} has version {found_version}, this program reads up to {version}. Use a newer video_mask2former."
        )


def require_rle(value: Any, size: tuple[int, int] | None, place: str) -> Rle:
    """A mask as compressed RLE; an uncompressed one (counts as a list) is compressed.

    Args:
        value: What the file has.
        size: Height and width it must have, None if any will do.
        place: Where in the file it is.

    Raises:
        ValueError: If it is no RLE, or does not cover its size exactly: such would crash the decoder.
    """
    height_width = require(value, "size", (list, tuple), place)
    if len(height_width) != 2 or not all(type(side) is int and side > 0 for side in height_width):
        raise ValueError(f"{place}: 'size' must be [height, width], got {shortened(height_width)}.")
    height, width = height_width
    if size is not None and (height, width) != tuple(size):
        raise ValueError(f"{place}: mask is {(height, width)} (height, width), others are {tuple(size)}.")
    counts = require(value, "counts", (str, list), place)
    try:
        check_size((height, width))
        if isinstance(counts, list):
            counts = compress_counts(counts, (height, width))
        rle = Rle(size=[height, width], counts=counts)
        check_rles([rle])
    except ValueError as error:
        raise ValueError(f"{place}: the RLE cannot be read, {error}") from error
    return rle


def require_track(masks: Sequence[Any], size: tuple[int, int] | None, place: str) -> PackedRles:
    """The masks of a track, one or null for each frame, checked all at once.

    Args:
        masks: What the file has.
        size: Height and width they must have, None if any will do.
        place: Where in the file they are.

    Raises:
        ValueError: As :func:`require_rle`, of the first frame that is wrong.
    """
    frames = [index for index, mask in enumerate(masks) if mask is not None]
    if not frames:
        return PackedRles(size or (0, 0), (), ())
    if size is None:
        height, width = require_rle(masks[frames[0]], None, f"{place}, frame {frames[0]}")["size"]
        size = (height, width)
    try:
        packed = PackedRles(size, frames, [_counts_of(masks[index], size) for index in frames])
        measure_packed([packed])
    except (ValueError, TypeError, KeyError):  # of another form, or wrong: one by one, then
        rles = [require_rle(masks[index], size, f"{place}, frame {index}") for index in frames]
        packed = PackedRles(size, frames, [rle["counts"] for rle in rles])
    return packed


def _counts_of(mask: Any, size: tuple[int, int]) -> str:
    """The counts of a mask of the usual form; other errors than of :func:`require_rle` where it has another."""
    height, width = mask["size"]
    counts = mask["counts"]
    if type(mask) is not dict or type(counts) is not str or (height, width) != size:
        raise ValueError("of another form")
    if type(height) is not int or type(width) is not int:
        raise TypeError("not integers")
    return counts


def dataset_category(label: int, category_ids: CategoryIds | None) -> int:
    """The dataset's category id of a class index: looked up, or ``label + 1``, as the datasets number theirs."""
    if category_ids is None:
        return int(label) + 1
    try:
        return int(category_ids[label])
    except (KeyError, IndexError) as error:
        raise ValueError(
            f"category_ids has no entry for class index {label}, only {len(category_ids)} entries."
        ) from error


def class_indices(category_ids: CategoryIds | None) -> dict[int, int] | None:
    """The way back, from category ids to class indices; None where it is ``category_id - 1``."""
    if category_ids is None:
        return None
    pairs = category_ids.items() if isinstance(category_ids, Mapping) else enumerate(category_ids)
    back = {int(category): int(label) for label, category in pairs}
    if len(back) != len(category_ids):
        raise ValueError(f"category_ids gives one category id to several class indices: {category_ids}.")
    return back


def class_index(category_id: int, back: Mapping[int, int] | None, place: str) -> int:
    """The class index of a category id of a file."""
    if back is None:
        if category_id < 1:
            raise ValueError(f"{place}: 'category_id' must be 1 or more, got {category_id}. Give category_ids.")
        return category_id - 1
    if category_id not in back:
        raise ValueError(f"{place}: 'category_id' {category_id} is not among category_ids, {sorted(back)[:10]} ...")
    return back[category_id]


def _json_name(kind: type) -> str:
    names = {dict: "object", list: "array", str: "string", int: "integer", float: "number", type(None): "null"}
    return names.get(kind, kind.__name__)
