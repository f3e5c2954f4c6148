"""Resizing frames as PIL does it: bilinear, antialiased when shrinking."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def fit_short_side(size: tuple[int, int], short_side: int, max_side: int) -> tuple[int, int]:
    """Size with the aspect ratio kept, the short side as asked, and the long side at most ``max_side``.

    Args:
        size: Height and width to start from.
        short_side: Wanted length of the short side.
        max_side: Most that the long side may have; where it would have more, both sides shrink.

    Returns:
        Height and width, rounded half up.
    """
    height, width = size
    if min(height, width, short_side, max_side) < 1:
        raise ValueError(f"sides must be at least 1 pixel, got {size = }, {short_side = } and {max_side = }.")
    scale = short_side / min(height, width)
    scaled = [short_side if side == min(height, width) else scale * side for side in (height, width)]
    if max(scaled) > max_side:
        scale = max_side / max(scaled)
        scaled = [side * scale for side in scaled]
    new_height, new_width = (max(1, int(side + 0.5)) for side in scaled)
    return new_height, new_width


def resize_frames(frames: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize frames on the device they are on; the dtype stays.

    On the CPU, uint8 frames take torch's fixed-point kernel, which agrees with PIL to one grey level and is several
    times faster than either PIL or the same in float. Channels-last memory, as decoders deliver frames, is fastest.

    Args:
        frames: ``(T, 3, H, W)``, uint8 or floating point.
        size: Height and width of the result.

    Returns:
        ``(T, 3, *size)``; the frames themselves where they have that size already.
    """
    if frames.ndim != 4:
        raise ValueError(f"frames must be (T, 3, H, W), got {tuple(frames.shape)}.")
    if tuple(frames.shape[2:]) == tuple(size):
        return frames
    if frames.dtype == torch.uint8 and frames.device.type != "cpu":
        resized = F.interpolate(frames.float(), size=size, mode="bilinear", align_corners=False, antialias=True)
        return resized.round_().clamp_(0, 255).to(torch.uint8)
    return F.interpolate(frames, size=size, mode="bilinear", align_corners=False, antialias=True)
