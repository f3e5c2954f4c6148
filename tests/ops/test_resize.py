"""Frame resizing: the published size rule, and PIL's bilinear filter."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from video_mask2former.ops.resize import fit_short_side, resize_frames


@pytest.mark.parametrize(
    ("size", "short_side", "max_side", "expected"),
    [
        ((720, 1280), 360, 1333, (360, 640)),
        ((1280, 720), 360, 1333, (640, 360)),
        ((480, 854), 360, 1333, (360, 641)),  # 640.5 is rounded up
        ((100, 1000), 360, 1333, (133, 1333)),  # the long side decides
        ((64, 64), 480, 1333, (480, 480)),
        ((1, 5000), 360, 1333, (1, 1333)),  # never zero
    ],
)
def test_fit_short_side_follows_the_published_rule(
    size: tuple[int, int], short_side: int, max_side: int, expected: tuple[int, int]
) -> None:
    assert fit_short_side(size, short_side, max_side) == expected


def test_fit_short_side_rejects_empty_sizes() -> None:
    with pytest.raises(ValueError, match="at least 1 pixel"):
        fit_short_side((0, 10), 360, 1333)


def _filter_matrix(source: int, target: int) -> np.ndarray:
    """PIL's definition of the bilinear filter: a triangle as wide as the scale, normalised, cut at the border."""
    scale = source / target
    support = max(scale, 1.0)
    rows = []
    for index in range(target):
        centre = (index + 0.5) * scale
        distance = np.abs((np.arange(source) + 0.5 - centre) / support)
        weights = np.maximum(0.0, 1.0 - distance)
        rows.append(weights / weights.sum())
    return np.stack(rows)


@pytest.mark.parametrize("size", [(18, 32), (45, 80), (97, 33)])
def test_resize_is_pils_bilinear_to_one_grey_level(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (2, 3, 50, 71), dtype=np.uint8)
    rows, columns = _filter_matrix(50, size[0]), _filter_matrix(71, size[1])
    expected = np.einsum("yh,tchw,xw->tcyx", rows, frames.astype(float), columns)

    for memory_format in (torch.contiguous_format, torch.channels_last):
        resized = resize_frames(torch.from_numpy(frames).contiguous(memory_format=memory_format), size)
        assert resized.dtype == torch.uint8
        assert resized.shape == (2, 3, *size)
        # fixed-point weights and two roundings
        assert np.abs(resized.numpy() - expected).max() < 1.6


def test_resize_in_float_is_exact() -> None:
    frames = torch.rand(1, 3, 40, 60, dtype=torch.float64)
    expected = np.einsum("yh,tchw,xw->tcyx", _filter_matrix(40, 13), frames.numpy(), _filter_matrix(60, 90))
    np.testing.assert_allclose(resize_frames(frames, (13, 90)).numpy(), expected, atol=1e-12)


def test_resize_to_the_same_size_returns_the_frames() -> None:
    frames = torch.zeros(1, 3, 8, 9, dtype=torch.uint8)
    assert resize_frames(frames, (8, 9)) is frames


def test_resize_rejects_a_single_frame() -> None:
    with pytest.raises(ValueError, match=r"\(T, 3, H, W\)"):
        resize_frames(torch.zeros(3, 8, 9, dtype=torch.uint8), (4, 4))
