"""Outputs of a model that was never there: queries, classes and masks by hand."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from video_mask2former.mask_logits import MaskLogits
from video_mask2former.structures import ClipOutput


def make_output(
    embeddings: Tensor,
    class_logits: Tensor,
    masks: Tensor,
    *,
    queries: Tensor | None = None,
    learned: Tensor | None = None,
) -> ClipOutput:
    """One clip.

    Args:
        embeddings: ``(Q, C)``.
        class_logits: ``(Q, K + 1)``.
        masks: Mask logits ``(Q, T, h, w)``.
        queries: Decoder states ``(Q, C)``; the embeddings if None.
        learned: What the decoder started from ``(Q, C)``; there is no auxiliary prediction if None.
    """
    size = (4 * masks.shape[2], 4 * masks.shape[3])
    mask_logits = MaskLogits.from_dense(masks[None])

    def output(states: Tensor, auxiliary: tuple[ClipOutput, ...] = ()) -> ClipOutput:
        return ClipOutput(class_logits[None], mask_logits, embeddings[None], states[None], size, size, auxiliary)

    states = embeddings if queries is None else queries
    return output(states, () if learned is None else (output(learned),))


def make_objects(
    looks: Tensor,
    present: dict[int, tuple[int, int]],
    *,
    order: list[int] | None = None,
    num_frames: int = 1,
    score: float = 0.9,
    learned: Tensor | None = None,
) -> ClipOutput:
    """One clip of objects as 2 x 2 squares on an 8 x 12 grid.

    Args:
        looks: Embedding of each object, one query each, ``(Q, C)``.
        present: Object to the (row, column) of its square.
        order: Object that each query shows; in order if None.
        num_frames: Frames of the clip, all alike.
        score: Probability of the class (0 for all) of those present; of "no object" for the others.
        learned: See :func:`make_output`.
    """
    masks = torch.full((len(looks), num_frames, 8, 12), -5.0, dtype=looks.dtype)
    probabilities = torch.full((len(looks), 3), (1 - score) / 2, dtype=looks.dtype)
    for thing in range(len(looks)):
        if thing in present:
            row, column = present[thing]
            masks[thing, :, row : row + 2, column : column + 2] = 5.0
        probabilities[thing, 0 if thing in present else 2] = score
    chosen = torch.tensor(order if order is not None else range(len(looks)))
    return make_output(looks[chosen], probabilities.log()[chosen], masks[chosen], learned=learned)


@pytest.fixture
def output_maker() -> Callable[..., ClipOutput]:
    """:func:`make_output`."""
    return make_output


@pytest.fixture
def object_maker() -> Callable[..., ClipOutput]:
    """:func:`make_objects`."""
    return make_objects


@pytest.fixture
def looks() -> Tensor:
    """Embeddings of six objects, with a large part that all share."""
    generator = torch.Generator().manual_seed(3)
    return torch.randn(6, 16, generator=generator) + 3 * torch.randn(1, 16, generator=generator)
