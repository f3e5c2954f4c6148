"""The sine encodings against the published ones, and against the formula written out."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from video_mask2former.models import sine_position_encoding


@pytest.mark.parametrize(("name", "num_frames"), [("xyt_T3", 3), ("xyt_T1", 1), ("xy", None)])
def test_equals_the_published_encoding(golden, name, num_frames):
    expected = golden("sine_positional_encoding")[f"{name}_H4_W5_C64"]
    encoding = sine_position_encoding((4, 5), 64, num_frames=num_frames)
    np.testing.assert_allclose(encoding.numpy(), expected.reshape(encoding.shape), atol=1e-6)


def test_equals_the_formula_at_each_position():
    height, width, num_frames, channels = 3, 4, 2, 8
    encoding = sine_position_encoding((height, width), channels, num_frames=num_frames)

    def axis(position: int, length: int, features: int, channel: int) -> float:
        angle = (position + 1) / (length + 1e-6) * 2 * math.pi / 10000 ** (2 * (channel // 2) / features)
        return math.cos(angle) if channel % 2 else math.sin(angle)

    for t, c, y, x in np.ndindex(*encoding.shape):
        half = channels // 2
        plane = axis(y, height, half, c) if c < half else axis(x, width, half, c - half)
        expected = plane + axis(t, num_frames, channels, c)
        assert float(encoding[t, c, y, x]) == pytest.approx(expected, abs=1e-5)


def test_one_frame_with_time_is_not_the_image_encoding():
    assert not torch.equal(sine_position_encoding((4, 5), 16, num_frames=1), sine_position_encoding((4, 5), 16))


def test_channels_must_split_into_sines_and_cosines():
    with pytest.raises(ValueError, match="multiple of 4"):
        sine_position_encoding((4, 5), 18)
