"""Sine positional encodings over (x, y) and (x, y, t) (DETR, arXiv:2005.12872; video: arXiv:2112.10764)."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def sine_position_encoding(
    size: tuple[int, int],
    num_channels: int,
    *,
    num_frames: int | None = None,
    temperature: float = 10000.0,
    device: torch.device | None = None,
) -> Tensor:
    """Encode each position of a feature map as sines and cosines.

    Positions count from 1 and are normalised to 2 pi. The first half of the channels encodes y, the second x. With
    ``num_frames`` an encoding of t over all channels is added (the published video model); without, there is none
    (the published image model), which differs from one frame.

    Args:
        size: Height and width of the map.
        num_channels: Channels of the encoding; a multiple of 4.
        num_frames: T, or None for an encoding without time.
        temperature: Base of the geometric progression of wavelengths.
        device: Where the encoding is made.

    Returns:
        ``(1, C, h, w)`` without time, ``(T, C, h, w)`` with it; float32 always, as published.
    """
    if num_channels % 4:
        raise ValueError(f"num_channels must be a multiple of 4 (sine and cosine of x and of y), got {num_channels}.")
    height, width = size
    half = num_channels // 2
    y = _encode_axis(height, half, temperature, device)  # (h, C / 2)
    x = _encode_axis(width, half, temperature, device)  # (w, C / 2)
    plane = torch.cat((y[:, None].expand(-1, width, -1), x[None].expand(height, -1, -1)), dim=2)
    plane = plane.permute(2, 0, 1)[None]
    if num_frames is None:
        return plane
    t = sine_time_encoding(num_frames, num_channels, temperature=temperature, device=device)
    return plane + t[:, :, None, None]


def sine_time_encoding(
    num_frames: int, num_channels: int, *, temperature: float = 10000.0, device: torch.device | None = None
) -> Tensor:
    """The part of the (x, y, t) encoding that depends on t, ``(T, C)``; arguments as above."""
    return _encode_axis(num_frames, num_channels, temperature, device)


def _encode_axis(length: int, num_channels: int, temperature: float, device: torch.device | None) -> Tensor:
    """``(length, num_channels)``: sine and cosine alternate over the channels."""
    position = torch.arange(1, length + 1, dtype=torch.float32, device=device)
    position = position / (length + 1e-6) * (2 * math.pi)
    pair = torch.arange(num_channels // 2, dtype=torch.float32, device=device)
    angle = position[:, None] / temperature ** (2 * pair / num_channels)
    return torch.stack((angle.sin(), angle.cos()), dim=2).flatten(1)
