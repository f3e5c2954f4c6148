from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from video_mask2former.data.frame_sampler import (
    reverse_at_random,
    sample_around,
    sample_contiguous,
    sample_strided,
)

NUM_FRAMES, CLIP_LENGTH, SEEDS = st.integers(1, 60), st.integers(1, 12), st.integers(0, 1000)


@given(NUM_FRAMES, CLIP_LENGTH, st.integers(0, 25), SEEDS)
def test_around_is_ascending_near_and_without_repeats(num_frames, clip_length, frame_range, seed) -> None:
    indices = sample_around(num_frames, clip_length, frame_range, np.random.default_rng(seed))
    assert len(indices) == clip_length and list(indices) == sorted(indices)
    assert indices[0] >= 0 and indices[-1] < num_frames
    if num_frames >= clip_length:
        assert len(set(indices)) == clip_length
        assert indices[-1] - indices[0] <= max(2 * frame_range, clip_length)
    else:
        counts = Counter(indices)
        assert len(counts) == num_frames and max(counts.values()) - min(counts.values()) <= 1


@given(NUM_FRAMES, CLIP_LENGTH, st.integers(1, 9), SEEDS)
def test_strided_is_even_as_far_as_the_video_goes(num_frames, clip_length, stride, seed) -> None:
    indices = sample_strided(num_frames, clip_length, stride, np.random.default_rng(seed))
    assert len(indices) == clip_length
    assert all(0 <= index < num_frames for index in indices)
    steps = np.diff(indices)
    if num_frames >= clip_length:
        assert len(set(steps.tolist())) <= 1
        if clip_length > 1:
            assert steps[0] == min(stride, (num_frames - 1) // (clip_length - 1))
    elif num_frames > 1:
        assert set(np.abs(steps).tolist()) == {1}, "played forth and back, no jump"


@given(NUM_FRAMES, CLIP_LENGTH, SEEDS)
def test_contiguous_is_strided_by_one(num_frames, clip_length, seed) -> None:
    contiguous = sample_contiguous(num_frames, clip_length, np.random.default_rng(seed))
    assert contiguous == sample_strided(num_frames, clip_length, 1, np.random.default_rng(seed))


def test_one_frame_video() -> None:
    rng = np.random.default_rng(0)
    assert sample_around(1, 3, 20, rng) == sample_contiguous(1, 3, rng) == sample_strided(1, 3, 5, rng) == (0, 0, 0)


def test_around_reaches_every_frame_and_both_sides() -> None:
    rng = np.random.default_rng(0)
    clips = [sample_around(30, 2, 5, rng) for _ in range(3000)]
    assert {index for clip in clips for index in clip} == set(range(30))
    assert {clip[1] - clip[0] for clip in clips} == {1, 2, 3, 4, 5}


def test_strided_starts_are_even() -> None:
    rng = np.random.default_rng(0)
    starts = Counter(sample_strided(10, 3, 2, rng)[0] for _ in range(6000))
    assert set(starts) == set(range(6))
    assert max(starts.values()) / min(starts.values()) < 1.3


def test_reverse() -> None:
    rng = np.random.default_rng(0)
    assert reverse_at_random((1, 4, 6), 1.0, rng) == (6, 4, 1)
    assert reverse_at_random((1, 4, 6), 0.0, rng) == (1, 4, 6)


def test_same_seed_same_frames() -> None:
    first, second = (
        [sample_around(50, 4, 20, np.random.default_rng((7, number))) for number in range(20)] for _ in range(2)
    )
    assert first == second and len(set(first)) > 15


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda rng: sample_around(0, 2, 5, rng), "num_frames = 0"),
        (lambda rng: sample_around(5, 0, 5, rng), "clip_length = 0"),
        (lambda rng: sample_around(5, 2, -1, rng), "frame_range must be at least 0, got -1"),
        (lambda rng: sample_strided(5, 2, 0, rng), "stride - 1 must be at least 0"),
    ],
)
def test_impossible_numbers(call, message) -> None:
    with pytest.raises(ValueError, match=message):
        call(np.random.default_rng(0))


def test_around_may_repeat_frames_other_than_the_reference() -> None:
    rng = np.random.default_rng(0)
    clips = [sample_around(30, 5, 3, rng, may_repeat=True) for _ in range(200)]
    assert all(list(clip) == sorted(clip) and clip[-1] - clip[0] <= 6 and len(clip) == 5 for clip in clips)
    assert any(len(set(clip)) < 5 for clip in clips)
    assert all(len(set(clip)) > 1 for clip in clips), "the reference frame comes once"
    assert sample_around(1, 3, 3, rng, may_repeat=True) == (0, 0, 0)
