"""Queries that are handed from clip to clip."""

from __future__ import annotations

import pytest
import torch

from video_mask2former.tracking import PropagationTracker, TrackRules


def test_objects_hand_on_their_query_and_the_rest_starts_anew(object_maker, looks) -> None:
    learned = torch.randn(6, 16)
    tracker = PropagationTracker()
    assert tracker.next_queries() is None
    tracker.update(object_maker(looks, {1: (0, 0), 4: (4, 4)}, learned=learned), [0])
    following = tracker.next_queries()
    assert following.shape == (1, 6, 16)
    assert torch.equal(following[0, [1, 4]], looks[[1, 4]])
    assert torch.equal(following[0, [0, 2, 3, 5]], learned[[0, 2, 3, 5]])


def test_a_hidden_object_keeps_its_query_while_there_is_patience(object_maker, looks) -> None:
    learned = torch.randn(6, 16)
    tracker = PropagationTracker(TrackRules(patience=2))
    tracker.update(object_maker(looks, {1: (0, 0)}, learned=learned), [0])
    for frame in (1, 2):
        tracker.update(object_maker(looks, {}), [frame])
        assert torch.equal(tracker.next_queries()[0, 1], looks[1])
    tracker.update(object_maker(looks, {}), [3])
    assert torch.equal(tracker.next_queries()[0, 1], learned[1])
    assert tracker.update(object_maker(looks, {1: (0, 0)}), [4]).track_ids == (1,)


def test_a_propagated_query_wins_over_a_lookalike(object_maker, looks) -> None:
    looks = looks.clone()
    looks[2] = looks[1] + 0.01
    tracker = PropagationTracker()
    tracker.update(object_maker(looks, {1: (0, 0)}, learned=looks), [0])
    drifted = looks.clone()
    drifted[1] += 0.4 * torch.randn(16)  # still the same object, though the newcomer now looks more like it
    update = tracker.update(object_maker(drifted, {1: (0, 0), 2: (4, 4)}), [1])
    assert dict(zip(update.query_indices, update.track_ids, strict=True)) == {1: 1, 2: 2}


def test_a_propagated_query_that_found_something_else_starts_a_track(object_maker, looks) -> None:
    tracker = PropagationTracker()
    tracker.update(object_maker(looks, {1: (0, 0), 3: (4, 4)}, learned=looks), [0])
    switched = looks.clone()
    switched[1] = looks[5]
    update = tracker.update(object_maker(switched, {1: (0, 0), 3: (4, 4)}), [1])
    assert dict(zip(update.query_indices, update.track_ids, strict=True)) == {1: 3, 3: 2}


def test_without_the_learned_queries_there_is_an_error(object_maker, looks) -> None:
    with pytest.raises(ValueError, match="auxiliary"):
        PropagationTracker().update(object_maker(looks, {0: (0, 0)}), [0])
