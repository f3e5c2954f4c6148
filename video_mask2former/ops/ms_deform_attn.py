"""Multi-scale deformable attention (Deformable DETR, arXiv:2010.04159) as one torch operator.

The operator ``video_mask2former::ms_deform_attn`` and its backward are defined here with a pure-torch implementation
for every device. Compiled kernels, where they were built, take the CPU and CUDA keys of the dispatcher.

Shapes, besides the legend in ``structures/``::

    S = sum of h * w over the levels   M heads   D channels per head   L levels   P points   Lq queries
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from video_mask2former.kernel_library import loaded, log_reference_in_use
from video_mask2former.ops.ms_deform_attn_arguments import check_arguments, computed_in, flat_shapes
from video_mask2former.ops.ms_deform_attn_kernels import MSDeformAttnKernels
from video_mask2former.ops.ms_deform_attn_reference import ms_deform_attn_backward, ms_deform_attn_forward

_FORWARD = "video_mask2former::ms_deform_attn"
_BACKWARD = "video_mask2former::ms_deform_attn_backward"


def ms_deform_attn(
    value: Tensor,
    spatial_shapes: Sequence[tuple[int, int]] | Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
) -> Tensor:
    """For each query and head, the weighted sum of bilinear samples at its own points on every level.

    Pixel centres lie at half-integer positions and everything outside of a level is zero, as in ``grid_sample`` with
    ``align_corners=False``; infinite and NaN locations count as outside. Sums are taken in float32 (float64 for
    float64 values). Differentiable once in value, locations and weights, in eager and in compiled code.

    Mixed precision: ``value`` alone decides the precision, and autocast changes nothing. Locations and weights are
    brought to float32 (float64) whatever they come in, so hand over float32 locations with bfloat16 or float16
    values: locations rounded to bfloat16 are too coarse.

    Args:
        value: Features of all levels, one after the other, row by row, ``(N, S, M, D)``.
        spatial_shapes: (h, w) of each level. Pairs of ints are best; an ``(L, 2)`` integer tensor is read back to the
            host, which waits for the GPU and breaks the graph under ``torch.compile``.
        sampling_locations: ``(N, Lq, M, L, P, 2)`` as (x, y), [0, 1] from edge to edge of the level.
        attention_weights: ``(N, Lq, M, L, P)``.

    Returns:
        ``(N, Lq, M * D)`` in the dtype of ``value``, head after head.

    Raises:
        ValueError: If the shapes do not fit each other.
        TypeError: If a tensor is not of floats.
    """
    shapes = flat_shapes(spatial_shapes)
    check_arguments(value, shapes, sampling_locations, attention_weights)
    dtype = computed_in(value)
    return torch.ops.video_mask2former.ms_deform_attn(
        value, shapes, sampling_locations.to(dtype), attention_weights.to(dtype)
    )


def _forward_fallback(
    value: Tensor, spatial_shapes: Sequence[int], sampling_locations: Tensor, attention_weights: Tensor
) -> Tensor:
    log_reference_in_use(value.device.type)
    return ms_deform_attn_forward(value, spatial_shapes, sampling_locations, attention_weights)


def _forward_fake(
    value: Tensor, spatial_shapes: Sequence[int], sampling_locations: Tensor, attention_weights: Tensor
) -> Tensor:
    N, _, M, D = value.shape
    return value.new_empty(N, sampling_locations.shape[1], M * D)


def _backward_fake(
    grad_output: Tensor,
    value: Tensor,
    spatial_shapes: Sequence[int],
    sampling_locations: Tensor,
    attention_weights: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    return (
        torch.empty_like(value, memory_format=torch.contiguous_format),
        torch.empty_like(sampling_locations, memory_format=torch.contiguous_format),
        torch.empty_like(attention_weights, memory_format=torch.contiguous_format),
    )


def _save_for_backward(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    value, ctx.spatial_shapes, sampling_locations, attention_weights = inputs
    ctx.save_for_backward(value, sampling_locations, attention_weights)


def _autograd_backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, None, Tensor, Tensor]:
    value, sampling_locations, attention_weights = ctx.saved_tensors
    grad_value, grad_locations, grad_weights = torch.ops.video_mask2former.ms_deform_attn_backward(
        grad_output, value, ctx.spatial_shapes, sampling_locations, attention_weights
    )
    return grad_value, None, grad_locations, grad_weights


def _second_order(ctx: Any, *grad_outputs: Tensor) -> None:
    raise NotImplementedError("ms_deform_attn is differentiable only once; it has no second-order gradient.")


torch.library.define(
    _FORWARD,
    "(Tensor value, SymInt[] spatial_shapes, Tensor sampling_locations, Tensor attention_weights) -> Tensor",
)
torch.library.define(
    _BACKWARD,
    "(Tensor grad_output, Tensor value, SymInt[] spatial_shapes, Tensor sampling_locations, "
    "Tensor attention_weights) -> (Tensor, Tensor, Tensor)",
)
torch.library.impl(_FORWARD, "CompositeExplicitAutograd", _forward_fallback)
torch.library.impl(_BACKWARD, "CompositeExplicitAutograd", ms_deform_attn_backward)
torch.library.register_fake(_FORWARD, _forward_fake)
torch.library.register_fake(_BACKWARD, _backward_fake)
torch.library.register_autograd(_FORWARD, _autograd_backward, setup_context=_save_for_backward)
torch.library.register_autograd(_BACKWARD, _second_order)


def _register_kernels() -> None:
    library, status = loaded()
    if library is None:
        return
    for device_type, version in (("cpu", status.cpu), ("cuda", status.cuda)):
        if version is not None:
            kernels = MSDeformAttnKernels(library, device_type)
            torch.library.impl(_FORWARD, device_type, kernels.forward)
            torch.library.impl(_BACKWARD, device_type, kernels.backward)


_register_kernels()
