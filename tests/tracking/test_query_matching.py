"""Tracking by query embeddings: the published rule to the last digit, and the life of tracks."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch

from video_mask2former.tracking import (
    MinVISTracker,
    OverlapTracker,
    PropagationTracker,
    QueryTracker,
    Tracker,
    TrackRules,
)


def test_minvis_rule_equals_the_published_implementation(golden, output_maker) -> None:
    figures = {name: torch.from_numpy(values) for name, values in golden("query_tracking").items()}
    tracker = MinVISTracker()
    masks = []
    for frame in range(len(figures["frame_logits"])):
        output = output_maker(
            figures["frame_embeddings"][frame], figures["frame_logits"][frame], figures["frame_masks"][frame][:, None]
        )
        update = tracker.update(output, [frame])
        masks.append(output.mask_logits.select(torch.tensor(update.query_indices)).dense()[0, :, 0])
    assert update.track_ids == tuple(range(1, 9))
    np.testing.assert_allclose(update.class_logits, figures["track_logits"], atol=1e-12)
    assert torch.equal(torch.stack(masks, dim=1), figures["track_masks"])


@pytest.mark.parametrize("make", [MinVISTracker, QueryTracker, OverlapTracker])
def test_frames_that_clips_share_count_once(make, object_maker, looks) -> None:
    tracker = make()
    first = object_maker(looks, {0: (0, 0)}, num_frames=3)
    second = object_maker(looks, {0: (0, 0)}, num_frames=3, score=0.6)
    tracker.update(first, [0, 1, 2])
    update = tracker.update(second, [2, 3, 4])
    expected = (3 * first.class_logits[0] + 2 * second.class_logits[0]) / 5
    torch.testing.assert_close(update.class_logits[0], expected[0])


def _follow(tracker: Tracker, outputs: list, looks: torch.Tensor) -> list[dict[int, int]]:
    """For each clip, object to track id; objects are told by their looks."""
    history = []
    for frame, output in enumerate(outputs):
        update = tracker.update(output, [frame])
        things = [
            int((looks - output.query_embeddings[0, query]).abs().sum(1).argmin()) for query in update.query_indices
        ]
        history.append(dict(zip(things, update.track_ids, strict=True)))
    return history


def test_ids_follow_shuffled_queries(object_maker, looks) -> None:
    outputs = [object_maker(looks, {0: (0, t), 3: (4, 9 - t)}, order=torch.randperm(6).tolist()) for t in range(8)]
    history = _follow(QueryTracker(), outputs, looks)
    assert all(ids == history[0] for ids in history)
    assert sorted(history[0].values()) == [1, 2]


def test_an_object_is_recognised_after_a_long_time_and_a_stranger_is_not(object_maker, looks) -> None:
    here = {0: (0, 0), 3: (4, 4)}
    outputs = [object_maker(looks, here)] * 3 + [object_maker(looks, {0: (0, 0)})] * 40
    outputs += [object_maker(looks, {0: (0, 0), 5: (4, 4)})] * 3 + [object_maker(looks, here | {5: (4, 8)})]
    history = _follow(QueryTracker(), outputs, looks)
    assert history[0] == {0: 1, 3: 2}
    assert history[42] == {0: 1}
    assert history[45] == {0: 1, 5: 3}
    assert history[46] == {0: 1, 3: 2, 5: 3}


def test_ids_are_never_given_twice_even_when_tracks_are_forgotten(object_maker, looks) -> None:
    tracker = QueryTracker(TrackRules(memory_size=1))
    outputs = [object_maker(looks, {t % 6: (0, 0)}) for t in range(18)]
    ids = [update for frame in _follow(tracker, outputs, looks) for update in frame.values()]
    assert ids == list(range(1, 19))


def test_a_duplicate_of_an_object_starts_no_track(object_maker, looks) -> None:
    output = object_maker(looks, {0: (0, 0), 1: (0, 0), 2: (4, 4)})
    update = QueryTracker().update(output, [0])
    assert sorted(update.query_indices) in ([0, 2], [1, 2])
    overlapping = object_maker(looks, {0: (0, 0), 1: (0, 1)})
    assert len(QueryTracker(TrackRules(part_share=1.0, duplicate_iou=0.3)).update(overlapping, [0])) == 1
    assert len(QueryTracker(TrackRules(part_share=1.0, duplicate_iou=0.4)).update(overlapping, [0])) == 2


@pytest.mark.parametrize(("part_label", "num_tracks"), [(0, 1), (1, 2)])
def test_a_part_of_an_object_is_one_only_if_it_is_of_another_class(output_maker, looks, part_label, num_tracks) -> None:
    masks = torch.full((2, 1, 8, 12), -5.0)
    masks[0, :, :6, :6] = 5.0
    masks[1, :, 3:8, 2:5] = 5.0  # three fifths of it in the other
    logits = torch.tensor([[4.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    logits[1, part_label] = 3.0
    tracker = QueryTracker()
    for index in range(3):
        assert len(tracker.update(output_maker(looks[:2], logits, masks), [index])) == num_tracks


def test_a_newcomer_does_not_hide_an_object_that_was_there_before(output_maker, looks) -> None:
    masks = torch.full((6, 1, 8, 12), -5.0)
    masks[0, :, :4, :4] = masks[1, :, :4, 6:10] = 5.0
    alone, both = torch.tensor([0.0, 0.0, 5.0]).repeat(2, 6, 1)
    alone[0] = both[0] = torch.tensor([4.0, 0.0, 0.0])
    both[1] = torch.tensor([5.0, 0.0, 0.0])
    tracker = QueryTracker()
    for index in range(6):
        tracker.update(output_maker(looks, alone if index < 4 else both, masks), [index])
    masks[1, :, :4, :10] = 5.0  # the second spreads over both, is surer, and more like itself
    changed = looks.clone()
    changed[0] += 0.3 * (looks[2] - looks[3])
    assert tracker.update(output_maker(changed, both, masks), [6]).track_ids == (1,)


def test_weak_queries_continue_tracks_but_do_not_start_them(object_maker, looks) -> None:
    tracker = QueryTracker(TrackRules(birth_score=0.6, keep_score=0.4))
    assert len(tracker.update(object_maker(looks, {0: (0, 0)}, score=0.5), [0])) == 0
    assert tracker.update(object_maker(looks, {0: (0, 0)}, score=0.7), [1]).track_ids == (1,)
    assert tracker.update(object_maker(looks, {0: (0, 0)}, score=0.5), [2]).track_ids == (1,)
    assert len(tracker.update(object_maker(looks, {0: (0, 0)}, score=0.39), [3])) == 0


def test_class_logits_are_averaged_over_the_frames_an_object_is_seen_on(object_maker, looks) -> None:
    tracker = QueryTracker()
    clips = [object_maker(looks, {0: (0, 0)}, score=score) for score in (0.9, 0.7)]
    tracker.update(clips[0], [0])
    tracker.update(object_maker(looks, {}), [1])
    update = tracker.update(clips[1], [2])
    torch.testing.assert_close(update.class_logits[0], (clips[0].class_logits[0, 0] + clips[1].class_logits[0, 0]) / 2)
    torch.testing.assert_close(update.clip_logits[0], clips[1].class_logits[0, 0])


@pytest.mark.parametrize("make", [MinVISTracker, QueryTracker, OverlapTracker, PropagationTracker])
def test_a_restored_tracker_goes_on_as_if_it_had_never_stopped(make, object_maker, looks) -> None:
    def clips():
        torch.manual_seed(1)
        learned = torch.randn(6, 16)
        for t in range(12):
            present = {0: (0, t % 10)} | ({3: (4, 4)} if t % 5 else {}) | ({5: (2, 8)} if t > 5 else {})
            yield object_maker(looks, present, order=torch.randperm(6).tolist(), learned=learned)

    def run(stop_at: int | None):
        tracker = make()
        updates = []
        for index, output in enumerate(clips()):
            if index == stop_at:
                file = io.BytesIO()
                torch.save(tracker.state_dict(), file)
                file.seek(0)
                tracker = make()
                tracker.load_state_dict(torch.load(file, weights_only=True))
            update = tracker.update(output, [index])
            updates.append((update.track_ids, update.query_indices, update.class_logits, tracker.next_queries()))
        return updates

    for before, after in zip(run(None), run(6), strict=True):
        assert before[:2] == after[:2]
        assert torch.equal(before[2], after[2])
        assert (before[3] is None) == (after[3] is None)
        assert before[3] is None or torch.equal(before[3], after[3])


@pytest.mark.parametrize("make", [MinVISTracker, QueryTracker, OverlapTracker, PropagationTracker])
def test_trackers_reject_what_does_not_fit(make, object_maker, looks) -> None:
    output = object_maker(looks, {0: (0, 0)}, num_frames=2, learned=looks)
    tracker = make()
    assert isinstance(tracker, Tracker)
    with pytest.raises(ValueError, match="2 frames"):
        tracker.update(output, [0])
    with pytest.raises(ValueError, match="ascend"):
        tracker.update(output, [3, 2])
    with pytest.raises(ValueError, match="that of 'nonsense'"):
        tracker.load_state_dict({"kind": "nonsense"})


@pytest.mark.parametrize(
    "wrong",
    [
        {"birth_score": 0.1, "keep_score": 0.2},
        {"match_threshold": 0.9, "revival_threshold": 0.5},
        {"memory_size": 0},
        {"memory_momentum": 1.0},
        {"duplicate_iou": 0.0},
        {"part_share": 1.5},
    ],
)
def test_rules_reject_nonsense(wrong) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        TrackRules(**wrong)
