"""Run-length encoded masks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from video_mask2former.rle import (
    decode_box,
    decode_counts,
    decode_rle,
    encode_masks,
    rle_area,
    rle_box,
    rle_iou,
)


def blob_mask(height, width, seed, share):
    """A mask of rectangles and specks: long runs and short ones."""
    rng = np.random.default_rng(seed)
    mask = rng.random((height, width)) < share * rng.random()
    for _ in range(3):
        top, left = rng.integers(height), rng.integers(width)
        mask[top : top + rng.integers(1, height + 1), left : left + rng.integers(1, width + 1)] ^= True
    return mask


masks = st.builds(blob_mask, st.integers(1, 60), st.integers(1, 80), st.integers(0, 2**32 - 1), st.floats(0.0, 1.0))


@given(masks)
def test_masks_come_back(mask):
    rle = encode_masks(mask[None])[0]
    assert np.array_equal(decode_rle(rle), mask)
    assert rle_area(rle) == mask.sum()
    runs = decode_counts(rle["counts"])
    assert np.array_equal(np.repeat(np.arange(len(runs)) % 2 == 1, runs), mask.ravel(order="F"))


@given(masks, st.data())
def test_a_box_of_a_mask_is_that_part_of_it(mask, data):
    rle = encode_masks(mask[None])[0]
    x, y = (data.draw(st.integers(0, side)) for side in mask.shape[::-1])
    width, height = (data.draw(st.integers(0, side)) for side in (mask.shape[1] - x, mask.shape[0] - y))
    part = decode_box(rle, (x, y, width, height))
    assert part.dtype == np.bool_
    assert part.flags.c_contiguous
    assert np.array_equal(part, mask[y : y + height, x : x + width])
    tight = tuple(int(value) for value in rle_box(rle))
    assert decode_box(rle, tight).sum() == mask.sum()


def test_wrong_boxes_and_counts_are_told():
    rle = encode_masks(np.ones((1, 4, 6), bool))[0]
    with pytest.raises(ValueError, match=r"box_xywh must lie in the frame of 4 x 6"):
        decode_box(rle, (3, 0, 4, 4))
    with pytest.raises(ValueError, match="cut off in the middle of a number"):
        decode_counts(rle["counts"][:-1] + "o")
    with pytest.raises(ValueError, match="no compressed RLE, it starts with 'a b'"):
        decode_counts("a b")


def test_iou_of_every_pair():
    first = encode_masks(np.array([[[1, 1, 0, 0]], [[0, 0, 0, 0]]], bool))
    second = encode_masks(np.array([[[0, 1, 1, 0]], [[0, 0, 0, 0]], [[1, 1, 0, 0]]], bool))
    np.testing.assert_allclose(rle_iou(first, second), [[1 / 3, 0, 1], [0, 0, 0]])
    assert rle_iou([], second).shape == (0, 3)
    with pytest.raises(ValueError, match=r"masks must be \(N, H, W\)"):
        encode_masks(np.zeros((4, 6), bool))
    assert encode_masks(np.zeros((0, 4, 6), bool)) == []
