from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from video_mask2former.data.color_jitter import ColorJitter, color_matrix, transform_colors
from video_mask2former.structures import ClipTarget

TARGET = ClipTarget(torch.zeros(0, dtype=torch.int64), torch.zeros(0, 2, 8, 9, dtype=torch.bool))


def frames_of(*colors: tuple[int, int, int]) -> torch.Tensor:
    return torch.tensor(colors, dtype=torch.uint8).T.reshape(1, 3, 1, -1)


def test_neutral_settings_change_nothing() -> None:
    frames = torch.randint(0, 256, (2, 3, 8, 9), dtype=torch.uint8)
    assert torch.equal(transform_colors(frames, color_matrix(0, 1, 1, 0)), frames)
    changed, target = ColorJitter(0, 0, 0, 0)(frames, TARGET, np.random.default_rng(0))
    assert torch.equal(changed, frames) and target is TARGET


def test_brightness_and_contrast() -> None:
    frames = frames_of((100, 150, 200), (250, 5, 128))
    assert transform_colors(frames, color_matrix(10, 1, 1, 0)).flatten().tolist() == [110, 255, 160, 15, 210, 138]
    halved = transform_colors(frames, color_matrix(0, 0.5, 1, 0)).float()
    torch.testing.assert_close(halved, 127.5 + 0.5 * (frames.float() - 127.5), atol=0.51, rtol=0)


def test_no_saturation_is_the_luminance() -> None:
    frames = frames_of((200, 40, 90))
    grey = transform_colors(frames, color_matrix(0, 1, 0, 0)).flatten().tolist()
    assert grey == [round(0.299 * 200 + 0.587 * 40 + 0.114 * 90)] * 3


def test_hue_keeps_grey_and_luminance() -> None:
    matrix = color_matrix(0, 1, 1, math.radians(40))
    np.testing.assert_allclose(matrix @ [90, 90, 90, 1], [90, 90, 90], atol=1e-3)
    color = np.array([200, 40, 90])
    turned = matrix @ [*color, 1]
    weights = [0.299, 0.587, 0.114]
    assert weights @ turned == pytest.approx(weights @ color, abs=1e-3)
    assert np.abs(turned - color).max() > 20


def test_a_clip_changes_as_a_whole_and_the_seed_decides() -> None:
    frames = torch.randint(0, 256, (1, 3, 8, 9), dtype=torch.uint8).expand(2, -1, -1, -1)
    first, _ = ColorJitter()(frames, TARGET, np.random.default_rng(1))
    second, _ = ColorJitter()(frames, TARGET, np.random.default_rng(1))
    other, _ = ColorJitter()(frames, TARGET, np.random.default_rng(2))
    assert torch.equal(first[0], first[1]) and torch.equal(first, second)
    assert not torch.equal(first, other)
