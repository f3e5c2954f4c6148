"""What an annotation that is not complete says of predictions: "not annotated" is not always "not there".

Two things can be missing (see :class:`~video_mask2former.structures.ClipTarget`): whole classes, and the pixels of
ignored regions. A query without an instance of its own is then judged by the set of classes that it may have. Its loss
is the negative logarithm of their probability together, the marginal loss of arXiv:2007.03868: with complete labels
that set is "no object" alone, and the loss the usual cross-entropy.
"""

from __future__ import annotations

import torch
from torch import Tensor

from video_mask2former.structures import ClipTarget

MOST = 0.5  # share of a predicted mask that decides where the prediction lies


def allow_unlabelled(
    allowed: Tensor, target: ClipTarget, masks: Tensor, instances: Tensor, ignored: Tensor | None
) -> Tensor:
    """Add the classes that unmatched queries may have because the annotation is not complete.

    - A query may be of a class that is not labelled, unless most of its mask lies on annotated instances: then it
      predicts one of them a second time.
    - It may be anything where most of its mask lies in the ignored region.

    Args:
        allowed: The classes of each unmatched query were the annotation complete, ``(Q, K + 1)`` bool.
        target: The annotation.
        masks: Predicted mask of each query, ``(Q, P)`` bool: all its pixels, or some points.
        instances: Whether an annotated instance is there, ``(P,)`` bool.
        ignored: Whether the annotation says nothing there, ``(P,)`` bool; None: nowhere.

    Returns:
        ``(Q, K + 1)`` bool.
    """
    if target.labelled_classes is not None:
        is_unlabelled = torch.ones(allowed.shape[1], dtype=torch.bool, device=allowed.device)
        is_unlabelled[-1] = False
        is_unlabelled[target.labelled_classes] = False
        allowed = allowed | (~_lies_in(masks, instances)[:, None] & is_unlabelled)
    if ignored is not None:
        allowed = allowed | _lies_in(masks, ignored)[:, None]
    return allowed


def marginal_cross_entropy(logits: Tensor, allowed: Tensor) -> Tensor:
    """Negative logarithm of the probability that a query has one of the classes that it may have.

    Args:
        logits: ``(Q, K + 1)``.
        allowed: ``(Q, K + 1)`` bool, at least one in each row.

    Returns:
        ``(Q,)``, zero where every class is allowed.
    """
    probabilities = logits.log_softmax(dim=1).masked_fill(~allowed, -torch.inf).logsumexp(dim=1)
    return -torch.where(allowed.all(dim=1), 0.0, probabilities)


def _lies_in(masks: Tensor, region: Tensor) -> Tensor:
    """Whether most of each mask ``(Q, P)`` lies in a region ``(P,)``; an empty mask lies nowhere."""
    return (masks & region).sum(dim=1) > MOST * masks.sum(dim=1)
