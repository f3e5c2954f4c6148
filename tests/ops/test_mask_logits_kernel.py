"""Masks straight from small logits are those of the two resizes, but where a logit is zero up to rounding."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from video_mask2former.mask_logits import MaskLogits
from video_mask2former.rle import Rle, decode_rle, reference
from video_mask2former.rle.kernels import RleKernels
from video_mask2former.tasks import mask_encoding
from video_mask2former.tasks.mask_encoding import MaskGeometry, encode_clip_masks


def exact_logits(logits: np.ndarray, geometry: MaskGeometry) -> np.ndarray:
    """The two resizes in float64."""
    small = torch.from_numpy(logits.astype(np.float64))[None]
    padded = F.interpolate(small, size=geometry.padded_size, mode="bilinear", align_corners=False)
    kept = padded[..., : geometry.frame_size[0], : geometry.frame_size[1]]
    return F.interpolate(kept, size=geometry.output_size, mode="bilinear", align_corners=False)[0].numpy()


def check(kernels: RleKernels, logits: np.ndarray, geometry: MaskGeometry) -> list[Rle | None]:
    """Compare every pixel whose logit is not zero up to rounding; such are few."""
    sizes = (geometry.padded_size, geometry.frame_size, geometry.output_size)
    found = kernels.encode_logits(logits, *sizes, num_threads=2)
    assert found == kernels.encode_logits(logits, *sizes, num_threads=1)
    expected = exact_logits(logits, geometry)
    for rle, exact, own in zip(found, expected, logits, strict=True):
        mask = np.zeros(geometry.output_size, bool) if rle is None else decode_rle(rle)
        assert rle is None or rle == reference.encode_masks(mask[None])[0], "as pycocotools writes it"
        assert (rle is None) == (not mask.any())
        is_certain = np.abs(exact) > 2e-6 * np.abs(own).max()
        assert np.array_equal(mask[is_certain], exact[is_certain] > 0)
        if np.abs(own).max() > 0 and (own < 0).any():
            assert is_certain.mean() > 0.9 or exact.size < 50
    return found


side = st.integers(1, 23)


@settings(max_examples=80, deadline=None)
@given(side, side, st.sampled_from([1, 2, 4, 0]), st.data(), st.integers(0, 2**32 - 1))
def test_masks_are_those_of_the_two_resizes(kernels: RleKernels, height, width, stride, data, seed) -> None:
    """Whatever the sizes, larger or smaller; a stride of 0 is any padded size."""
    padded = (
        (stride * height, stride * width) if stride else (data.draw(st.integers(1, 60)), data.draw(st.integers(1, 60)))
    )
    frame = tuple(data.draw(st.integers(1, size)) for size in padded)
    output = data.draw(st.one_of(st.just(frame), st.just(padded), st.tuples(st.integers(1, 90), st.integers(1, 90))))
    rng = np.random.default_rng(seed)
    logits = rng.standard_normal((3, height, width)) * 10.0 ** rng.integers(-3, 4, (3, 1, 1))
    logits[1] += 2.0 * np.abs(logits[1]).max() * rng.choice([-1, 1])  # full or empty
    check(kernels, logits.astype(np.float32), MaskGeometry(padded, frame, output))


def smooth(num_masks: int, height: int, width: int, seed: int) -> np.ndarray:
    """Logits as models have them: blobs with soft borders."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width]
    centres = rng.random((num_masks, 2, 1, 1)) * [[[height]], [[width]]]
    distance = np.hypot(rows - centres[:, 0], columns - centres[:, 1])
    noise = rng.standard_normal((num_masks, height, width))
    return (8.0 - distance + 0.5 * noise).astype(np.float32)


@pytest.mark.parametrize("output", [(720, 1280), (360, 640), (97, 333)])
def test_masks_of_video_frames(kernels: RleKernels, output) -> None:
    found = check(kernels, smooth(4, 96, 160, 0), MaskGeometry((384, 640), (360, 640), output))
    assert sum(rle is not None for rle in found) == 4


def test_ties_and_constant_logits(kernels: RleKernels) -> None:
    geometry = MaskGeometry((8, 8), (8, 8), (8, 8))
    zero, minus = np.zeros((1, 2, 2), np.float32), np.full((1, 2, 2), -1.0, np.float32)
    assert kernels.encode_logits(zero, (8, 8), (8, 8), (8, 8)) == [None]
    assert kernels.encode_logits(minus, (8, 8), (8, 8), (8, 8)) == [None]
    [full] = kernels.encode_logits(-minus, (8, 8), (8, 8), (8, 8))
    assert full is not None and decode_rle(full).all()
    [half] = check(kernels, np.array([[[1, -1], [1, -1]]], np.float32), geometry)
    assert half is not None and np.array_equal(decode_rle(half), np.tile(np.arange(8) < 4, (8, 1)))
    assert kernels.encode_logits(np.zeros((0, 2, 2), np.float32), (8, 8), (8, 8), (8, 8)) == []


def test_counts_that_do_not_fit_at_first(kernels: RleKernels) -> None:
    noise = np.random.default_rng(0).standard_normal((2, 200, 200)).astype(np.float32)
    found = kernels.encode_logits(noise, (200, 200), (200, 200), (200, 200))
    assert found == reference.encode_masks(noise > 0)


def test_wrong_sizes_are_refused(kernels: RleKernels) -> None:
    logits = np.ones((1, 2, 2), np.float32)
    for sizes in (((8, 8), (9, 8), (8, 8)), ((8, 8), (8, 8), (0, 8)), ((8, 8), (0, 8), (8, 8))):
        with pytest.raises(ValueError, match="sizes must be positive, and frame_size lie in padded_size"):
            kernels.encode_logits(logits, *sizes)
    with pytest.raises(ValueError, match="may have up to"):
        kernels.encode_logits(logits, (8, 8), (8, 8), (2**20, 2**20))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_it_is_the_kernel_that_encodes_clips(dtype, monkeypatch) -> None:
    if mask_encoding.kernels() is None:
        pytest.skip("no compiled kernels")
    logits = torch.from_numpy(smooth(3, 24, 40, 1))[None, :, None].repeat(1, 1, 2, 1, 1).to(dtype)
    geometry = MaskGeometry((96, 160), (90, 160), (180, 320))
    found = list(encode_clip_masks(MaskLogits.from_dense(logits), geometry))
    monkeypatch.setattr(mask_encoding, "kernels", lambda: None)
    expected = list(encode_clip_masks(MaskLogits.from_dense(logits), geometry))
    for rles, others in zip(found, expected, strict=True):
        for rle, other in zip(rles, others, strict=True):
            assert (decode_rle(rle) != decode_rle(other)).mean() < 1e-5
    monkeypatch.setattr(mask_encoding, "_upsample_each", None)
    with pytest.raises(TypeError):
        list(encode_clip_masks(MaskLogits.from_dense(logits), geometry))
