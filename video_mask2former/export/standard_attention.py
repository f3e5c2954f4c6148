"""Deformable attention in operators that every runtime has."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def standard_ms_deform_attn(
    value: Tensor, spatial_shapes: Sequence[int], sampling_locations: Tensor, attention_weights: Tensor
) -> Tensor:
    """What ``video_mask2former::ms_deform_attn`` computes, by one ``grid_sample`` a level.

    It is slower and takes more memory than the operator, and it can be exported: sizes may be symbolic, and nothing is
    written in place.

    Args:
        value: Features of all levels, ``(N, S, M, D)``.
        spatial_shapes: h and w of each of the L levels, one after the other.
        sampling_locations: ``(N, Lq, M, L, P, 2)`` as (x, y) in [0, 1].
        attention_weights: ``(N, Lq, M, L, P)``.

    Returns:
        ``(N, Lq, M * D)``.
    """
    num_frames, _, num_heads, dim = value.shape
    num_locations = sampling_locations.shape[1]
    grids = (2.0 * sampling_locations - 1.0).permute(0, 2, 3, 1, 4, 5)  # (N, M, L, Lq, P, 2)
    weights = attention_weights.permute(0, 2, 3, 1, 4)  # (N, M, L, Lq, P)
    parts, start = [], 0
    for level in range(len(spatial_shapes) // 2):
        height, width = spatial_shapes[2 * level], spatial_shapes[2 * level + 1]
        features = value[:, start : start + height * width].permute(0, 2, 3, 1)
        features = features.reshape(num_frames * num_heads, dim, height, width)
        start = start + height * width
        sampled = F.grid_sample(features, grids[:, :, level].flatten(0, 1), align_corners=False)  # (N * M, D, Lq, P)
        parts.append((sampled * weights[:, :, level].flatten(0, 1)[:, None]).sum(dim=-1))
    attended = torch.stack(parts).sum(dim=0)  # (N * M, D, Lq)
    return attended.reshape(num_frames, num_heads * dim, num_locations).transpose(1, 2)
