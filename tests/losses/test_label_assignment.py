"""Objects of a video get their queries where they first appear."""

from __future__ import annotations

import torch

from video_mask2former.losses.label_assignment import UNASSIGNED, Appearance, assign_new_objects


def presence(*rows: str) -> torch.Tensor:
    """Masks ``(N, T, 1, 1)`` of objects that are there on the frames marked 1."""
    return torch.tensor([[character == "1" for character in row] for row in rows])[..., None, None]


def test_objects_are_new_once():
    first, second, third = Appearance.of_clips(presence("11000", "00110", "10001"), [2, 2, 1])
    assert first.is_new.tolist() == first.is_visible.tolist() == [True, False, True]
    assert second.is_new.tolist() == [False, True, False]
    assert third.is_visible.tolist() == [False, False, True] and not third.is_new.any()


def test_new_objects_leave_queries_of_visible_ones_alone_and_may_take_those_of_hidden_ones():
    first, second = Appearance.of_clips(presence("11", "10", "01"), [1, 1])
    cost = torch.tensor([[0.0, 9.0, 0.0], [9.0, 0.0, 1.0], [9.0, 9.0, 2.0]])
    queries = assign_new_objects(cost, first)
    assert queries.tolist() == [0, 1, UNASSIGNED]
    assert assign_new_objects(cost, second, queries).tolist() == [0, 1, 1]


def test_more_objects_than_queries_leave_some_without():
    (appearance,) = Appearance.of_clips(presence("1", "1", "1"), [1])
    queries = assign_new_objects(torch.tensor([[1.0, 0.0, 2.0]]), appearance)
    assert queries.tolist() == [UNASSIGNED, 0, UNASSIGNED]
