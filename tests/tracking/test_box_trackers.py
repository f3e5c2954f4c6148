"""Trackers of boxes of the package trackers, around our masks."""

from __future__ import annotations

import io
import sys

import numpy as np
import pytest
import torch

from video_mask2former.config import InferenceSettings, PartConfig
from video_mask2former.inference import segment_video
from video_mask2former.inference.trackers import make_tracker
from video_mask2former.recipes.inference import build_tracker
from video_mask2former.tracking import BoTSortTracker, ByteTracker, OCSortTracker, SortTracker
from video_mask2former.tracking.object_state import pack_object, unpack_object

ALL = [ByteTracker, OCSortTracker, BoTSortTracker, SortTracker]


def test_a_missing_package_is_named(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "trackers", None)
    with pytest.raises(ImportError, match="tracker ocsort needs the package trackers: pip install"):
        make_tracker(InferenceSettings(tracker="ocsort"))


@pytest.fixture
def package():
    return pytest.importorskip("trackers")


@pytest.fixture
def moving(object_maker, looks):
    """Two objects that pass each other, each by another query every time; looks say nothing: they are shuffled."""
    generator = torch.Generator().manual_seed(0)
    frames = []
    for time in range(9):
        order = torch.randperm(6, generator=generator).tolist()
        shuffled = looks[torch.randperm(6, generator=generator)]
        frames.append((object_maker(shuffled, {0: (0, time), 3: (4, 9 - time)}, order=order), order))
    return frames


def follow(tracker, frames, start=0):
    """Object to track id on each frame."""
    history = []
    for time, (output, order) in enumerate(frames, start=start):
        update = tracker.update(output, [time])
        things = [order[query] for query in update.query_indices]
        history.append(dict(zip(things, update.track_ids, strict=True)))
    return history


@pytest.mark.parametrize("make", ALL)
def test_ids_follow_boxes_whatever_the_queries_say(package, make, moving) -> None:
    history = follow(make(minimum_consecutive_frames=1), moving)
    assert set(history[-1]) == {0, 3} and len(set(history[-1].values())) == 2
    assert min(history[-1].values()) >= 1
    assert all(each.items() <= history[-1].items() for each in history)
    assert sum(map(len, history)) >= 14  # most report an object from its second frame on


@pytest.mark.parametrize("make", ALL)
def test_a_saved_tracker_goes_on_as_if_it_had_never_stopped(package, make, moving) -> None:
    through, first, second = make(), make(), make()
    expected = follow(through, moving)
    follow(first, moving[:5])
    buffer = io.BytesIO()
    torch.save(first.state_dict(), buffer)
    buffer.seek(0)
    second.load_state_dict(torch.load(buffer, weights_only=True))
    assert follow(second, moving[5:], start=5) == expected[5:]
    last = through.update(moving[-1][0], [9])
    again = second.update(moving[-1][0], [9])
    torch.testing.assert_close(again.class_logits, last.class_logits)
    assert again.track_ids == last.track_ids
    with pytest.raises(ValueError, match="expected the state of a"):
        second.load_state_dict({"kind": "query"})


def test_class_logits_are_means_and_duplicates_are_left_out(package, object_maker, looks) -> None:
    tracker = ByteTracker(minimum_consecutive_frames=1)
    outputs = [object_maker(looks, {0: (0, 0), 1: (0, 0)}, score=score) for score in (0.95, 0.8, 0.9)]
    updates = [tracker.update(output, [time]) for time, output in enumerate(outputs)]
    assert [len(update) for update in updates[1:]] == [1, 1]
    query = updates[2].query_indices[0]
    expected = torch.stack([output.class_logits[0, query] for output in outputs[1:]]).mean(dim=0)
    torch.testing.assert_close(updates[2].class_logits[0], expected)
    with pytest.raises(ValueError, match="goes frame by frame, got a window of 2: window=1"):
        tracker.update(object_maker(looks, {0: (0, 0)}, num_frames=2), [3, 4])


def test_options_come_from_yaml(package) -> None:
    made = build_tracker(PartConfig(name="bytetrack", options={"minimum_consecutive_frames": 1, "frame_rate": 25}))
    assert isinstance(made(), ByteTracker) and "frame_rate=25" in made.name
    with pytest.raises(ValueError, match=r"min_score"):
        build_tracker(PartConfig(name="bytetrack", options={"min_score": 2}))


def test_a_state_names_classes_of_its_package_only(package) -> None:
    state = pack_object(package.IoU(), "trackers")
    assert isinstance(unpack_object(state, "trackers"), package.IoU)
    state["nodes"][0]["class"] = "subprocess:Popen"
    with pytest.raises(ValueError, match="a saved state of trackers cannot hold 'subprocess:Popen'"):
        unpack_object(state, "trackers")
    with pytest.raises(TypeError, match=r"only objects of trackers can be saved, got one of collections\.Counter"):
        pack_object([package.IoU(), __import__("collections").Counter()], "trackers")


def test_shared_and_circular_objects_stay_one(package) -> None:
    first, second = package.IoU(), package.IoU()
    first.other, second.other = second, first
    first.array = np.arange(6.0).reshape(2, 3)
    again, other = unpack_object(pack_object([first, second], "trackers"), "trackers")
    assert again.other is other and other.other is again
    np.testing.assert_array_equal(again.array, first.array)


def test_a_model_runs_with_it(package) -> None:
    import video_mask2former as vm2f

    frames = np.full((3, 48, 64, 3), 90, np.uint8)
    frames[:, 10:30, 10:30] = 200
    result = segment_video(vm2f.load("demo", device="cpu"), frames, tracker="bytetrack", score_threshold=0.1)
    assert result.num_frames == 3
