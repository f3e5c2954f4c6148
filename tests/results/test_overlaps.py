from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from video_mask2former.results import label_map, resolve_overlaps, without_overlaps
from video_mask2former.rle import decode_rle, rle_area
from video_mask2former.structures import FrameInstances


def test_the_best_score_is_on_top():
    masks = np.zeros((3, 2, 4), dtype=bool)
    masks[0, :, :3] = True
    masks[1, :, 1:] = True
    masks[2, 0, :2] = True
    labels = resolve_overlaps(masks, np.asarray([0.5, 0.9, 0.7]))
    assert labels.tolist() == [[3, 2, 2, 2], [1, 2, 2, 2]]


def test_equal_scores_go_to_the_first():
    assert resolve_overlaps(np.ones((3, 1, 1), dtype=bool), np.asarray([0.3, 0.8, 0.8])).item() == 2


@given(st.data())
def test_every_covered_pixel_has_its_best_mask(frame_lists, data):
    for frame in data.draw(frame_lists()):
        labels = label_map(frame)
        masks = [decode_rle(rle) for rle in frame.segmentations]
        for y, x in np.ndindex(*frame.size):
            covering = [index for index, mask in enumerate(masks) if mask[y, x]]
            # max takes the first of equal ones
            best = max(covering, key=lambda index: frame.scores[index]) + 1 if covering else 0
            assert labels[y, x] == best
        resolved = without_overlaps(frame)
        assert sum(rle_area(rle) for rle in resolved.segmentations) == np.count_nonzero(labels)
        assert all(rle_area(rle) > 0 for rle in resolved.segmentations)
        by_track = {track: index for index, track in enumerate(frame.track_ids, start=1)}
        for track, rle, label in zip(resolved.track_ids, resolved.segmentations, resolved.labels, strict=True):
            assert np.array_equal(decode_rle(rle), labels == by_track[track])
            assert label == frame.labels[by_track[track] - 1]


def test_nothing_gives_background():
    assert resolve_overlaps(np.zeros((0, 2, 3), dtype=bool), np.zeros(0)).tolist() == [[0, 0, 0], [0, 0, 0]]


@pytest.mark.parametrize(
    ("masks", "scores", "message"),
    [
        (np.zeros((2, 3), bool), np.zeros(2), "masks must be"),
        (np.zeros((2, 3, 3)), np.zeros(2), "masks must be"),
        (np.zeros((2, 3, 3), bool), np.zeros(3), "scores"),
        (np.zeros((2, 3, 3), bool), np.asarray([0.5, np.nan]), r"NaN at \[1\]"),
    ],
)
def test_wrong_input_is_refused(masks, scores, message):
    with pytest.raises(ValueError, match=message):
        resolve_overlaps(masks, scores)


def test_masks_must_fit_the_frame(boxes):
    frame = FrameInstances(4, (5, 6), (1,), (0,), (0.5,), (boxes((5, 5), 0, 0, 1, 1),))
    with pytest.raises(ValueError, match=r"mask 0 of frame 4 is \(5, 5\)"):
        label_map(frame)
