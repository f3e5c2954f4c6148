"""What the arguments of multi-scale deformable attention must look like."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def computed_in(value: Tensor) -> torch.dtype:
    """The dtype of locations, weights and sums: float64 for float64 values, float32 for all others.

    Half precision would place a point no better than a pixel on a map 256 pixels wide.
    """
    return torch.float64 if value.dtype == torch.float64 else torch.float32


def flat_shapes(spatial_shapes: Sequence[tuple[int, int]] | Tensor) -> list[int]:
    """``[h0, w0, h1, w1, ...]`` from pairs or an ``(L, 2)`` tensor."""
    if isinstance(spatial_shapes, Tensor):
        if spatial_shapes.ndim != 2 or spatial_shapes.is_floating_point():
            raise ValueError(
                "spatial_shapes must be (h, w) pairs or an (L, 2) integer tensor, got a tensor "
                f"{tuple(spatial_shapes.shape)} {spatial_shapes.dtype}."
            )
        spatial_shapes = spatial_shapes.tolist()
    if any(isinstance(pair, (int, float)) or len(pair) != 2 for pair in spatial_shapes) or any(
        isinstance(size, float) for pair in spatial_shapes for size in pair
    ):
        raise ValueError(f"spatial_shapes must be (h, w) pairs of ints, got {spatial_shapes}.")
    return [size for pair in spatial_shapes for size in pair]


def check_arguments(
    value: Tensor, spatial_shapes: Sequence[int], sampling_locations: Tensor, attention_weights: Tensor
) -> None:
    """Raise a ValueError or TypeError that names what does not fit; ``spatial_shapes`` is flat."""
    tensors = {"value": value, "sampling_locations": sampling_locations, "attention_weights": attention_weights}
    for name, tensor in tensors.items():
        if not tensor.is_floating_point():
            raise TypeError(f"{name} must be of floats, got {tensor.dtype}. Convert it with .float().")
        if tensor.device != value.device:
            raise ValueError(f"{name} is on {tensor.device} but value is on {value.device}; move them to one device.")
    if value.ndim != 4:
        raise ValueError(
            f"value must be (N, S, M, D), got {tuple(value.shape)}. Split the channels into heads with unflatten."
        )
    pairs = list(zip(spatial_shapes[0::2], spatial_shapes[1::2], strict=True))
    num_pixels = sum(h * w for h, w in pairs)
    if any(size < 0 for size in spatial_shapes) or num_pixels != value.shape[1]:
        raise ValueError(
            f"spatial_shapes must be (h, w) pairs with h * w summing to S = {value.shape[1]} of value, got {pairs}, "
            f"which sum to {num_pixels}."
        )
    N, _, M, _ = value.shape
    L = len(pairs)
    shape = sampling_locations.shape
    if len(shape) != 6 or (shape[0], shape[2], shape[3], shape[5]) != (N, M, L, 2):
        raise ValueError(
            f"sampling_locations must be (N, Lq, M, L, P, 2) with (N, M) = {(N, M)} as in value and L = {L} as in "
            f"spatial_shapes, got {tuple(shape)}."
        )
    if attention_weights.shape != shape[:5]:
        raise ValueError(
            "attention_weights must be (N, Lq, M, L, P) as in sampling_locations, "
            f"{tuple(shape[:5])}, got {tuple(attention_weights.shape)}."
        )
