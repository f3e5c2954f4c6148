from __future__ import annotations

import json
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from video_mask2former.results import read_tracks, write_tracks
from video_mask2former.structures import Track, VideoInstances


@given(st.data())
def test_round_trip(videos, scratch, data):
    video = data.draw(videos())
    write_tracks(scratch / "t.json", video, source="in.mp4")
    assert read_tracks(scratch / "t.json") == video


@pytest.fixture
def video(boxes):
    masks = {2: boxes((4, 6), 1, 2, 3, 5), 1: boxes((4, 6), 0, 0, 2, 2)}
    track = Track(3, 1, 0.75, masks, {1: 0.5})
    return VideoInstances((track,), 3, (4, 6), Fraction(30000, 1001), ("person", "dog"), 8)


def test_the_documented_form(tmp_path, video):
    write_tracks(tmp_path / "t.json", video, source="clips/in.mp4", damage="2 frames are missing")
    content = json.loads((tmp_path / "t.json").read_text())
    assert content["format"] == "video_mask2former.tracks"
    assert content["version"] == 1
    assert content["video"] == {
        "path": "clips/in.mp4",
        "video_id": 8,
        "height": 4,
        "width": 6,
        "frame_rate": "30000/1001",
        "num_frames": 3,
        "damage": "2 frames are missing",
    }
    (track,) = content["tracks"]
    frames = track.pop("frames")
    assert track == {
        "id": 3,
        "label": 1,
        "class_name": "dog",
        "score": 0.75,
        "is_crowd": False,
        "first_frame": 1,
        "last_frame": 2,
        "num_frames": 2,
    }
    assert [frame["frame"] for frame in frames] == [1, 2]
    assert [frame["score"] for frame in frames] == [0.5, None]
    assert frames[1]["box_xywh"] == [2, 1, 3, 2]
    assert frames[1]["area"] == 6
    assert frames[1]["time_seconds"] == pytest.approx(2 * 1001 / 30000, abs=1e-6)


def test_times_of_variable_rate(tmp_path, video):
    write_tracks(tmp_path / "t.json", video, timestamps=[0.0, 0.1, 0.7])
    (track,) = json.loads((tmp_path / "t.json").read_text())["tracks"]
    assert [frame["time_seconds"] for frame in track["frames"]] == [0.1, 0.7]
    with pytest.raises(ValueError, match="one time for each of 3 frames"):
        write_tracks(tmp_path / "t.json", video, timestamps=[0.0])


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("format",), "something.else", "'format' must be"),
        (("version",), 2, "has version 2, this program reads up to 1"),
        (("video", "height"), 5, r"track 0, frames\[0\]: mask is \(4, 6\)"),
        (("video", "frame_rate"), "fast", "must be a positive number or fraction"),
        (("video", "frame_rate"), "1/0", "must be a positive number or fraction"),
        (("video", "frame_rate"), "-25", "must be a positive"),
        (("video", "num_frames"), 2, r"frames\[1\]: frame 2 comes twice or is beyond"),
        (("tracks", 0, "label"), -1, "track 0: 'label' must be 0 or more"),
        (("tracks", 0, "score"), "high", "track 0: 'score' must be"),
        (("tracks", 0, "frames", 1, "frame"), 1, r"frames\[1\]: frame 1 comes twice"),
        (("tracks", 0, "frames", 0, "segmentation"), None, r"frames\[0\]: 'segmentation' must be a object"),
    ],
)
def test_wrong_content_is_named(tmp_path, video, path, value, message):
    write_tracks(tmp_path / "t.json", video)
    content = json.loads((tmp_path / "t.json").read_text())
    parent = content
    for key in path[:-1]:
        parent = parent[key]
    parent[path[-1]] = value
    (tmp_path / "t.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=message):
        read_tracks(tmp_path / "t.json")


def test_ids_are_unique(tmp_path, video):
    write_tracks(tmp_path / "t.json", VideoInstances(video.tracks * 2, 3, (4, 6)))
    with pytest.raises(ValueError, match="two tracks of one id"):
        read_tracks(tmp_path / "t.json")
