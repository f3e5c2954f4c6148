from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from video_mask2former.results import (
    YoutubeVisWriter,
    read_youtube_vis,
    write_submission,
    write_tracks,
    write_youtube_vis,
)
from video_mask2former.structures import Track, VideoInstances


@given(st.data())
def test_round_trip(videos, scratch, data):
    category_ids = data.draw(st.sampled_from([None, [11, 7, 3, 5, 2, 100]]))
    written = [
        replace(video, video_id=index) for index, video in enumerate(data.draw(st.lists(videos(), max_size=3)), start=5)
    ]
    write_youtube_vis(scratch / "r.json", written, category_ids)
    read = read_youtube_vis(scratch / "r.json", category_ids)
    assert list(read) == [video.video_id for video in written if len(video)]
    for video in written:
        if not len(video):
            continue
        again = read[video.video_id]
        assert (again.num_frames, again.video_id) == (video.num_frames, video.video_id)
        has_masks = any(track.segmentations for track in video.tracks)
        assert again.size == (video.size if has_masks else (0, 0))
        for number, (before, after) in enumerate(zip(video.tracks, again.tracks, strict=True), start=1):
            assert after == Track(number, before.label, before.score, before.segmentations)


@pytest.fixture
def video(boxes):
    return VideoInstances((Track(3, 1, 0.5, {1: boxes((4, 6), 1, 2, 3, 5)}),), 3, (4, 6), video_id=8)


def test_the_published_form(tmp_path, video):
    write_youtube_vis(tmp_path / "r.json", [video])
    (entry,) = json.loads((tmp_path / "r.json").read_text())
    assert list(entry) == ["video_id", "category_id", "score", "segmentations"]
    assert (entry["video_id"], entry["category_id"], entry["score"]) == (8, 2, 0.5)
    assert [mask is None for mask in entry["segmentations"]] == [True, False, True]
    assert entry["segmentations"][1]["size"] == [4, 6]
    assert isinstance(entry["segmentations"][1]["counts"], str)


def test_submission(tmp_path, video):
    write_submission(tmp_path / "s.zip", [video])
    with zipfile.ZipFile(tmp_path / "s.zip") as archive:
        assert archive.namelist() == ["results.json"]
        assert json.loads(archive.read("results.json"))[0]["video_id"] == 8
    assert [path.name for path in tmp_path.iterdir()] == ["s.zip"]


def test_videos_are_told_apart(tmp_path, video):
    with pytest.raises(ValueError, match="video_id must be set"):
        write_youtube_vis(tmp_path / "r.json", [replace(video, video_id=None)])
    with (
        pytest.raises(ValueError, match="video 8 was already written"),
        YoutubeVisWriter(tmp_path / "r.json") as writer,
    ):
        writer.write(video)
        writer.write(video)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"video_id": "8"}, "entry 1: 'video_id' must be a integer"),
        ({"score": None}, "entry 1: 'score' must be"),
        ({"score": float("nan")}, "entry 1: 'score' must be finite"),
        ({"category_id": True}, "entry 1: 'category_id' must be"),
        ({"segmentations": [None] * 4}, "entry 1: 'segmentations' has 4 frames, earlier entries of video 8 have 3"),
        ({"segmentations": [None, None, {"size": [6, 4], "counts": "h0"}]}, r"entry 1, frame 2: mask is \(6, 4\)"),
        ({"segmentations": [None, None, {"size": [4, 6], "counts": "7"}]}, "entry 1, frame 2: the RLE cannot be read"),
    ],
)
def test_wrong_entries_are_named(tmp_path, video, change, message):
    write_youtube_vis(tmp_path / "r.json", [video])
    entries = json.loads((tmp_path / "r.json").read_text())
    (tmp_path / "r.json").write_text(json.dumps([*entries, {**entries[0], **change}]))
    with pytest.raises(ValueError, match=message):
        read_youtube_vis(tmp_path / "r.json")


def test_other_files_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_youtube_vis(tmp_path / "r.json")
    (tmp_path / "r.json").write_text('{"a": 1}')
    with pytest.raises(ValueError, match="must hold an array"):
        read_youtube_vis(tmp_path / "r.json")
    (tmp_path / "r.json").write_text('[{"video_id": 1,')
    with pytest.raises(ValueError, match=r"not a JSON file.*cut off"):
        read_youtube_vis(tmp_path / "r.json")


class OnDisk(Mapping):
    """Masks that are made when they are asked for, and counts how many exist at once."""

    alive = 0
    most = 0

    def __init__(self, rle, num_frames):
        self.rle, self.num_frames = rle, num_frames

    def __getitem__(self, index):
        mask = Counted(self.rle)
        OnDisk.alive += 1
        OnDisk.most = max(OnDisk.most, OnDisk.alive)
        return mask

    def __iter__(self):
        return iter(range(self.num_frames))

    def __len__(self):
        return self.num_frames


class Counted(dict):
    def __del__(self):
        OnDisk.alive -= 1


@pytest.mark.parametrize("write", [write_youtube_vis, lambda path, videos: write_tracks(path, *videos)])
def test_masks_are_written_one_by_one(tmp_path, boxes, write):
    rle = boxes((4, 6), 1, 2, 3, 5)
    OnDisk.most = 0
    write(tmp_path / "r.json", [VideoInstances((Track(1, 0, 0.5, OnDisk(rle, 50)),), 50, (4, 6), video_id=1)])
    assert OnDisk.most <= 2
    assert (tmp_path / "r.json").read_text().count(rle["counts"]) == 50
