from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as coco_mask

from video_mask2former.data.segmentations import (
    MaskKind,
    degenerate_polygons,
    pack_segmentation,
    segmentation_problem,
    unpack_mask,
    unpack_rle,
)
from video_mask2former.rle import decode_rle, decode_runs, encode_masks, rle_area, run_lengths

MASKS = arrays(bool, st.tuples(st.integers(1, 20), st.integers(1, 20)))


def true_runs(mask: np.ndarray) -> list[int]:
    """Runs in column order, by definition."""
    runs, value = [0], False
    for pixel in mask.T.ravel().tolist():
        if pixel != value:
            runs.append(0)
            value = pixel
        runs[-1] += 1
    return runs


@given(MASKS)
def test_runs_of_a_compressed_rle(mask: np.ndarray) -> None:
    rle = encode_masks(mask[None])[0]
    runs = run_lengths(rle["counts"].encode())
    assert runs.tolist() == true_runs(mask)
    np.testing.assert_array_equal(decode_runs(runs, mask.shape), mask)


@settings(max_examples=50)
@given(st.lists(st.integers(0, 2**25), min_size=1, max_size=12))
def test_runs_of_any_size_survive(runs: list[int]) -> None:
    # pycocotools compresses counts without asking whether they fit the size
    rle = coco_mask.frPyObjects({"size": [1, 1], "counts": runs}, 1, 1)
    assert run_lengths(rle["counts"]).tolist() == runs


@given(MASKS)
def test_compressed_and_uncompressed_rle_pack_to_the_same(mask: np.ndarray) -> None:
    rle = encode_masks(mask[None])[0]
    plain = {"size": list(mask.shape), "counts": true_runs(mask)}
    assert segmentation_problem(plain, mask.shape) is None and segmentation_problem(rle, mask.shape) is None
    assert pack_segmentation(plain, mask.shape) == pack_segmentation(rle, mask.shape)
    np.testing.assert_array_equal(unpack_mask(*pack_segmentation(plain, mask.shape), mask.shape), mask)
    unpacked = unpack_rle(*pack_segmentation(rle, mask.shape), mask.shape)
    assert unpacked == (rle if mask.any() else None)


@settings(max_examples=50)
@given(
    st.lists(
        st.lists(st.floats(0, 20, allow_nan=False), min_size=6, max_size=12).filter(lambda p: len(p) % 2 == 0),
        min_size=1,
        max_size=3,
    )
)
def test_polygons_give_the_mask_of_pycocotools(polygons: list[list[float]]) -> None:
    size = (18, 20)
    expected = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(polygons, *size))).astype(bool)
    kind, data = pack_segmentation(polygons, size)
    assert kind == MaskKind.POLYGONS
    np.testing.assert_array_equal(unpack_mask(kind, data, size), expected)
    rle = unpack_rle(kind, data, size)
    assert (rle is None) == (not expected.any())
    if rle is not None:
        np.testing.assert_array_equal(decode_rle(rle), expected)


def test_absent_masks() -> None:
    assert pack_segmentation(None, (4, 4)) == pack_segmentation([], (4, 4)) == (MaskKind.ABSENT, b"")
    assert not unpack_mask(MaskKind.ABSENT, b"", (4, 4)).any()
    assert unpack_rle(MaskKind.ABSENT, b"", (4, 4)) is None


def test_short_polygons_are_left_out_and_counted() -> None:
    polygons = [[1, 1, 5, 5], [1, 1, 6, 1, 6, 6]]
    assert segmentation_problem(polygons, (10, 10)) is None
    assert degenerate_polygons(polygons) == 1
    assert pack_segmentation(polygons, (10, 10)) == pack_segmentation(polygons[1:], (10, 10))
    assert pack_segmentation(polygons[:1], (10, 10))[0] == MaskKind.ABSENT


def test_polygons_are_cut_off_at_the_border() -> None:
    polygon = [[-1e5, 1.0, 1e5, 1.0, 1e5, 3.0, -1e5, 3.0]]
    assert segmentation_problem(polygon, (4, 5)) is None
    mask = unpack_mask(*pack_segmentation(polygon, (4, 5)), (4, 5))
    assert mask.any() and not mask[0].any()


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        ("0123", "null, an RLE or a list of polygons"),
        ({"size": [5, 4], "counts": "0"}, r"size \[height, width\] = \[4, 5\], got \[5, 4\]"),
        ({"counts": "0"}, "got None"),
        ({"size": [4, 5], "counts": [3, 4]}, "cover 7 pixels, the frame has 4 x 5 = 20"),
        ({"size": [4, 5], "counts": [30, -10]}, "integers >= 0"),
        ({"size": [4, 5], "counts": 7}, "a string or a list of integers"),
        ({"size": [4, 5], "counts": "ü"}, "characters that no RLE has"),
        ([1.0, 2.0, 3.0], "flat list of numbers"),
        ([["x", 1, 2, 3, 4, 5]], "flat list of numbers"),
        ([[1, 2, 3, 4, 5, 6, 7]], "as many x as y, got 7"),
        ([[1, 2, 3, float("nan"), 5, 6]], "must lie within"),
        ([[float("nan"), 2, 3, 4, 5, 6]], "must lie within"),
        ([[1, 2, float("inf"), 4, 5, 6]], "must lie within"),
        ([[1, 2, 3, 4, 5, -1e9]], "must lie within"),
        ([[1, 2, 3, 4, 5, 10**400]], "must lie within"),
    ],
)
def test_problems_of_form(segmentation: object, message: str) -> None:
    problem = segmentation_problem(segmentation, (4, 5))
    assert problem is not None
    with pytest.raises(ValueError, match=message):
        raise ValueError(problem)


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        (b"", "empty"),
        (b"5\x7f", "characters that no RLE has"),
        (b"5 3", "characters that no RLE has"),
        (b"PP", "cut off in the middle of a number"),
        (b"PPPPPPP0", "out of range"),
        (b"5M7", "negative run"),
        (b"23", "cover 5 pixels, the frame has 4 x 5 = 20"),
        (b"d01", "cover 21 pixels"),
    ],
)
@pytest.mark.parametrize("unpack", [unpack_mask, unpack_rle])
def test_broken_rle_is_an_error_wherever_it_is_read(counts: bytes, message: str, unpack) -> None:
    with pytest.raises(ValueError, match=message):
        unpack(MaskKind.RLE, counts, (4, 5))


@settings(max_examples=200)
@given(st.binary(min_size=1, max_size=30))
def test_any_bytes_are_a_mask_or_a_clear_error(counts: bytes) -> None:
    try:
        mask = unpack_mask(MaskKind.RLE, counts, (6, 7))
    except ValueError:
        return
    assert mask.shape == (6, 7)
    assert rle_area({"size": [6, 7], "counts": counts.decode()}) == mask.sum()
