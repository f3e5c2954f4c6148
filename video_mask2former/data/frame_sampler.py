"""Which frames of a video make a training clip: pure functions of length, numbers and a random generator."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

FrameSampler = Callable[[int, np.random.Generator], tuple[int, ...]]
"""Number of frames of a video and a generator to the indices of the frames of a clip."""


def sample_around(
    num_frames: int, clip_length: int, frame_range: int, rng: np.random.Generator, *, may_repeat: bool = False
) -> tuple[int, ...]:
    """A random reference frame and others near it, in order of time (M2F-VIS, arXiv:2112.10764).

    Args:
        num_frames: Length of the video.
        clip_length: Frames of the clip.
        frame_range: Farthest frame from the reference frame, on either side. Where fewer than ``clip_length`` frames
            are that near, it is widened until there are enough.
        rng: Source of randomness.
        may_repeat: Draw the others with replacement (VITA, arXiv:2206.04403): none is the reference frame, but one may
            occur several times. The range is not widened then.

    Returns:
        ``clip_length`` indices, ascending. None occurs twice unless the video is shorter than the clip; then each
        frame occurs as often as any other, give or take one.
    """
    _check(num_frames, clip_length, at_least_zero={"frame_range": frame_range})
    if num_frames <= clip_length and not may_repeat:
        return _spread(num_frames, clip_length, rng)
    reference = int(rng.integers(num_frames))
    first, last = max(0, reference - frame_range), min(num_frames - 1, reference + frame_range)
    while last - first + 1 < clip_length and not may_repeat:
        first, last = max(0, first - 1), min(num_frames - 1, last + 1)
    neighbours = [index for index in range(first, last + 1) if index != reference] or [reference]
    chosen = rng.choice(neighbours, size=clip_length - 1, replace=may_repeat)
    return tuple(sorted([reference, *chosen.tolist()]))


def sample_contiguous(num_frames: int, clip_length: int, rng: np.random.Generator) -> tuple[int, ...]:
    """Neighbouring frames from a random start; see :func:`sample_strided`."""
    return sample_strided(num_frames, clip_length, 1, rng)


def sample_strided(num_frames: int, clip_length: int, stride: int, rng: np.random.Generator) -> tuple[int, ...]:
    """Every ``stride``-th frame from a random start.

    In a video that is too short for it the stride is the largest that fits; a video shorter than the clip is played
    forth and back, so that motion stays continuous.

    Args:
        num_frames: Length of the video.
        clip_length: Frames of the clip.
        stride: Distance of one frame to the next.
        rng: Source of randomness.
    """
    _check(num_frames, clip_length, at_least_zero={"stride - 1": stride - 1})
    if num_frames < clip_length:
        return _forth_and_back(num_frames, clip_length, rng)
    if clip_length == 1:
        return (int(rng.integers(num_frames)),)
    stride = min(stride, (num_frames - 1) // (clip_length - 1))
    start = int(rng.integers(num_frames - stride * (clip_length - 1)))
    return tuple(range(start, start + stride * (clip_length - 1) + 1, stride))


def reverse_at_random(frame_indices: tuple[int, ...], probability: float, rng: np.random.Generator) -> tuple[int, ...]:
    """The clip played backwards, with a given probability."""
    return frame_indices[::-1] if rng.random() < probability else frame_indices


def _spread(num_frames: int, clip_length: int, rng: np.random.Generator) -> tuple[int, ...]:
    """All frames, each ``clip_length / num_frames`` times; chance decides which get one more."""
    repeats, rest = divmod(clip_length, num_frames)
    extra = rng.choice(num_frames, size=rest, replace=False).tolist()
    return tuple(sorted([*range(num_frames)] * repeats + extra))


def _forth_and_back(num_frames: int, clip_length: int, rng: np.random.Generator) -> tuple[int, ...]:
    period = max(1, 2 * (num_frames - 1))
    phase = int(rng.integers(period))
    steps = [(phase + step) % period for step in range(clip_length)]
    return tuple(min(step, period - step) if num_frames > 1 else 0 for step in steps)


def _check(num_frames: int, clip_length: int, at_least_zero: dict[str, int]) -> None:
    if num_frames < 1 or clip_length < 1:
        raise ValueError(f"a video and a clip need at least one frame, got {num_frames = } and {clip_length = }.")
    for name, value in at_least_zero.items():
        if value < 0:
            raise ValueError(f"{name} must be at least 0, got {value}.")
