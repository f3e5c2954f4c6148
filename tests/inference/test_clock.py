"""Where the time goes."""

from __future__ import annotations

import pytest

from video_mask2former.inference import StageClock


def test_the_time_of_one_video_among_many() -> None:
    clock = StageClock()
    clock.seconds |= {"decode": 1.0, "model": 3.0}
    clock.num_frames = 10
    before = clock.copy()
    clock.seconds["model"] += 3.0
    clock.seconds["output"] += 1.0
    clock.num_frames += 8
    spent = clock.since(before)
    assert spent.seconds == {"decode": 0.0, "model": 3.0, "tracking": 0.0, "masks": 0.0, "output": 1.0}
    assert spent.frames_per_second() == pytest.approx(2.0)
    assert spent.report() == "2.0 frames/s (decode 0%, model 75%, tracking 0%, masks 0%, output 25%)"
    assert before.seconds["model"] == 3.0


def test_before_the_first_frame_nothing_is_divided_by() -> None:
    assert StageClock().report().startswith("0.0 frames/s")
