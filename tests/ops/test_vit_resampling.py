"""Resampling of patch kernels and positions against the published DINOv2 loading."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from video_mask2former.ops.vit_resampling import resample_patch_kernel, resample_positions


def drawn(figures) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    rng = np.random.Generator(np.random.PCG64(json.loads(str(figures["meta"]))["seed"]))
    shapes = ((2, 3, 14, 14), (1, 1370, 6), (1, 1, 6))
    return tuple(torch.from_numpy(rng.standard_normal(shape)).float() for shape in shapes)


def test_kernels_and_positions_are_resampled_as_published(golden):
    figures = golden("dinov2_resample")
    kernel, positions, _ = drawn(figures)
    np.testing.assert_allclose(resample_patch_kernel(kernel, 16), figures["patch14_to_16"], atol=1e-5)
    positions = positions[:, 1:]
    on_40 = resample_positions(positions, (37, 37), (40, 40))
    np.testing.assert_allclose(on_40[0].unflatten(0, (40, 40))[::3, ::3], figures["pos37_to_40"], atol=1e-5)
    on_4x6 = resample_positions(positions, (37, 37), (4, 6))
    np.testing.assert_allclose(on_4x6[0].unflatten(0, (4, 6)), figures["pos37_to_4x6"], atol=1e-5)
    in_two_steps = resample_positions(on_40, (40, 40), (4, 6))
    np.testing.assert_allclose(in_two_steps[0].unflatten(0, (4, 6)), figures["pos40_to_4x6"], atol=1e-5)


def test_the_same_size_changes_nothing(golden):
    kernel, positions, _ = drawn(golden("dinov2_resample"))
    assert resample_patch_kernel(kernel, 14) is kernel
    assert resample_positions(positions[:, 1:], (37, 37), (37, 37)).equal(positions[:, 1:])


def test_positions_must_have_their_grid():
    with pytest.raises(ValueError, match="4 x 6 positions, got 25"):
        resample_positions(torch.zeros(1, 25, 2), (4, 6), (8, 8))
