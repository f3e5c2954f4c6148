"""Losses of masks on points or pixels: pairwise for matching, row by row for training."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def pairwise_sigmoid_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean binary cross-entropy of every prediction with every target.

    Args:
        logits: ``(Q, P)``.
        targets: In [0, 1], ``(N, P)``.

    Returns:
        ``(Q, N)``.
    """
    # softplus(-x) t + softplus(x) (1 - t) = softplus(x) - x t
    return (F.softplus(logits).sum(dim=1, keepdim=True) - logits @ targets.T) / max(logits.shape[1], 1)


def pairwise_dice(logits: Tensor, targets: Tensor) -> Tensor:
    """One minus the dice coefficient of every prediction with every target, smoothed by 1; shapes as above."""
    masks = logits.sigmoid()
    overlap = 2 * (masks @ targets.T)
    total = masks.sum(dim=1)[:, None] + targets.sum(dim=1)[None]
    return 1 - (overlap + 1) / (total + 1)


def pairwise_sigmoid_focal(logits: Tensor, targets: Tensor, alpha: float = 0.25, gamma: float = 2.0) -> Tensor:
    """Mean focal loss (arXiv:1708.02002) of every prediction with every target; shapes as above.

    ``alpha`` weighs foreground against background, ``gamma`` says how much easy pixels are left out.
    """
    probabilities = logits.sigmoid()
    foreground = alpha * (1 - probabilities) ** gamma * F.softplus(-logits)
    background = (1 - alpha) * probabilities**gamma * F.softplus(logits)
    return (foreground @ targets.T + background @ (1 - targets).T) / max(logits.shape[1], 1)


def sigmoid_cross_entropy(logits: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
    """Mean binary cross-entropy of each row, weighted where weights are given: ``(R, P)`` all to ``(R,)``."""
    return _row_means(F.binary_cross_entropy_with_logits(logits, targets, reduction="none"), weights)


def sigmoid_focal(
    logits: Tensor, targets: Tensor, weights: Tensor | None = None, *, alpha: float = 0.25, gamma: float = 2.0
) -> Tensor:
    """Mean focal loss of each row, weighted where weights are given: ``(R, P)`` all to ``(R,)``."""
    probabilities = logits.sigmoid()
    wrong = probabilities * (1 - targets) + (1 - probabilities) * targets
    balance = alpha * targets + (1 - alpha) * (1 - targets)
    entropy = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    return _row_means(balance * wrong**gamma * entropy, weights)


def dice(logits: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
    """One minus the dice coefficient of each row, smoothed by 1; shapes as above."""
    masks = logits.sigmoid()
    if weights is not None:
        masks, targets = masks * weights, targets * weights
    overlap = 2 * (masks * targets).sum(dim=1)
    return 1 - (overlap + 1) / (masks.sum(dim=1) + targets.sum(dim=1) + 1)


def _row_means(losses: Tensor, weights: Tensor | None) -> Tensor:
    if weights is None:
        return losses.mean(dim=1)
    return (losses * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)
