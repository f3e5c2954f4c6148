"""Multi-scale deformable attention (Deformable DETR, arXiv:2010.04159) in plain torch, forward and backward.

This is the definition that the compiled kernels are tested against, and what serves where they are not built. It runs
on every device and dtype that ``grid_sample`` knows; half precision is computed in float32.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from video_mask2former.ops.ms_deform_attn_arguments import computed_in


def ms_deform_attn_forward(
    value: Tensor, spatial_shapes: Sequence[int], sampling_locations: Tensor, attention_weights: Tensor
) -> Tensor:
    """Sum of attention-weighted bilinear samples over levels and points.

    Args:
        value: ``(N, S, M, D)``.
        spatial_shapes: ``[h0, w0, h1, w1, ...]``.
        sampling_locations: ``(N, Lq, M, L, P, 2)`` as (x, y), in the dtype that :func:`computed_in` gives.
        attention_weights: ``(N, Lq, M, L, P)``, in the same dtype.

    Returns:
        ``(N, Lq, M * D)`` in the dtype of ``value``.
    """
    N, _, M, D = value.shape
    Lq = sampling_locations.shape[1]
    output = value.new_zeros(N * M, D, Lq, dtype=computed_in(value))
    for level, start, h, w in _sampled_levels(value, spatial_shapes, attention_weights):
        maps = _level_maps(value, start, h, w)
        sampled = F.grid_sample(maps, _level_grid(sampling_locations, level), align_corners=False)  # (N*M, D, Lq, P)
        output += (sampled * _level_weights(attention_weights, level)).sum(dim=3)
    heads = output.reshape(N, M, D, Lq).permute(0, 3, 1, 2).to(value.dtype)
    return heads.contiguous().reshape(N, Lq, M * D)


def ms_deform_attn_backward(
    grad_output: Tensor,
    value: Tensor,
    spatial_shapes: Sequence[int],
    sampling_locations: Tensor,
    attention_weights: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of :func:`ms_deform_attn_forward` for value, locations and weights, each shaped and typed as its own.

    Args:
        grad_output: ``(N, Lq, M * D)``.
        value: As in the forward function, like the other arguments.
    """
    N, S, M, D = value.shape
    Lq = sampling_locations.shape[1]
    dtype = computed_in(value)
    grad_heads = grad_output.to(dtype).reshape(N, Lq, M, D).permute(0, 2, 3, 1).reshape(N * M, D, Lq, 1)
    grad_value = value.new_zeros(N, S, M, D, dtype=dtype)
    grad_locations = torch.zeros_like(sampling_locations, memory_format=torch.contiguous_format)
    grad_weights = torch.zeros_like(attention_weights, memory_format=torch.contiguous_format)
    for level, start, h, w in _sampled_levels(value, spatial_shapes, attention_weights):
        maps = _level_maps(value, start, h, w)
        grid = _level_grid(sampling_locations, level)
        sampled = F.grid_sample(maps, grid, align_corners=False)
        grad_weights[:, :, :, level] = (sampled * grad_heads).sum(dim=1).reshape(N, M, Lq, -1).transpose(1, 2)
        grad_sampled = grad_heads * _level_weights(attention_weights, level)
        grad_maps, grad_grid = torch.ops.aten.grid_sampler_2d_backward(
            grad_sampled, maps, grid, 0, 0, False, [True, True]
        )
        grad_value[:, start : start + h * w] = grad_maps.reshape(N, M, D, h * w).permute(0, 3, 1, 2)
        grad_locations[:, :, :, level] = 2.0 * grad_grid.reshape(N, M, Lq, -1, 2).transpose(1, 2)
    return grad_value.to(value.dtype), grad_locations, grad_weights


def _sampled_levels(
    value: Tensor, spatial_shapes: Sequence[int], attention_weights: Tensor
) -> Iterator[tuple[int, int, int, int]]:
    """Index, first row, height and width of each level, without the levels that have no pixels.

    Nothing at all if some other size is zero: all sums are empty then, and ``grid_sample`` would refuse them.
    """
    start = 0
    for level, (h, w) in enumerate(zip(spatial_shapes[0::2], spatial_shapes[1::2], strict=True)):
        if h * w > 0 and value.numel() > 0 and attention_weights.numel() > 0:
            yield level, start, h, w
        start += h * w


def _level_maps(value: Tensor, start: int, h: int, w: int) -> Tensor:
    N, _, M, D = value.shape
    maps = value[:, start : start + h * w].permute(0, 2, 3, 1)  # (N, M, D, h * w)
    return maps.reshape(N * M, D, h, w).to(computed_in(value))


def _level_grid(sampling_locations: Tensor, level: int) -> Tensor:
    """One level's locations as ``grid_sample`` wants them, ``(N * M, Lq, P, 2)`` in [-1, 1].

    Clamped where they are far outside of any map already, so that infinite ones do not turn into NaN, and a NaN
    counts as outside, as in the published kernels.
    """
    locations = sampling_locations[:, :, :, level].transpose(1, 2).flatten(0, 1)
    return 2.0 * locations.nan_to_num(nan=-1.0).clamp(-1.0, 2.0) - 1.0


def _level_weights(attention_weights: Tensor, level: int) -> Tensor:
    return attention_weights[:, :, :, level].transpose(1, 2).flatten(0, 1)[:, None]  # (N * M, 1, Lq, P)
