"""Which embeddings of a clip should be alike and which should not, and the losses that say so.

An item is an anchor with embeddings of the same object (positives) and of others (negatives). CTVIS (arXiv:2307.12616)
builds its items the way its tracker compares: with a memory of what was before. DVIS++ (arXiv:2312.13305) contrasts
what a tracker refers to from frame to frame, and what a refiner makes of a track over the whole clip.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from video_mask2former.ops.embedding_memory import guided_by_similarity


@dataclass(frozen=True)
class ContrastItem:
    """One comparison.

    Attributes:
        anchor: ``(C,)``.
        positives: Of the same object, ``(P, C)``, at least one.
        negatives: Of others, ``(N, C)``.
    """

    anchor: Tensor
    positives: Tensor
    negatives: Tensor


def contrastive_losses(items: Sequence[ContrastItem], embeddings: Tensor) -> tuple[Tensor, Tensor]:
    """Mean over items of the two losses, unweighted.

    Args:
        items: Comparisons; none gives zeros with a gradient.
        embeddings: What they were made of.

    Returns:
        ``log(1 + sum over n and p of exp(a n - a p))``, and the mean squared difference of cosine and label (1 for
        positives, 0 for negatives), both scalars.
    """
    if not items:
        nothing = 0.0 * embeddings.sum()
        return nothing, nothing
    contrasts, cosines = [], []
    for item in items:
        positive, negative = item.positives @ item.anchor, item.negatives @ item.anchor
        differences = (negative[:, None] - positive[None]).flatten()
        contrasts.append(torch.cat([differences.new_zeros(1), differences]).logsumexp(dim=0))
        cosine = F.cosine_similarity(torch.cat([item.positives, item.negatives]), item.anchor[None])
        labels = torch.zeros_like(cosine)
        labels[: len(item.positives)] = 1
        cosines.append((cosine - labels).square().mean())
    return torch.stack(contrasts).mean(), torch.stack(cosines).mean()


def consecutive_items(
    embeddings: Tensor,
    queries: Tensor,
    *,
    num_negatives: int | None = None,
    memory_probability: float = 0.5,
) -> list[ContrastItem]:
    """CTVIS: each object on each frame against what the tracker would compare it with.

    The positive is the memory of the object or its latest embedding, by chance; of an object that was not there before,
    its next one. The negatives are those of the frame before. As published, an object that appears on frame f has no
    item if it is absent from exactly f of the frames after.

    Args:
        embeddings: Of one clip, ``(T, Q, C)``.
        queries: Query of each object on each frame, -1 where it is absent, ``(N, T)``.
        num_negatives: Negatives of a frame that shows the object; None for all other queries.
        memory_probability: Chance that the positive is the memory.
    """
    banks = [_Bank(embeddings, row.tolist(), num_negatives) for row in queries]
    items = []
    for frame in range(1, embeddings.shape[0]):
        for bank in banks:
            positive = bank.positive(frame, memory_probability)
            if positive is not None:
                items.append(ContrastItem(bank.embedding(frame), positive[None], bank.negatives(frame - 1)))
    return items


class _Bank:
    """One object through a clip.

    Args:
        embeddings: ``(T, Q, C)``.
        queries: Its query on each frame, -1 where it is absent.
        num_negatives: See :func:`consecutive_items`.
    """

    def __init__(self, embeddings: Tensor, queries: list[int], num_negatives: int | None) -> None:
        self._embeddings = embeddings
        self._queries = queries
        self._num_negatives = num_negatives
        self._memories: list[Tensor | None] = []  # up to and including each frame
        earlier: list[Tensor] = []
        memory: Tensor | None = None
        for frame, query in enumerate(queries):
            if query >= 0:
                new = self.embedding(frame)
                memory = new if memory is None else guided_by_similarity(memory, torch.stack(earlier), new)
                earlier.append(new)
            self._memories.append(memory)

    def embedding(self, frame: int) -> Tensor:
        return self._embeddings[frame, self._queries[frame]]

    def positive(self, frame: int, memory_probability: float) -> Tensor | None:
        """What the object on ``frame`` should be like, None where it has no item."""
        if self._queries[frame] < 0:
            return None
        before = [index for index in range(frame) if self._queries[index] >= 0]
        if before:
            memory = self._memories[frame - 1]
            assert memory is not None
            return memory if float(torch.rand(())) < memory_probability else self.embedding(before[-1])
        after = [index for index in range(frame + 1, len(self._queries)) if self._queries[index] >= 0]
        num_absent_after = len(self._queries) - 1 - frame - len(after)
        # Published: compares with the number of frames before, where that of the frames after is meant
        if not after or num_absent_after == frame:
            return None
        return self.embedding(after[0])

    def negatives(self, frame: int) -> Tensor:
        query, embeddings = self._queries[frame], self._embeddings[frame]
        if query < 0:
            return embeddings
        count = len(embeddings) - 1 if self._num_negatives is None else min(self._num_negatives, len(embeddings) - 1)
        others = torch.tensor([index for index in range(count + 1) if index != query], device=embeddings.device)
        if len(others) > count:
            others = others[torch.randperm(len(others), device=others.device)[:count]]
        return embeddings[others]


def reference_items(embeddings: Tensor, queries: Tensor, *, first_anchor_only: bool = True) -> list[ContrastItem]:
    """Key and reference frames: each object on the key frame against all reference frames at once.

    Args:
        embeddings: Of one clip, ``(T, Q, C)``.
        queries: Query of each object on each frame, -1 where it is absent, ``(N, T)``.
        first_anchor_only: The first frame is the key frame; otherwise each is in turn.
    """
    num_frames = embeddings.shape[0]
    items = []
    for key in range(1 if first_anchor_only else num_frames):
        references = [frame for frame in range(num_frames) if frame != key]
        for row in queries.tolist():
            positives = [embeddings[frame, row[frame]] for frame in references if row[frame] >= 0]
            if row[key] < 0 or not positives:
                continue
            negatives = [_without(embeddings[frame], row[frame]) for frame in references]
            items.append(ContrastItem(embeddings[key, row[key]], torch.stack(positives), torch.cat(negatives)))
    return items


def reference_chain_items(references: Tensor, queries: Iterable[int]) -> list[ContrastItem]:
    """DVIS++ online: what a track refers to on a frame, against the frame before and the frame after.

    Args:
        references: Of one clip, ``(T, Q, C)``.
        queries: The tracks that hold an object.
    """
    num_frames = references.shape[0]
    items = []
    for frame in range(1, num_frames):
        neighbours = [frame - 1] if frame == num_frames - 1 else [frame - 1, frame + 1]
        for query in queries:
            for other in neighbours:
                near = references[other]
                items.append(ContrastItem(references[frame, query], near[query, None], _without(near, query)))
    return items


class ClassMemory:
    """Embeddings of objects of each class from earlier clips, at most ``size`` of each.

    Args:
        size: Beyond it, a random choice is kept.
    """

    def __init__(self, size: int = 20) -> None:
        self._size = size
        self._embeddings: dict[int, Tensor] = {}

    def of_class(self, label: int) -> Tensor | None:
        """``(N, C)``, None where there are none."""
        return self._embeddings.get(label)

    def push(self, label: int, embeddings: Tensor) -> None:
        """Add embeddings ``(N, C)``."""
        embeddings = embeddings.detach()
        if label in self._embeddings:
            embeddings = torch.cat([self._embeddings[label], embeddings])
        if len(embeddings) > self._size:
            embeddings = embeddings[torch.randperm(len(embeddings), device=embeddings.device)[: self._size]]
        self._embeddings[label] = embeddings


def refined_items(
    embeddings: Tensor, queries: Sequence[int], labels: Sequence[int], memory: ClassMemory
) -> list[ContrastItem]:
    """DVIS++ offline: a track on each frame against itself on all frames.

    Negatives are the other tracks of the frame, and in an item of their own objects of the same class in earlier clips.

    Args:
        embeddings: Of one clip, ``(T, Q, C)``.
        queries: The tracks that hold an object.
        labels: Their classes.
        memory: Of earlier clips; those of this clip are added.
    """
    items = []
    for frame in range(embeddings.shape[0]):
        for query, label in zip(queries, labels, strict=True):
            anchor, positives = embeddings[frame, query], embeddings[:, query]
            items.append(ContrastItem(anchor, positives, _without(embeddings[frame], query)))
            others = memory.of_class(label)
            if others is not None:
                items.append(ContrastItem(anchor, positives, others))
    for query, label in zip(queries, labels, strict=True):
        memory.push(label, embeddings[:, query])
    return items


def _without(embeddings: Tensor, query: int) -> Tensor:
    """All embeddings ``(Q, C)`` but one; all of them where ``query`` is -1."""
    return embeddings if query < 0 else torch.cat([embeddings[:query], embeddings[query + 1 :]])
