"""Bilinear sampling of maps at points, and the choice of the points worth sampling (PointRend, arXiv:1912.08193)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def point_sample(maps: Tensor, points_xy: Tensor) -> Tensor:
    """Sample maps bilinearly at points of their own.

    Pixel centres lie at half-integer positions (``align_corners=False``) and everything outside of a map is zero, as
    in ``grid_sample``. Differentiable in both arguments.

    Args:
        maps: ``(N, C, H, W)``.
        points_xy: ``(N, P, 2)`` as (x, y), [0, 1] from edge to edge of the map.

    Returns:
        ``(N, C, P)`` in the wider of the two dtypes: half-precision coordinates could not tell neighbouring pixels
        apart, so half-precision maps are read at float32 points.

    Raises:
        ValueError: If the shapes do not fit each other.
    """
    if maps.ndim != 4 or not maps.is_floating_point() or 0 in maps.shape[2:]:
        raise ValueError(
            f"maps must be (N, C, H, W) of floats with at least one pixel, got {tuple(maps.shape)} {maps.dtype}. "
            "Convert masks with masks[:, None].float()."
        )
    if points_xy.ndim != 3 or points_xy.shape[0] != maps.shape[0] or points_xy.shape[2] != 2:
        raise ValueError(
            f"points_xy must be (N, P, 2) with N = {maps.shape[0]} as in maps, got {tuple(points_xy.shape)}."
        )
    dtype = torch.promote_types(maps.dtype, points_xy.dtype)
    grid = (2.0 * points_xy.to(dtype) - 1.0)[:, :, None]  # (N, P, 1, 2)
    return F.grid_sample(maps.to(dtype), grid, align_corners=False).squeeze(3)


def select_uncertain_points(
    logits: Tensor,
    num_points: int,
    oversample_ratio: float = 3.0,
    importance_sample_ratio: float = 0.75,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Choose points at random, most of them where the prediction is least sure.

    Each row draws ``oversample_ratio * num_points`` uniform candidates, keeps those whose logit is nearest to zero
    until they make up ``importance_sample_ratio`` of its points, and fills the rest with fresh uniform points.

    Args:
        logits: ``(N, 1, H, W)``. No gradient flows through the choice.
        num_points: Points per row, P.
        oversample_ratio: Candidates per point asked for, at least 1.
        importance_sample_ratio: Share of the points chosen for their uncertainty, in [0, 1].
        generator: Source of randomness, of any device; None: torch's default one of the device of ``logits``.

    Returns:
        Points as (x, y) in [0, 1], ``(N, P, 2)``, float64 if ``logits`` is, else float32.

    Raises:
        ValueError: If ``logits`` has another shape or a number is out of range.
    """
    if logits.ndim != 4 or logits.shape[1] != 1:
        raise ValueError(
            f"logits must be (N, 1, H, W), one map per row, got {tuple(logits.shape)}. Fold queries and frames into N."
        )
    if num_points < 1 or oversample_ratio < 1 or not 0 <= importance_sample_ratio <= 1:
        raise ValueError(
            "num_points and oversample_ratio must be at least 1 and importance_sample_ratio in [0, 1], got "
            f"{num_points = }, {oversample_ratio = }, {importance_sample_ratio = }."
        )
    num_rows = logits.shape[0]
    num_candidates = int(num_points * oversample_ratio)
    num_uncertain = int(num_points * importance_sample_ratio)
    with torch.no_grad():
        candidates = _uniform_points(logits, num_rows, num_candidates, generator)
        certainty = point_sample(logits, candidates).squeeze(1).abs()  # (N, candidates)
        chosen = certainty.topk(num_uncertain, dim=1, largest=False, sorted=False).indices
        uncertain = candidates.gather(1, chosen[..., None].expand(-1, -1, 2))
        rest = _uniform_points(logits, num_rows, num_points - num_uncertain, generator)
        return torch.cat([uncertain, rest], dim=1)


def _uniform_points(like: Tensor, num_rows: int, num_points: int, generator: torch.Generator | None) -> Tensor:
    dtype = torch.promote_types(like.dtype, torch.float32)
    device = like.device if generator is None else generator.device
    return torch.rand(num_rows, num_points, 2, generator=generator, dtype=dtype, device=device).to(like.device)
