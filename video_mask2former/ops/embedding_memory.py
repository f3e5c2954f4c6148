"""How an embedding that stands for a track moves when the track is seen again."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def guided_by_similarity(memory: Tensor, earlier: Tensor, new: Tensor) -> Tensor:
    """Move a memory towards a new embedding, by the mean cosine of that with the earlier ones, never away from it.

    CTVIS (arXiv:2307.12616): a frame on which an object is hidden or blurred does not spoil its memory. Tracking and
    training use the same rule.

    Args:
        memory: ``(C,)``.
        earlier: Embeddings before, ``(N, C)``.
        new: ``(C,)``.
    """
    share = F.cosine_similarity(new[None], earlier).mean().clamp(min=0)
    return (1 - share) * memory + share * new
