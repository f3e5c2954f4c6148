"""Windows cover every frame once, whatever their length, overlap and remainder."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from video_mask2former.inference.clips import ClipWindow, WindowBuffer, WindowPlan


@st.composite
def plans(draw) -> WindowPlan:
    window = draw(st.integers(1, 12))
    return WindowPlan(window, draw(st.integers(0, window - 1)), draw(st.sampled_from(["shift", "short"])))


@given(plans(), st.integers(0, 60))
def test_every_frame_counts_exactly_once(plan: WindowPlan, num_frames: int) -> None:
    windows = list(plan.windows(num_frames))
    counted = [frame for window in windows for frame in range(window.first_new, window.stop)]
    assert counted == list(range(num_frames))
    for window in windows:
        assert 0 <= window.start <= window.first_new < window.stop <= num_frames
        assert window.stop - window.start <= plan.window
        if plan.remainder == "shift" and num_frames >= plan.window:
            assert window.stop - window.start == plan.window
    for before, after in itertools.pairwise(windows):
        assert before.stop - after.start >= plan.overlap
        assert after.start > before.start


@given(plans(), st.integers(0, 60), st.integers(0, 60))
def test_a_buffer_gives_the_windows_of_the_plan_without_knowing_the_length(
    plan: WindowPlan, num_frames: int, saved_at: int
) -> None:
    buffer: WindowBuffer[int] = WindowBuffer(plan)
    ready = []
    for frame in range(num_frames):
        if frame == saved_at:
            state = buffer.state_dict()
            buffer = WindowBuffer(plan)
            buffer.load_state_dict(state)
        ready.append(buffer.push(frame))
        assert len(buffer.state_dict()["items"]) <= plan.window
    ready.append(buffer.flush())
    windows = [entry for entry in ready if entry is not None]
    assert [window for window, _ in windows] == list(plan.windows(num_frames))
    for window, frames in windows:
        assert frames == list(range(window.start, window.stop))


def test_the_last_window() -> None:
    assert list(WindowPlan(4, 1, "shift").windows(9))[-1] == ClipWindow(5, 9, 7)
    assert list(WindowPlan(4, 1, "short").windows(9))[-1] == ClipWindow(6, 9, 7)
    assert list(WindowPlan(4, 1).windows(3)) == [ClipWindow(0, 3, 0)]
    assert list(WindowPlan(4, 1).windows(7)) == [ClipWindow(0, 4, 0), ClipWindow(3, 7, 4)]


@pytest.mark.parametrize(("window", "overlap"), [(0, 0), (3, 3), (3, -1)])
def test_plans_reject_nonsense(window: int, overlap: int) -> None:
    with pytest.raises(ValueError, match="overlap in"):
        WindowPlan(window, overlap)


def test_plans_reject_unknown_remainders() -> None:
    with pytest.raises(ValueError, match="'shift' or 'short'"):
        WindowPlan(3, 0, "drop")  # type: ignore[arg-type]
