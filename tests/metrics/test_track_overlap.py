"""Pixel counts are exact, on masks of any shape and size."""

from __future__ import annotations

import numpy as np
import pytest

from video_mask2former.metrics.track_overlap import (
    track_areas,
    track_intersections,
    track_iou,
)
from video_mask2former.rle import encode_masks, rle_areas, rle_boxes, rle_intersections


@pytest.mark.parametrize("size", [(1, 1), (7, 3), (100, 80), (1080, 1920)])
def test_intersections_are_exact(size):
    rng = np.random.default_rng(0)
    first, second = rng.random((3, *size)) < 0.7, rng.random((4, *size)) < 0.3
    first[0], second[0] = True, False
    expected = np.einsum("ahw,bhw->ab", first.astype(np.int64), second.astype(np.int64))
    got = rle_intersections(encode_masks(first), encode_masks(second))
    assert got.dtype == np.int64
    np.testing.assert_array_equal(got, expected)
    np.testing.assert_array_equal(rle_areas(encode_masks(first)), first.sum((1, 2)))


def test_nothing_to_compare():
    [rle] = encode_masks(np.ones((1, 4, 4), bool))
    assert rle_intersections([], [rle]).shape == (0, 1)
    assert rle_intersections([rle], []).shape == (1, 0)
    assert track_areas([]) == []
    assert track_iou([], []).shape == (0, 0)


def test_tracks_sum_over_frames(make_track):
    rng = np.random.default_rng(1)
    volumes = rng.random((4, 5, 9, 11)) < 0.5
    is_visible = rng.random((4, 5)) < 0.7
    volumes &= is_visible[:, :, None, None]
    # in no particular order of the frames
    tracks = [
        make_track({int(time): volume[time] for time in rng.permutation(np.flatnonzero(visible))})
        for volume, visible in zip(volumes, is_visible, strict=True)
    ]
    flat = volumes.reshape(4, -1).astype(np.int64)
    shared = flat @ flat.T
    union = flat.sum(1)[:, None] + flat.sum(1)[None] - shared
    np.testing.assert_array_equal(track_intersections(tracks[:1], tracks), shared[:1])
    np.testing.assert_array_equal(track_iou(tracks, tracks), shared / union)
    for track, areas in zip(tracks, track_areas(tracks), strict=True):
        assert areas.tolist() == list(track.areas().values())


@pytest.mark.parametrize("num_masks", [255, 256, 600])
def test_any_number_of_masks(num_masks):
    masks = np.arange(num_masks)[:, None, None] > np.arange(700).reshape(1, 20, 35)
    rles = encode_masks(masks)
    np.testing.assert_array_equal(rle_areas(rles), masks.sum((1, 2)))
    assert rle_boxes(rles).shape == (num_masks, 4)
    expected = np.minimum.outer(masks.sum((1, 2)), masks.sum((1, 2)))
    np.testing.assert_array_equal(rle_intersections(rles, rles), expected)
