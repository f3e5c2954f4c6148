"""Noise in what a referring tracker starts a frame from, so that it learns to track (DVIS++, arXiv:2312.13305)."""

from __future__ import annotations

from typing import Literal, TypeAlias

import torch
from torch import Tensor

NoiseKind: TypeAlias = Literal["none", "permute", "blend", "cut"]


class ReferenceNoise:
    """Starts of a frame in which some queries are mixed up, in place of those that were matched by similarity.

    With ``permute`` each track starts from the query of another; with ``blend`` from a weighted mean of its own and
    another's, of a weight drawn per track; with ``cut`` its first channels are its own, and the others another's.

    Args:
        kind: What is done, ``none`` for nothing.
        probability: Chance that a frame is noisy at all.
    """

    def __init__(self, kind: NoiseKind = "none", probability: float = 0.5) -> None:
        if kind not in ("none", "permute", "blend", "cut"):
            raise ValueError(f"noise must be none, permute, blend or cut, got {kind!r}.")
        if not 0.0 <= probability <= 1.0:
            raise ValueError(f"noise_probability must be in [0, 1], got {probability}.")
        self.kind = kind
        self.probability = probability

    def draw(self, queries: Tensor) -> tuple[Tensor, Tensor] | None:
        """The noisy start of one frame, None where it has none.

        Args:
            queries: The segmenter's queries of the frame, ``(B, Q, C)``.

        Returns:
            What each track starts from, ``(B, Q, C)``, and which query that mostly is, ``(B, Q)``.
        """
        if self.kind == "none" or float(torch.rand(())) >= self.probability:
            return None
        batch, num_queries, channels = queries.shape
        device = queries.device
        order = torch.stack([torch.randperm(num_queries) for _ in range(batch)]).to(device)
        if self.kind == "permute":
            return _take(queries, order), order
        if self.kind == "blend":
            return blended(queries, order, torch.rand(batch, num_queries, dtype=queries.dtype).to(device))
        return cut(queries, order, torch.randint(0, channels, (batch, num_queries)).to(device))


def blended(queries: Tensor, order: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted means of each query ``(B, Q, C)`` and that of ``order``; ``weights (B, Q)`` are the query's own."""
    share = weights[..., None]
    own = torch.arange(queries.shape[1], device=queries.device).expand_as(order)
    return share * queries + (1 - share) * _take(queries, order), torch.where(weights >= 0.5, own, order)


def cut(queries: Tensor, order: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
    """Channels below ``first (B, Q)`` of each query, and the others of that of ``order``."""
    channels = queries.shape[2]
    own = torch.arange(queries.shape[1], device=queries.device).expand_as(order)
    is_own = torch.arange(channels, device=queries.device) < first[..., None]
    mixed = torch.where(is_own, queries, _take(queries, order))
    return mixed, torch.where(first < channels // 2, order, own)


def _take(queries: Tensor, order: Tensor) -> Tensor:
    return queries.gather(1, order[..., None].expand_as(queries))
