"""The number that ranks videos."""

from __future__ import annotations

import numpy as np
import pytest

from video_mask2former.metrics import YtvisApEvaluator, video_qualities

SIZE = (10, 10)


def rows(start, stop):
    mask = np.zeros(SIZE, bool)
    mask[start:stop] = True
    return {0: mask}


@pytest.fixture
def quality(make_video):
    def compute(predictions, objects):
        evaluator = YtvisApEvaluator(["a", "b"])
        evaluator.process(make_video(predictions, 1, SIZE, 3), make_video(objects, 1, SIZE, 3))
        [(video_id, value)] = video_qualities(evaluator.videos, 0.3).items()
        assert video_id == 3
        return value

    return compute


def test_perfect_and_hopeless(quality, make_track):
    tracks = [make_track(rows(0, 2)), make_track(rows(5, 7), label=1)]
    assert quality(tracks, tracks) == 1.0
    assert quality([], tracks) == quality(tracks, []) == 0.0
    assert quality([make_track(rows(0, 2), label=1)], tracks[:1]) == 0.0
    assert quality([], []) == -1.0


def test_false_tracks_count_unless_their_score_is_low(quality, make_track):
    truth = make_track(rows(0, 4))
    found = make_track(rows(0, 2), score=0.5)
    assert quality([found], [truth]) == pytest.approx(2 * 0.5 / 2)
    assert quality([found, make_track(rows(6, 8), score=0.4)], [truth]) == pytest.approx(2 * 0.5 / 3)
    assert quality([found, make_track(rows(6, 8), score=0.2)], [truth]) == pytest.approx(2 * 0.5 / 2)


def test_tracks_on_a_crowd_do_not_count(quality, make_track):
    crowd, truth = make_track(rows(4, 8), is_crowd=True), make_track(rows(0, 2))
    assert quality([truth, make_track(rows(4, 7))], [crowd, truth]) == 1.0
    assert quality([truth, make_track(rows(7, 10))], [crowd, truth]) == pytest.approx(2 / 3)
