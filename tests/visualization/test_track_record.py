from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from video_mask2former.rle import encode_masks
from video_mask2former.visualization.track_record import SpreadSample, TrackRecord, make_thumbnail


@given(st.integers(1, 10), st.integers(1, 500), st.integers(1, 12))
def test_samples_are_few_and_spread(count, length, asked):
    sample = SpreadSample(count)
    num_made = 0
    for item in range(length):
        if sample.wants_next():
            sample.add(item)
            num_made += 1
        assert len(sample._items) <= 2 * count
    kept = sample._items
    assert kept[0] == 0
    strides = set(np.diff(kept).tolist())
    assert len(strides) <= 1
    # nothing longer than one stride is missing at the end
    assert length - 1 - kept[-1] < (strides.pop() if strides else 2 * count * length)
    chosen = sample.chosen(asked)
    assert len(chosen) == min(asked, len(kept))
    assert chosen == sorted(set(chosen))
    # making pictures becomes rare: about `count` for every doubling of the length
    assert num_made <= 2 * count * (2 + np.log2(max(1, length / count)))


@given(st.integers(1, 10), st.integers(1, 500))
def test_no_more_samples_than_needed_where_the_length_is_known(count, length):
    sample = SpreadSample(count, expected=length)
    made = [item for item in range(length) if sample.wants_next() and sample.add(item) is None]
    assert min(count, length) <= len(made) <= 2 * count
    assert sample.chosen(count)[0] == 0
    assert len(sample.chosen(count)) == min(count, length)


@pytest.fixture
def square():
    mask = np.zeros((1, 20, 20), bool)
    mask[0, 5:15, 5:15] = True
    return encode_masks(mask)[0]


def test_runs_follow_the_frames_that_were_read(square):
    record = TrackRecord(3, SpreadSample(2))
    for position, frame_index in [(0, 10), (1, 15), (2, 20), (5, 35), (6, 40)]:
        record.add(position, frame_index, 1, 0.5, square)
    assert record.runs == [[10, 20], [35, 40]]
    assert record.num_frames == 5


def test_labels_and_scores(square):
    record = TrackRecord(3, SpreadSample(2))
    for position, (label, score) in enumerate([(2, 0.4), (1, 0.9), (2, 0.4)]):
        record.add(position, position, label, score, square)
    assert record.label == 1
    assert record.score == pytest.approx(1.7 / 3)
    longer = TrackRecord(4, SpreadSample(2))
    for position in range(6):
        longer.add(position, position, 2, 0.6, square)
    assert longer.importance > record.importance


@pytest.mark.parametrize("box", [(0, 0, 20, 20), (0, 18, 2, 20), (9, 9, 10, 10), (0, 0, 1, 20), (0, 0, 0, 0)])
def test_thumbnails_of_any_object(box):
    top, left, bottom, right = box
    mask = np.zeros((1, 20, 20), bool)
    mask[0, top:bottom, left:right] = True
    frame = np.full((20, 20, 3), 200, np.uint8)
    picture = make_thumbnail(frame, encode_masks(mask)[0], (255, 0, 0), (30, 40))
    assert picture.shape == (30, 40, 3)
    if mask.any():
        assert (picture == (255, 0, 0)).all(axis=2).any() or (picture[..., 0] > picture[..., 1] + 50).any()
