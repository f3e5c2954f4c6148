"""Run-length encoded masks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from video_mask2former.rle import (
    PackedRles,
    check_counts,
    decode_box,
    decode_rle,
    encode_masks,
    measure_packed,
    reference,
    rle_area,
    rle_areas,
    rle_box,
    rle_boxes,
    rle_iou,
    run_lengths,
    shared_pixels,
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
    runs = run_lengths(rle["counts"])
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
        run_lengths(rle["counts"][:-1] + "o")
    with pytest.raises(ValueError, match="characters that no RLE has"):
        run_lengths("a b")


def test_iou_of_every_pair():
    first = encode_masks(np.array([[[1, 1, 0, 0]], [[0, 0, 0, 0]]], bool))
    second = encode_masks(np.array([[[0, 1, 1, 0]], [[0, 0, 0, 0]], [[1, 1, 0, 0]]], bool))
    np.testing.assert_allclose(rle_iou(first, second), [[1 / 3, 0, 1], [0, 0, 0]])
    assert rle_iou([], second).shape == (0, 3)
    with pytest.raises(ValueError, match=r"masks must be \(N, H, W\)"):
        encode_masks(np.zeros((4, 6), bool))
    assert encode_masks(np.zeros((0, 4, 6), bool)) == []


def compressed(runs):
    """Counts as COCO writes them, of any integers."""
    text = ""
    for index, run in enumerate(runs):
        rest = run - (runs[index - 2] if index > 2 else 0)
        is_last = False
        while not is_last:
            digit, rest = rest & 0x1F, rest >> 5
            is_last = rest == (-1 if digit & 0x10 else 0)
            text += chr(48 + digit + (0 if is_last else 0x20))
    return text


def test_runs_whose_sum_exceeds_64_bits_are_refused():
    """They wrap around to the number of pixels; pycocotools would write beyond its memory and end the process."""
    num_steps = 2**16
    step, rest = divmod(2**64 + 12, num_steps * (num_steps + 1) // 2)
    runs = [rest] + [value for index in range(1, num_steps + 1) for value in (0, index * step)]
    counts = compressed(runs)
    lengths = run_lengths(counts)
    assert lengths.tolist() == runs
    assert int(lengths.sum()) == 12 != sum(runs), "what 64 bits make of the sum"
    with pytest.raises(ValueError, match=r"its runs cover \d{20,} pixels, the frame has 3 x 4 = 12"):
        decode_rle({"size": [3, 4], "counts": counts})


@pytest.mark.parametrize("size", [(100_000, 100_000), (2**40, 1), (1, 2**63)])
def test_frames_that_would_fill_the_memory_are_refused(size):
    with pytest.raises(ValueError, match="may have up to 134217728 pixels"):
        decode_rle({"size": list(size), "counts": compressed([size[0] * size[1] % 2**34])})


def test_runs_beyond_64_bits_in_a_list_are_refused():
    for counts in ([2**64], [12, -(2**70)], [True] * 12, [], None, "12", [[12]]):
        with pytest.raises(ValueError, match=r"its (counts|runs)"):
            check_counts(counts, (3, 4))
    check_counts([5, 7], (3, 4))


@given(st.lists(masks, min_size=1, max_size=4), st.integers(0, 2**32 - 1))
def test_packed_masks_are_the_same(shapes, seed):
    rng = np.random.default_rng(seed)
    size = shapes[0].shape
    masks = np.array([rng.permuted(np.resize(shape, size), axis=1) for shape in shapes])
    frames = rng.permutation(10)[: len(masks)].tolist()
    plain = dict(zip(frames, encode_masks(masks), strict=True))
    packed = PackedRles.of(plain)
    assert dict(packed) == plain
    assert list(packed) == frames
    assert packed == plain
    assert 11 not in packed and packed.get(11) is None
    assert PackedRles.of(packed) is packed
    kept = rng.random(len(masks)) < 0.5
    assert dict(packed.select(kept)) == {f: plain[f] for f, is_kept in zip(frames, kept, strict=True) if is_kept}
    areas, boxes = measure_packed([packed, PackedRles((0, 0), (), ()), packed])
    rles = list(plain.values()) * 2
    assert np.array_equal(areas, rle_areas(rles))
    assert np.array_equal(boxes, rle_boxes(rles))
    pairs = np.array([[0, len(masks)], [len(masks) - 1, 0]])
    flat = np.tile(masks.reshape(len(masks), -1), (2, 1)).astype(np.int64)
    expected = [flat[first] @ flat[second] for first, second in pairs]
    assert shared_pixels([packed, packed], pairs).tolist() == expected
    assert reference.shared_pixels(rles, pairs).tolist() == expected


def test_packed_masks_of_odd_text_are_refused():
    for counts in (["1\n2"], ["1", "2"], []):
        with pytest.raises(ValueError, match="counts of one line for each of 1 frames"):
            PackedRles((3, 4), [0], counts)
    with pytest.raises(ValueError, match="cut off"):
        measure_packed([PackedRles((3, 4), [0], ["o"])])
    with pytest.raises(KeyError):
        PackedRles((3, 4), [0], ["<"])[1]
