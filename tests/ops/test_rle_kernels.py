"""The compiled kernels of masks against numpy, pycocotools and the pixels themselves, on masks and on nonsense."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from video_mask2former.rle import Rle, reference
from video_mask2former.rle.kernels import RleKernels


def blobs(height: int, width: int, seed: int, share: float) -> np.ndarray:
    """Some masks ``(N, H, W)`` of rectangles and specks, empty and full ones among them."""
    rng = np.random.default_rng(seed)
    masks = rng.random((4, height, width)) < share * rng.random((4, 1, 1))
    for mask in masks[:3]:
        top, left = rng.integers(height), rng.integers(width)
        mask[top : top + rng.integers(1, height + 1), left : left + rng.integers(1, width + 1)] ^= True
    masks[3] = rng.random() < 0.5
    return masks


def coco_encoded(masks: np.ndarray) -> list[Rle]:
    found = coco_mask.encode(np.asfortranarray(masks.transpose(1, 2, 0).astype(np.uint8)))
    return [Rle(size=list(rle["size"]), counts=rle["counts"].decode()) for rle in found]


def compressed(runs: list[int]) -> str:
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


def outcome(function, *arguments):
    """What a function answers, or the text of its refusal."""
    try:
        return function(*arguments)
    except ValueError as error:
        return str(error)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 70), st.integers(1, 70), st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.02, 0.5, 1.0]))
@example(1, 1, 0, 1.0)
@example(1, 70, 1, 0.5)
@example(70, 1, 1, 0.5)
def test_masks_are_those_of_pycocotools(kernels: RleKernels, height: int, width: int, seed: int, share: float) -> None:
    masks = blobs(height, width, seed, share)
    rles = coco_encoded(masks)
    assert [kernels.encode(mask) for mask in masks] == rles
    assert [kernels.encode(mask.astype(np.uint8) * 7) for mask in masks] == rles
    for mask, rle in zip(masks, rles, strict=True):
        decoded = kernels.decode(rle, (0, 0, width, height))
        assert decoded.dtype == np.bool_
        assert np.array_equal(decoded, mask)
    pixels = masks.reshape(4, -1).astype(np.int64)
    assert np.array_equal(kernels.areas(rles), pixels.sum(1))
    assert np.array_equal(kernels.boxes(rles), coco_mask.toBbox(rles))
    assert np.array_equal(reference.rle_boxes(rles), coco_mask.toBbox(rles))
    shared, areas = kernels.intersections(rles[:2], rles)
    assert np.array_equal(shared, pixels[:2] @ pixels.T)
    assert np.array_equal(areas, pixels[[0, 1, 0, 1, 2, 3]].sum(1))
    iou = shared / np.maximum(areas[:2, None] + areas[None, 2:] - shared, 1)
    assert np.array_equal(iou, np.array(coco_mask.iou(rles[:2], rles, [False] * 4)))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32 - 1), st.data())
def test_a_box_is_that_part_of_the_mask(kernels: RleKernels, height: int, width: int, seed: int, data) -> None:
    mask = blobs(height, width, seed, 0.3)[0]
    x, y = data.draw(st.integers(0, width)), data.draw(st.integers(0, height))
    box = (x, y, data.draw(st.integers(0, width - x)), data.draw(st.integers(0, height - y)))
    part = kernels.decode(coco_encoded(mask[None])[0], box)
    assert np.array_equal(part, mask[y : y + box[3], x : x + box[2]])


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 9), st.lists(st.integers(0, 20), min_size=1, max_size=30), st.integers(0, 2**32 - 1))
def test_runs_of_no_pixels_are_read(kernels: RleKernels, height: int, runs: list[int], seed: int) -> None:
    """pycocotools never writes them, and would give boxes that are too large; the pixels decide."""
    width = -(-sum(runs) // height) or 1
    runs = [*runs, height * width - sum(runs)] if len(runs) % 2 == 0 else [*runs, 0, height * width - sum(runs)]
    mask = np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(width, height).T
    other = np.random.default_rng(seed).random((height, width)) < 0.5
    [tidy, second] = coco_encoded(np.array([mask, other]))
    rle = Rle(size=[height, width], counts=compressed(runs))
    assert np.array_equal(kernels.decode(rle, (0, 0, width, height)), mask)
    for measured in (kernels, None):
        areas, boxes = (measured.areas, measured.boxes) if measured else (reference.rle_areas, reference.rle_boxes)
        assert areas([rle]).tolist() == [mask.sum()]
        assert np.array_equal(boxes([rle]), coco_mask.toBbox([tidy]))
    assert kernels.intersections([rle], [second])[0].item() == (mask & other).sum()
    assert reference.rle_intersections([rle], [second]).item() == (mask & other).sum()


WRONG = [
    "",  # nothing
    "0`",  # cut off
    "ooooooo",
    "ooooooo1",  # more digits than any run has
    "OOOO",  # negative
    "0 4",  # characters below and above
    "p1",
    "\x7f",
    "1\n2",  # the separator of the kernels
    "\n",
    "4\n",
    "caf\u00e9",
    compressed([13]),  # a pixel too many, and too few
    compressed([11]),
    compressed([2**34 - 1]),
    compressed([0, 12, -1, 1]),
    compressed([0, 2**33, 2**33, -(2**34) + 12]),
    compressed([12, 0, 0, 2**34 - 1]),
    "0" * 10_000 + "1",
]


@pytest.mark.parametrize("counts", WRONG, ids=range(len(WRONG)))
def test_malformed_counts_are_refused(kernels: RleKernels, counts: str) -> None:
    rle = Rle(size=[3, 4], counts=counts)
    fine = Rle(size=[3, 4], counts=compressed([5, 7]))
    with pytest.raises(ValueError, match=r"^its? "):
        kernels.decode(rle, (0, 0, 4, 3))
    with pytest.raises(ValueError, match=r"^its? "):
        kernels.areas([rle])
    for position in range(3):
        rles = [fine, fine]
        rles.insert(position, rle)
        for question in (kernels.areas, kernels.boxes, lambda rles: kernels.intersections(rles, rles)):
            with pytest.raises(ValueError, match=rf"^mask {position}: the RLE cannot be read, its? "):
                question(rles)


@pytest.mark.parametrize("size", [[2**20, 2**20], [2**62, 2**62], [-3, -4], [3], [3, 4, 1], [3.0, 4.0], ["3", "4"], []])
def test_wrong_sizes_are_refused(kernels: RleKernels, size: list) -> None:
    with pytest.raises(ValueError, match=r"may have up to 134217728 pixels|its size must be \[height, width\], got"):
        kernels.areas([Rle(size=size, counts=compressed([12]))])


def test_masks_of_two_sizes_are_not_compared(kernels: RleKernels) -> None:
    first, second = (Rle(size=size, counts=compressed([5, 7])) for size in ([3, 4], [4, 3]))
    assert kernels.areas([first, second, first]).tolist() == [7, 7, 7]
    assert kernels.boxes([first, second]).tolist() == [[1, 0, 3, 3], [1, 0, 2, 4]]
    with pytest.raises(ValueError, match=r"masks must have one size, got \(3, 4\) and \(4, 3\)"):
        kernels.intersections([first], [second])
    with pytest.raises(IndexError, match="pairs must index the 1 masks, got 0 to 1"):
        kernels.measure([first], np.array([[0, 1]]))


@settings(max_examples=150, deadline=None)
@given(st.text(st.characters(codec="latin-1"), max_size=8) | st.text(st.sampled_from("0123`abpoO@?"), max_size=12))
def test_any_text_is_read_or_refused_alike(kernels: RleKernels, counts: str) -> None:
    for size in ([3, 4], [1, 1], [0, 5], [1, 16]):
        rle = Rle(size=size, counts=counts)
        expected = outcome(reference.decode_rle, rle)
        found = outcome(kernels.decode, rle, (0, 0, size[1], size[0]))
        if isinstance(expected, str):
            assert found == expected
            assert outcome(kernels.areas, [rle]) == found
        else:
            assert np.array_equal(found, expected)
            assert kernels.areas([rle]).tolist() == [expected.sum()]


def test_nothing_is_measured_of_no_masks(kernels: RleKernels) -> None:
    [rle] = coco_encoded(np.ones((1, 4, 4), bool))
    assert kernels.areas([]).shape == (0,)
    assert kernels.boxes([]).shape == (0, 4)
    assert kernels.intersections([], [rle])[0].shape == (0, 1)
    assert kernels.intersections([rle], [])[0].shape == (1, 0)
    assert kernels.encode(np.zeros((3, 0), bool)) == Rle(size=[3, 0], counts="0")
