"""Trackers of users' own, handed to the public calls."""

from __future__ import annotations

import functools

import pytest
import torch

from video_mask2former.inference import InferenceSettings, segment_video, stream_video
from video_mask2former.tracking import QueryTracker, TrackUpdate

SMALL = InferenceSettings(short_side=48)


class EveryFrameAnew:
    """Gives every object a new id in every clip, so that nobody can take it for one of the built-in trackers."""

    def __init__(self, first_id: int = 1) -> None:
        self.next_id = first_id

    def update(self, output, frame_indices) -> TrackUpdate:
        logits = output.class_logits[0]
        seen = (logits.argmax(dim=1) < logits.shape[1] - 1).nonzero()[:, 0].tolist()
        ids = range(self.next_id, self.next_id + len(seen))
        self.next_id += len(seen)
        return TrackUpdate(tuple(ids), tuple(seen), logits[seen], logits[seen])

    def next_queries(self) -> None:
        return None

    def state_dict(self) -> dict[str, int]:
        return {"next_id": self.next_id}

    def load_state_dict(self, state) -> None:
        self.next_id = state["next_id"]


def test_a_class_of_trackers_gives_the_ids(colour_model, painter) -> None:
    frames = painter([{"red": (16, 10 * index), "blue": (0, 60)} for index in range(3)])
    result = segment_video(colour_model, frames, tracker=EveryFrameAnew, settings=SMALL)
    assert sorted(track.track_id for track in result.tracks) == [1, 2, 3, 4, 5, 6]
    assert sorted(index for track in result.tracks for index in track.segmentations) == [0, 0, 1, 1, 2, 2]
    again = segment_video(colour_model, frames, tracker=functools.partial(EveryFrameAnew, 11), settings=SMALL)
    assert sorted(track.track_id for track in again.tracks) == [11, 12, 13, 14, 15, 16]


def test_its_state_is_part_of_the_streams(colour_model, painter, busy_scene, tmp_path) -> None:
    frames = painter(busy_scene)
    whole = list(stream_video(colour_model, frames, window=2, tracker=EveryFrameAnew, settings=SMALL))
    stream = stream_video(colour_model, frames, window=2, tracker=EveryFrameAnew, settings=SMALL)
    first = [next(stream) for _ in range(7)]
    torch.save(stream.state_dict(), tmp_path / "stream.pt")
    state = torch.load(tmp_path / "stream.pt", weights_only=True)
    rest = stream_video(colour_model, frames, window=2, tracker=EveryFrameAnew, settings=SMALL, state=state)
    assert first + list(rest) == whole
    with pytest.raises(ValueError, match=r"tracker = '.*:EveryFrameAnew', this stream has 'query'"):
        stream_video(colour_model, frames, window=2, settings=SMALL, state=state)


def test_what_makes_no_trackers_is_refused(colour_model, painter) -> None:
    frames = painter([{}])
    with pytest.raises(ValueError, match=r"tracker must be a name, or a class .* got an object of type QueryTracker"):
        segment_video(colour_model, frames, tracker=QueryTracker())
    with pytest.raises(TypeError, match=r"builtins:list must make trackers, got list without update, next_queries"):
        segment_video(colour_model, frames, tracker=list)


def test_updates_name_each_track_once() -> None:
    logits = torch.zeros(2, 3)
    for ids in ((1, 1), (0, 1)):
        with pytest.raises(ValueError, match="track_ids must all be different and at least 1"):
            TrackUpdate(ids, (0, 1), logits, logits)
