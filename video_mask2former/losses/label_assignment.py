"""Which query an object of a video belongs to, decided where it first appears (GenVIS, arXiv:2211.08834)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from video_mask2former.losses.matcher import assign

UNASSIGNED = -1


@dataclass(frozen=True)
class Appearance:
    """What becomes of the N objects of a video in one of its clips.

    Attributes:
        is_visible: On one of the clip's frames at least, ``(N,)`` bool.
        is_new: In this clip for the first time, ``(N,)`` bool.
    """

    is_visible: Tensor
    is_new: Tensor

    @staticmethod
    def of_clips(masks: Tensor, lengths: Sequence[int]) -> list[Appearance]:
        """Those of a video, clip by clip.

        Args:
            masks: ``(N, T, H, W)`` bool.
            lengths: Frames of each clip.
        """
        on_frame = masks.flatten(2).any(dim=2)
        visible = [part.any(dim=1) for part in on_frame.split(list(lengths), dim=1)]
        seen = torch.zeros_like(visible[0])
        appearances = []
        for is_visible in visible:
            appearances.append(Appearance(is_visible, is_visible & ~seen))
            seen = seen | is_visible
        return appearances


def assign_new_objects(cost: Tensor, appearance: Appearance, previous: Tensor | None = None) -> Tensor:
    """Give each object that is new a query, and leave every other object the one it has.

    Queries of visible objects are taken. Those of objects that are out of sight are not: where one of them returns,
    two objects share a query from then on, as published.

    Args:
        cost: Of each query for each object, ``(Q, N)``.
        appearance: Of the objects in this clip.
        previous: Query of each object after the clip before, ``(N,)``; None in the first clip.

    Returns:
        Query of each object, ``(N,)`` int64; ``UNASSIGNED`` where it has not appeared yet, or found no query free.
    """
    num_queries, num_objects = cost.shape
    queries = previous.clone() if previous is not None else cost.new_full((num_objects,), UNASSIGNED, dtype=torch.int64)
    taken = queries[appearance.is_visible & ~appearance.is_new]
    is_free = torch.ones(num_queries, dtype=torch.bool, device=cost.device)
    is_free[taken[taken != UNASSIGNED]] = False
    free, new = is_free.nonzero()[:, 0], appearance.is_new.nonzero()[:, 0]
    rows, columns = assign(cost[free][:, new])
    queries[new] = UNASSIGNED
    queries[new[columns]] = free[rows]
    return queries
