"""Outlines cover the pixels of their mask, by every rule of filling."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from video_mask2former.outlines import mask_outlines, polygon_area
from video_mask2former.rle import encode_masks, rle_iou

SETTINGS = settings(max_examples=80, deadline=None)


@st.composite
def masks(draw):
    height, width = draw(st.integers(1, 14)), draw(st.integers(1, 14))
    share, seed = draw(st.floats(0, 1)), draw(st.integers(0, 2**31))
    return np.random.default_rng(seed).random((height, width)) < share


def filled_by_crossings(polygons, size):
    """Even-odd: pixels whose centre has an odd number of edges to its right."""
    rows, columns = np.mgrid[: size[0], : size[1]] + 0.5
    is_inside = np.zeros(size, bool)
    for polygon in polygons:
        for (x0, y0), (x1, y1) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
            if y0 != y1:
                crosses = (y0 > rows) != (y1 > rows)
                is_inside ^= crosses & (columns < (x1 - x0) * (rows - y0) / (y1 - y0) + x0)
    return is_inside


@SETTINGS
@given(masks())
def test_outlines_cover_exactly_the_mask(mask):
    polygons = mask_outlines(encode_masks(mask[None])[0])
    assert bool(polygons) == bool(mask.any())
    np.testing.assert_array_equal(filled_by_crossings(polygons, mask.shape), mask)
    if polygons:
        rles = coco_mask.frPyObjects([polygon.ravel().tolist() for polygon in polygons], *mask.shape)
        np.testing.assert_array_equal(coco_mask.decode(coco_mask.merge(rles)), mask)


def test_parts_come_by_size_and_a_hole_is_cut_out():
    mask = np.zeros((1, 40, 60), bool)
    mask[0, 2:30, 3:40] = True
    mask[0, 10:20, 10:20] = False
    mask[0, 33:38, 50:58] = True
    ring, block = mask_outlines(encode_masks(mask)[0])
    assert len(block) == 4 and len(ring) == 14  # the hole's corners are cut; a slit leads to it
    assert polygon_area(ring) == pytest.approx(28 * 37 - 100, rel=0.07)
    assert polygon_area(block) == pytest.approx(4.5 * 7.5)


def test_a_tolerance_saves_points_and_costs_little():
    rows, columns = np.mgrid[:120, :200]
    disc = (((rows - 60) / 50) ** 2 + ((columns - 100) / 80) ** 2 < 1)[None]
    rle = encode_masks(disc)[0]
    [exact], [rough] = mask_outlines(rle), mask_outlines(rle, 1.0)
    assert len(rough) < len(exact) / 4
    again = coco_mask.decode(coco_mask.frPyObjects([rough.ravel().tolist()], 120, 200))
    assert rle_iou([rle], encode_masks(again.transpose(2, 0, 1)))[0, 0] > 0.98
    with pytest.raises(ValueError, match="tolerance must be 0 or more pixels, got -1"):
        mask_outlines(rle, -1)
