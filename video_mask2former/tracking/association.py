"""Similarity of query embeddings, and one-to-one assignment by it."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor


def cosine_similarity(first: Tensor, second: Tensor) -> Tensor:
    """Cosine of every pair of embeddings, ``(N, C)`` and ``(M, C)`` to ``(N, M)``; 0 where one of them is zero."""
    if first.ndim != 2 or second.ndim != 2 or first.shape[1] != second.shape[1]:
        raise ValueError(f"embeddings must be (N, C) and (M, C), got {tuple(first.shape)} and {tuple(second.shape)}.")
    return F.normalize(first, dim=1) @ F.normalize(second, dim=1).T


def match_queries(previous: Tensor, current: Tensor) -> Tensor:
    """Assign each query of the previous clip one query of the current clip.

    Minimises one minus cosine similarity with the Hungarian algorithm (MinVIS, arXiv:2208.02245).

    Args:
        previous: Query embeddings of the last clip, ``(Q, C)``.
        current: Query embeddings of this clip, ``(Q, C)``.

    Returns:
        Index into ``current`` for every previous query, ``(Q,)`` int64.

    Raises:
        ValueError: If the two shapes differ.
    """
    if previous.shape != current.shape:
        raise ValueError(
            f"previous and current embeddings must have one shape (Q, C), got {tuple(previous.shape)} and "
            f"{tuple(current.shape)}. Were they made by the same model?"
        )
    cost = 1.0 - cosine_similarity(previous, current)
    # A clip whose embeddings are not finite is matched by position rather than crash the assignment
    cost = cost.nan_to_num(nan=2.0, posinf=2.0, neginf=2.0)
    _, columns = linear_sum_assignment(cost.detach().cpu().numpy())
    return torch.from_numpy(columns).to(torch.int64)


def assign_by_gain(gain: Tensor) -> list[tuple[int, int]]:
    """Pair rows with columns one to one so that the sum of gains is largest; a pair without gain is not made.

    Leaving a row or column single counts zero, so one good pair is preferred to two poor ones: an object keeps its
    track although a newcomer would fit that track a little.

    Args:
        gain: ``(N, M)``; zero, negative and non-finite values forbid a pair.

    Returns:
        Pairs (row, column), the greatest gain first.
    """
    values = gain.detach().cpu().double().numpy()
    values = np.where(np.isfinite(values) & (values > 0), values, 0.0)
    rows, columns = linear_sum_assignment(values, maximize=True)
    pairs = [(int(row), int(column)) for row, column in zip(rows, columns, strict=True) if values[row, column] > 0]
    return sorted(pairs, key=lambda pair: -values[pair])
