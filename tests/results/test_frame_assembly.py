from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from video_mask2former.results import assemble_tracks, frames_of
from video_mask2former.structures import FrameInstances


@given(st.data())
def test_apart_and_together_again(videos, data):
    video = data.draw(videos())
    again = assemble_tracks(
        frames_of(video), num_frames=video.num_frames, frame_rate=video.frame_rate, class_names=video.class_names
    )
    assert (again.num_frames, again.size, again.frame_rate) == (video.num_frames, video.size, video.frame_rate)
    before = {track.track_id: track for track in video.tracks if track.segmentations}
    assert {track.track_id for track in again.tracks} == set(before)
    for track in again.tracks:
        assert track.segmentations == before[track.track_id].segmentations
        assert track.label == before[track.track_id].label


def test_labels_and_scores_of_tracks(boxes):
    rle = boxes((4, 4), 0, 0, 2, 2)
    frames = [
        FrameInstances(0, (4, 4), (9,), (2,), (0.4,), (rle,)),
        FrameInstances(1, (4, 4), (9,), (1,), (0.9,), (rle,)),
        FrameInstances(5, (4, 4), (9,), (2,), (0.4,), (rle,)),
    ]
    result = assemble_tracks(frames, frame_rate=Fraction(25))
    (track,) = result.tracks
    assert track.label == 1
    assert track.score == pytest.approx(1.7 / 3)
    assert track.frame_scores == {0: 0.4, 1: 0.9, 5: 0.4}
    assert result.num_frames == 6


def test_contradictions_are_refused(boxes):
    frame = FrameInstances(0, (4, 4), (9,), (2,), (0.4,), (boxes((4, 4), 0, 0, 2, 2),))
    with pytest.raises(ValueError, match="two masks on frame 0"):
        assemble_tracks([frame, frame])
    with pytest.raises(ValueError, match="frame 1 has size"):
        assemble_tracks([frame, replace(frame, frame_index=1, size=(5, 4))])
    with pytest.raises(ValueError, match="at least one frame"):
        assemble_tracks([])
