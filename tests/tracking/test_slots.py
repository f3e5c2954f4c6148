"""The tracker of models whose query is one object on every frame."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
import torch

from video_mask2former.tracking.slots import SlotTracker


def windows(object_maker, count: int):
    looks = torch.eye(3)
    for index in range(count):
        present = {0: (1, 1)} if index % 2 else {0: (1, 1), 2: (3, 4)}
        output = object_maker(looks, present)
        yield index, replace(output, queries=torch.full((1, 3, 3), float(index)))


def test_a_track_is_a_query_and_its_class_the_mean_so_far(object_maker):
    tracker = SlotTracker()
    assert tracker.next_queries() is None
    seen = []
    for index, output in windows(object_maker, 3):
        update = tracker.update(output, [index])
        assert tracker.next_queries().eq(index).all()
        seen.append(output.class_logits[0])
        expected = torch.stack(seen).mean(dim=0)
        rows = list(update.query_indices)
        torch.testing.assert_close(update.class_logits, expected[rows])
        torch.testing.assert_close(update.clip_logits, output.class_logits[0][rows])
        assert update.track_ids == tuple(row + 1 for row in rows)
        assert 1 not in rows  # never an object


def test_with_a_horizon_an_object_that_comes_late_is_not_outvoted(object_maker):
    looks = torch.eye(3)
    nothing, something = object_maker(looks, {}), object_maker(looks, {1: (1, 1)})
    everything, recent = SlotTracker(), SlotTracker(horizon=5)
    for index in range(60):
        output = nothing if index < 50 else something
        updates = [tracker.update(output, [index]) for tracker in (everything, recent)]
    assert [update.track_ids for update in updates] == [(), (2,)]


def test_a_saved_tracker_goes_on_as_if_it_had_never_stopped(object_maker):
    whole, first = SlotTracker(horizon=3), SlotTracker(horizon=3)
    outputs = list(windows(object_maker, 5))
    for index, output in outputs[:2]:
        whole.update(output, [index])
        first.update(output, [index])
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    second = SlotTracker(horizon=3)
    second.load_state_dict(torch.load(file, weights_only=True))
    assert second.next_queries().equal(whole.next_queries())
    for index, output in outputs[2:]:
        expected, update = whole.update(output, [index]), second.update(output, [index])
        assert update.track_ids == expected.track_ids
        assert update.class_logits.equal(expected.class_logits)


def test_frames_come_once_and_states_are_their_own(object_maker):
    tracker = SlotTracker()
    _, output = next(windows(object_maker, 1))
    tracker.update(output, [4])
    with pytest.raises(ValueError, match=r"every frame once, but frame 4 came before\. Use overlap 0"):
        tracker.update(output, [4])
    with pytest.raises(ValueError, match="state of a 'slots' tracker, got that of 'query'"):
        tracker.load_state_dict({"kind": "query"})
    with pytest.raises(ValueError, match="at least 1 frame, got 0"):
        SlotTracker(horizon=0)
