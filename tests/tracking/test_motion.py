"""Tracking by motion: objects that look alike keep their ids while they pass each other."""

from __future__ import annotations

import io

import pytest
import torch

from video_mask2former.config import Config, apply_overrides
from video_mask2former.mask_logits import MaskLogits
from video_mask2former.recipes.inference import build_settings
from video_mask2former.recipes.model import complete_config
from video_mask2former.structures import ClipOutput
from video_mask2former.tracking import MotionTracker, QueryTracker, Tracker, TrackRules

HEIGHT, WIDTH = 12, 60
Place = tuple[float, float]


def output_of(places: list[list[Place] | None], embeddings: torch.Tensor | None = None) -> ClipOutput:
    """One clip of squares of six pixels; each query's (left, top) on each frame, None where it sees nothing."""
    num_frames = max(len(frames) for frames in places if frames)
    masks = torch.full((1, len(places), num_frames, HEIGHT, WIDTH), -1.0)
    class_logits = torch.zeros(1, len(places), 3)
    for query, frames in enumerate(places):
        class_logits[0, query, 0 if frames else 2] = 5.0
        for frame, (left, top) in enumerate(frames or []):
            masks[0, query, frame, round(top) : round(top) + 6, round(left) : round(left) + 6] = 1.0
    if embeddings is None:  # all look alike, but for the one that sees nothing
        embeddings = torch.ones(len(places), 4)
        embeddings[-1] = -1
    return ClipOutput(
        class_logits, MaskLogits.from_dense(masks), embeddings[None], embeddings[None], (48, 240), (48, 240)
    )


def follow(tracker: Tracker, frames: list[list[list[Place] | None]]) -> list[dict[int, int]]:
    """Of each frame, query to track id."""
    history = []
    for index, places in enumerate(frames):
        update = tracker.update(output_of(places), [index])
        history.append(dict(zip(update.query_indices, update.track_ids, strict=True)))
    return history


def crossing(frame: int) -> list[list[Place] | None]:
    """Two that look alike pass each other, a little apart; queries change places in every frame."""
    pair: list[list[Place] | None] = [[(2 * frame, 0)], [(50 - 2 * frame, 5)]]
    return [*(pair if frame % 2 else pair[::-1]), None]


def test_speed_tells_apart_who_looks_alike() -> None:
    for index, ids in enumerate(follow(MotionTracker(), [crossing(frame) for frame in range(26)])):
        assert (ids if index % 2 else {1 - query: track for query, track in ids.items()}) == {0: 2, 1: 1}


def test_an_object_that_is_hidden_for_some_frames_is_expected_where_it_went() -> None:
    tracker = MotionTracker(TrackRules(match_threshold=0.3))
    before = follow(tracker, [[[(3.0 * frame, 3)], [(50, 3)], None] for frame in range(6)])[-1]
    update = tracker.update(output_of([[(50, 3)], [(3.0 * 10, 3)], None]), [10])
    assert dict(zip(update.query_indices, update.track_ids, strict=True)) == {0: before[1], 1: before[0]}


def test_what_is_elsewhere_is_someone_else() -> None:
    embeddings = torch.eye(4)
    tracker = MotionTracker()
    tracker.update(output_of([[(0, 0)], None, None, None], embeddings), [0])
    update = tracker.update(output_of([None, [(50, 5)], None, None], embeddings), [1])
    assert update.track_ids == (2,)


def test_without_weight_of_boxes_it_is_the_tracker_of_queries(looks, object_maker) -> None:
    torch.manual_seed(3)
    trackers = MotionTracker(box_weight=0.0), QueryTracker()
    for frame in range(12):
        seen = {index: (index, (index + frame) % 9) for index in torch.randperm(6)[:4].tolist()}
        output = object_maker(looks + 0.3 * torch.randn_like(looks), seen)
        first, second = (tracker.update(output, [frame]) for tracker in trackers)
        assert (first.track_ids, first.query_indices) == (second.track_ids, second.query_indices)


def test_clips_of_several_frames_are_joined_by_their_ends() -> None:
    tracker = MotionTracker()
    first = tracker.update(output_of([[(0, 3), (4, 3), (8, 3)], [(50, 3), (46, 3), (42, 3)], None]), [0, 1, 2])
    second = tracker.update(output_of([[(38, 3), (34, 3)], [(12, 3), (16, 3)], None]), [3, 4])
    assert first.track_ids == (1, 2)
    assert dict(zip(second.query_indices, second.track_ids, strict=True)) == {0: 2, 1: 1}


def test_a_saved_state_goes_on() -> None:
    frames = [crossing(frame) for frame in range(20)]
    whole, first = MotionTracker(), MotionTracker()
    expected = follow(whole, frames)
    assert follow(first, frames[:9]) == expected[:9]
    buffer = io.BytesIO()
    torch.save(first.state_dict(), buffer)
    buffer.seek(0)
    second = MotionTracker()
    second.load_state_dict(torch.load(buffer, weights_only=True))
    for index in range(9, 20):
        update = second.update(output_of(frames[index]), [index])
        assert dict(zip(update.query_indices, update.track_ids, strict=True)) == expected[index]
    with pytest.raises(ValueError, match="expected the state of a 'motion' tracker, got that of 'query'"):
        second.load_state_dict(QueryTracker().state_dict())


def test_the_state_does_not_grow() -> None:
    tracker = MotionTracker(TrackRules(memory_size=2))
    for frame in range(6):
        embeddings = torch.zeros(3, 4)
        embeddings[0, frame % 4] = 1.0
        tracker.update(output_of([[(8 * frame, 3)], None, None], embeddings), [30 * frame])
    assert max(len(part) for name, part in tracker.state_dict().items() if name in ("boxes", "seen", "speeds")) <= 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"box_weight": 1.5}, r"box_weight must be in \[0, 1\], got 1\.5"),
        ({"speed_momentum": -0.1}, r"speed_momentum must be in \[0, 1\]"),
        ({"widening": -1.0}, "widening must be at least 0"),
    ],
)
def test_options_are_checked(options, message) -> None:
    with pytest.raises(ValueError, match=message):
        MotionTracker(**options)


def test_a_tracker_whose_options_were_written_out_is_the_same_as_by_its_name() -> None:
    config = apply_overrides(Config(), ["tracker=motion"])
    assert build_settings(config).tracker == build_settings(complete_config(config)).tracker == "motion"
    assert build_settings(apply_overrides(config, ["tracker.box_weight=0.7"])).tracker != "motion"
