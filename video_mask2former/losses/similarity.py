"""Embeddings of one object are to be alike, of different objects unlike (VITA, arXiv:2206.04403, section 3.3)."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor


def similarity_loss(groups: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """Binary cross-entropy of dot products with being the same object; mean over all ordered pairs within each group.

    An embedding makes a pair with itself, too.

    Args:
        groups: Embeddings ``(M, C)`` and the object that each belongs to, ``(M,)``; one group or more.
    """
    total = groups[0][0].new_zeros(())
    num_pairs = 0
    for embeddings, objects in groups:
        is_same = (objects[:, None] == objects[None]).to(embeddings.dtype)
        logits = embeddings @ embeddings.T
        total = total + F.binary_cross_entropy_with_logits(logits, is_same, reduction="sum")
        num_pairs += is_same.numel()
    return total / (num_pairs + 1e-6)
