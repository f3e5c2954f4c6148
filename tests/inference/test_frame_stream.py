"""Streams: bounded, stoppable at any frame, and one with the final result."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch

from video_mask2former.inference import InferenceSettings, segment_video, stream_video

SMALL = InferenceSettings(short_side=48)
SETUPS = [
    {"tracker": "query"},
    {"tracker": "query", "window": 5, "overlap": 2},
    {"tracker": "overlap", "window": 4, "overlap": 1},
    {"tracker": "propagate", "window": 3},
    {"tracker": "minvis", "window": 2},
]


def _round_trip(state):
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@pytest.mark.parametrize("options", SETUPS, ids=lambda options: "-".join(map(str, options.values())))
@pytest.mark.parametrize("stop_after", [1, 7, 10, 24])
def test_a_restored_stream_equals_an_uninterrupted_one(colour_model, painter, busy_scene, options, stop_after) -> None:
    frames = painter(busy_scene)
    whole = list(stream_video(colour_model, frames, settings=SMALL, **options))

    stream = stream_video(colour_model, frames, settings=SMALL, **options)
    before = [next(stream) for _ in range(stop_after)]
    state = _round_trip(stream.state_dict())
    after = list(stream_video(colour_model, frames, settings=SMALL, state=state, **options))
    assert before + after == whole

    # a camera gives the frames that follow; nothing is read twice
    rest = iter(frames[state["last_read"] + 1 :])
    assert before + list(stream_video(colour_model, rest, settings=SMALL, state=state, **options)) == whole


def test_a_stream_can_be_restored_with_a_real_model(tiny_model) -> None:
    model = tiny_model()
    frames = np.random.default_rng(0).integers(0, 256, (9, 40, 64, 3), dtype=np.uint8)
    options = {
        "window": 3,
        "overlap": 1,
        "tracker": "propagate",
        "score_threshold": 0.0,
        "settings": InferenceSettings(short_side=32),
    }
    whole = list(stream_video(model, frames, **options))
    assert any(len(instances) for instances in whole)
    stream = stream_video(model, frames, **options)
    before = [next(stream) for _ in range(5)]
    after = list(stream_video(model, frames, state=_round_trip(stream.state_dict()), **options))
    assert before + after == whole


def test_every_skipped_frame_stays_out(colour_model, painter, busy_scene) -> None:
    frames = painter(busy_scene)
    options = {"settings": SMALL, "start": 3, "end": 20, "every": 4}
    whole = list(stream_video(colour_model, frames, **options))
    assert [instances.frame_index for instances in whole] == [3, 7, 11, 15, 19]
    stream = stream_video(colour_model, frames, **options)
    before = [next(stream), next(stream)]
    state = _round_trip(stream.state_dict())
    assert before + list(stream_video(colour_model, frames, state=state, **options)) == whole
    rest = iter(frames[state["last_read"] + 4 :])
    assert before + list(stream_video(colour_model, rest, state=state, **options)) == whole


def test_frames_come_with_their_instances_and_each_is_read_once(
    colour_model, painter, busy_scene, frame_colours
) -> None:
    frames = painter(busy_scene)
    num_read = 0

    def camera():
        nonlocal num_read
        for frame in frames:
            num_read += 1
            yield frame

    stream = stream_video(colour_model, camera(), window=3, settings=SMALL)
    count = 0
    for count, (image, instances) in enumerate(stream.with_frames(), start=1):
        assert instances.frame_index == count - 1
        assert np.array_equal(image, frames[count - 1])
        expected = {name for name in busy_scene[count - 1] if name in frame_colours(instances, image).values()}
        assert set(frame_colours(instances, image).values()) == expected
        assert num_read <= count + 2  # no further ahead than a window
    assert count == len(frames) == num_read


def test_the_final_tracks_hold_all_that_was_streamed(colour_model, painter, busy_scene) -> None:
    frames = painter(busy_scene)
    settings = SMALL.updated(score_threshold=0.3)
    result = segment_video(colour_model, frames, settings=settings)
    by_id = {track.track_id: track for track in result.tracks}
    num_masks = 0
    for instances in stream_video(colour_model, frames, settings=settings):
        for track_id, rle in zip(instances.track_ids, instances.segmentations, strict=True):
            assert by_id[track_id].segmentations[instances.frame_index] == rle
            num_masks += 1
    # a confident model: nothing was held back either
    assert num_masks == sum(len(track.segmentations) for track in result.tracks)


def test_the_stream_shows_what_is_known_by_then_and_the_result_what_is_known_in_the_end(painter, colour_model) -> None:
    frames = painter([{"red": (8, 8 + t)} for t in range(5)])
    confidences = [1.0, 0.0, 0.0, 4.0, 4.0]
    decode = colour_model.decode
    calls: list[int] = []

    def weak_for_a_while(features, initial_queries=None):
        colour_model.confidence = confidences[len(calls) % 5]
        calls.append(0)
        return decode(features, initial_queries)

    colour_model.decode = weak_for_a_while
    means = (torch.tensor(confidences).cumsum(0) / torch.arange(1, 6)).tolist()
    expected = [float(torch.tensor([mean, 0.0, 0.0]).softmax(0)[0]) for mean in means]
    shown = [instances.scores for instances in stream_video(colour_model, frames, settings=SMALL)]
    assert shown[1:3] == [(), ()]
    for frame in (0, 3, 4):
        assert shown[frame] == pytest.approx([expected[frame]])

    (track,) = segment_video(colour_model, frames, settings=SMALL).tracks
    assert track.score == pytest.approx(expected[-1])
    assert list(track.segmentations) == list(range(5))
    alone = [float(torch.tensor([confidence, 0.0, 0.0]).softmax(0)[0]) for confidence in confidences]
    assert list(track.frame_scores.values()) == pytest.approx(alone)


def test_a_state_fits_only_the_settings_it_was_saved_with(colour_model, painter, busy_scene) -> None:
    frames = painter(busy_scene)
    stream = stream_video(colour_model, frames, window=3, settings=SMALL)
    next(stream)
    state = stream.state_dict()
    with pytest.raises(ValueError, match="window = 3"):
        stream_video(colour_model, frames, window=2, settings=SMALL, state=state)
    with pytest.raises(ValueError, match="tracker = 'query'"):
        stream_video(colour_model, frames, window=3, tracker="overlap", settings=SMALL, state=state)
    with pytest.raises(ValueError, match="version"):
        stream_video(colour_model, frames, settings=SMALL, state={**state, "version": 99})
    with pytest.raises(ValueError, match=r"got version None with \['epoch', 'model'\]"):
        stream_video(colour_model, frames, settings=SMALL, state={"model": {}, "epoch": 3})


def test_a_stream_restored_at_its_end_has_nothing_left(colour_model, painter, busy_scene) -> None:
    frames = painter(busy_scene)
    stream = stream_video(colour_model, frames, settings=SMALL)
    list(stream)
    assert list(stream_video(colour_model, frames, settings=SMALL, state=stream.state_dict())) == []
    assert list(stream_video(colour_model, iter(()), settings=SMALL, state=stream.state_dict())) == []
    with pytest.raises(StopIteration):
        next(stream)
