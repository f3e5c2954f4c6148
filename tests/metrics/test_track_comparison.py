"""Traits of tracks, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from video_mask2former.metrics.track_comparison import compare_video

SIZE = (20, 40)


def square(left, width=10):
    mask = np.zeros(SIZE, bool)
    mask[5:15, left : left + width] = True
    return mask


def traits_of(track, make_video, num_frames=6):
    instances = make_video([track], num_frames, SIZE)
    [comparison] = compare_video(make_video([], num_frames, SIZE), instances, 1).classes
    return comparison.ground_truth


def test_area_and_length_leave_out_empty_masks(make_track, make_video):
    track = make_track({0: square(0), 2: square(0, 20), 3: square(0, 0)})
    traits = traits_of(track, make_video)
    assert traits.mean_area.tolist() == [150.0]
    assert traits.num_frames.tolist() == [2]


def test_motion_is_the_iou_of_boxes_on_consecutive_frames(make_track, make_video):
    assert traits_of(make_track({0: square(0), 1: square(0)}), make_video).motion_iou.tolist() == [1.0]
    # 10 wide, moved by 5: 5 shared of 15; the jump over the unseen frame 2 does not count
    track = make_track({0: square(0), 1: square(5), 3: square(30), 4: square(30)})
    assert traits_of(track, make_video).motion_iou.tolist() == [pytest.approx((1 / 3 + 1) / 2)]
    assert np.isnan(traits_of(make_track({0: square(0), 2: square(5)}), make_video).motion_iou).all()


def test_instances_of_a_video_do_not_count_crowds(make_track, make_video):
    truth = make_video([make_track({0: square(0)}), make_track({0: square(9)}, is_crowd=True)], 1, SIZE)
    assert compare_video(make_video([], 1, SIZE), truth, 1).num_instances == 1
