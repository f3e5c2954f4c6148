"""Clip-level instance matching: one assignment of queries to instances per clip (DETR, arXiv:2005.12872)."""

from __future__ import annotations

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from video_mask2former.losses.mask_losses import pairwise_dice, pairwise_sigmoid_cross_entropy

# Stands in for a cost that is not finite: worse than any real one, and still a number to the solver.
_FORBIDDEN_COST = 1e6


class HungarianMatcher:
    """Assign each instance of a clip the query that predicts it best.

    Args:
        class_weight: Of minus the probability of the instance's class.
        mask_weight: Of the binary cross-entropy over all sampled points of all frames.
        dice_weight: Of the dice loss over the same points.
    """

    def __init__(self, class_weight: float = 2.0, mask_weight: float = 5.0, dice_weight: float = 5.0) -> None:
        if min(class_weight, mask_weight, dice_weight) < 0 or class_weight + mask_weight + dice_weight == 0:
            raise ValueError(
                "cost weights must not be negative and not all be zero, got "
                f"{class_weight = }, {mask_weight = }, {dice_weight = }."
            )
        self.class_weight = class_weight
        self.mask_weight = mask_weight
        self.dice_weight = dice_weight

    @torch.no_grad()
    def cost(self, class_logits: Tensor, point_logits: Tensor, labels: Tensor, point_targets: Tensor) -> Tensor:
        """Cost of giving each query to each instance of one clip.

        Args:
            class_logits: ``(Q, K + 1)``.
            point_logits: Mask logits at the sampled points of all frames, ``(Q, T * P)``.
            labels: ``(N,)``.
            point_targets: Target masks at the same points, in [0, 1], ``(N, T * P)``.

        Returns:
            ``(Q, N)``.
        """
        point_targets = point_targets.to(point_logits.dtype)
        class_cost = -class_logits.softmax(dim=1)[:, labels]
        return (
            self.class_weight * class_cost
            + self.mask_weight * self.mask_cost(point_logits, point_targets)
            + self.dice_weight * pairwise_dice(point_logits, point_targets)
        )

    def mask_cost(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Mean binary cross-entropy of every prediction with every target: ``(Q, P)``, ``(N, P)`` to ``(Q, N)``."""
        return pairwise_sigmoid_cross_entropy(logits, targets)

    def __call__(
        self, class_logits: Tensor, point_logits: Tensor, labels: Tensor, point_targets: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Match one clip; arguments as in :meth:`cost`.

        Returns:
            The matched queries in rising order and the instance of each, both ``(min(Q, N),)`` int64.
        """
        return assign(self.cost(class_logits, point_logits, labels, point_targets))


def assign(cost: Tensor) -> tuple[Tensor, Tensor]:
    """Minimum-cost assignment; costs that are not finite count as worse than any other and cannot crash it.

    Args:
        cost: ``(Q, N)``.

    Returns:
        Row and column of each pair, rows rising, both ``(min(Q, N),)`` int64 on the device of ``cost``.
    """
    finite = np.nan_to_num(
        cost.detach().cpu().numpy().astype(np.float64),
        nan=_FORBIDDEN_COST,
        posinf=_FORBIDDEN_COST,
        neginf=_FORBIDDEN_COST,
    )
    rows, columns = linear_sum_assignment(finite.clip(-_FORBIDDEN_COST, _FORBIDDEN_COST))
    return torch.from_numpy(rows).to(cost.device), torch.from_numpy(columns).to(cost.device)
