"""Breakdowns: what belongs to a range counts, and nothing else does harm."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from video_mask2former.metrics import (
    YtvisApEvaluator,
    ap_by_instance_count,
    ap_by_motion_speed,
    ap_by_track_length,
    short_long_summary,
)

SIZE = (40, 200)


def moving(speed, num_frames, top=0):
    """A 10 x 20 box moving to the right."""
    masks = {}
    for time in range(num_frames):
        masks[time] = np.zeros(SIZE, bool)
        masks[time][top : top + 10, speed * time : speed * time + 20] = True
    return masks


def compare(pairs):
    evaluator = YtvisApEvaluator(["object"])
    for prediction, truth in pairs:
        evaluator.process(prediction, truth)
    return evaluator.videos


def test_track_length(make_track, make_video):
    short, long = make_track(moving(0, 9)), make_track(moving(0, 40, top=20))
    truth = make_video([short, long], 40, SIZE)
    found_short = make_video([replace(short, score=0.5)], 40, SIZE)
    expected = {"1-9": 1.0, "10-19": -1.0, "20-39": -1.0, "40+": 0.0}
    assert ap_by_track_length(compare([(found_short, truth)]), 1) == pytest.approx(expected)
    # a false alarm harms only the range that it is in itself
    false = make_track(moving(0, 3, top=30), score=0.9)
    prediction = make_video([false, replace(short, score=0.5), replace(long, score=0.5)], 40, SIZE)
    expected = {"1-9": 0.5, "10-19": -1.0, "20-39": -1.0, "40+": 1.0}
    assert ap_by_track_length(compare([(prediction, truth)]), 1) == pytest.approx(expected)


def test_motion_speed(make_track, make_video):
    # 20 wide: moved by 1 IoU 19/21 = 0.905, by 2 18/22 = 0.82, by 8 12/28 = 0.43
    tracks = [make_track(moving(speed, 5, top)) for speed, top in ((1, 0), (2, 10), (8, 20))]
    truth = make_video([*tracks, make_track({0: moving(0, 1, 30)[0]})], 5, SIZE)
    for found, expected in zip(tracks, ((1, 0, 0), (0, 1, 0), (0, 0, 1)), strict=True):
        figures = ap_by_motion_speed(compare([(make_video([found], 5, SIZE), truth)]), 1)
        assert figures == pytest.approx(dict(zip(("slow", "medium", "fast"), expected, strict=True)))


def test_still_images_have_no_speed(make_track, make_video):
    instances = make_video([make_track(moving(0, 1))], 1, SIZE)
    assert set(ap_by_motion_speed(compare([(instances, instances)]), 1).values()) == {-1.0}


def test_instance_count(make_track, make_video):
    tracks = [make_track(moving(0, 1, top)) for top in (0, 10, 20)]
    alone, group = make_video(tracks[:1], 1, SIZE, video_id=1), make_video(tracks, 1, SIZE, video_id=2)
    nothing = make_video([], 1, SIZE, video_id=2)
    expected = {"1": 1.0, "2-3": 0.0, "4-6": -1.0, "7+": -1.0}
    assert ap_by_instance_count(compare([(alone, alone), (nothing, group)]), 1) == pytest.approx(expected)


def test_short_and_long_videos_weigh_the_same(make_pairs):
    evaluator = YtvisApEvaluator(["a", "b", "c"])
    pairs = make_pairs(0, num_videos=6)
    for prediction, truth in pairs:
        evaluator.process(prediction, truth)
    halves = []
    for part in (pairs[:4], pairs[4:]):
        half = YtvisApEvaluator(["a", "b", "c"])
        for prediction, truth in part:
            half.process(prediction, truth)
        halves.append(half.evaluate())
    figures = short_long_summary(evaluator.videos, 3, {5, 6, 99})
    short, long = halves
    assert figures["short_long_mean"]["AP"] == (short["AP"] + long["AP"]) / 2 != evaluator.evaluate()["AP"]
    assert (figures["short_videos"], figures["long_videos"]) == (short, long)
    for ids in ((), range(7)):
        with pytest.raises(ValueError, match="both long and short"):
            short_long_summary(evaluator.videos, 3, ids)
