from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from video_mask2former.results import MotsWriter, assemble_tracks, read_mots, without_overlaps
from video_mask2former.structures import FrameInstances


@given(st.data())
def test_round_trip(frame_lists, scratch, data):
    frames = data.draw(frame_lists())
    category_ids = data.draw(st.sampled_from([None, [2, 1, 11]]))
    first_frame = data.draw(st.sampled_from([0, 1]))
    with MotsWriter(scratch / "0001.txt", category_ids, first_frame) as writer:
        for frame in frames:
            writer.write(frame)
    read = read_mots(scratch / "0001.txt", category_ids, first_frame=first_frame, num_frames=10, size=frames[0].size)
    expected = assemble_tracks([without_overlaps(frame) for frame in frames], num_frames=10)
    assert (read.num_frames, read.size) == (10, frames[0].size)
    assert {track.track_id: (track.label, track.segmentations, track.score) for track in read.tracks} == {
        track.track_id: (track.label, track.segmentations, 1.0) for track in expected.tracks
    }


def test_the_benchmarks_form(tmp_path, boxes):
    frame = FrameInstances(4, (5, 9), (2001,), (1,), (0.5,), (boxes((5, 9), 1, 3, 4, 8),))
    with MotsWriter(tmp_path / "0001.txt") as writer:
        writer.write(frame)
    assert (tmp_path / "0001.txt").read_text() == f"4 2001 2 5 9 {frame.segmentations[0]['counts']}\n"


def test_regions_to_ignore_are_left_out(tmp_path, boxes, caplog):
    caplog.set_level("INFO")
    counts = boxes((5, 9), 1, 3, 4, 8)["counts"]
    (tmp_path / "gt.txt").write_text(f"0 1001 1 5 9 {counts}\n\n0 10000 10 5 9 {counts}\n")
    video = read_mots(tmp_path / "gt.txt")
    assert [track.track_id for track in video.tracks] == [1001]
    assert "1 regions" in caplog.text
    with pytest.raises(ValueError, match="marks regions to ignore"), MotsWriter(tmp_path / "r.txt", [10]) as writer:
        writer.write(FrameInstances(0, (5, 9), (1,), (0,), (0.5,), (boxes((5, 9), 1, 3, 4, 8),)))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0 1 1 5 9", "line 2 must be 'frame object_id"),
        ("0 x 1 5 9 abc", "line 2 must be 'frame object_id"),
        ("0 2 1 9 5 COUNTS", r"line 2: mask is \(9, 5\)"),
        ("0 2 1 5 9 11", "line 2: the RLE cannot be read"),
        ("-1 2 1 5 9 COUNTS", "line 2: frame -1 is before the first"),
        ("0 2 0 5 9 COUNTS", "line 2: 'category_id' must be 1 or more"),
        ("0 1 1 5 9 COUNTS", "track 1 has two masks on frame 0"),
    ],
)
def test_wrong_lines_are_named(tmp_path, boxes, line, message):
    counts = boxes((5, 9), 1, 3, 4, 8)["counts"]
    (tmp_path / "r.txt").write_text(f"0 1 1 5 9 {counts}\n{line.replace('COUNTS', counts)}\n")
    with pytest.raises(ValueError, match=message):
        read_mots(tmp_path / "r.txt")


def test_empty_files(tmp_path):
    (tmp_path / "r.txt").write_text("")
    with pytest.raises(ValueError, match="give size and num_frames"):
        read_mots(tmp_path / "r.txt")
    video = read_mots(tmp_path / "r.txt", num_frames=4, size=(5, 9))
    assert (len(video), video.num_frames, video.size) == (0, 4, (5, 9))
    with pytest.raises(FileNotFoundError):
        read_mots(tmp_path / "nothing.txt")


def test_classes_count_on_beyond_the_one_to_ignore(tmp_path, boxes):
    rle = boxes((5, 9), 1, 3, 4, 8)
    with MotsWriter(tmp_path / "r.txt") as writer:
        for label in (0, 8, 9, 39):
            writer.write(FrameInstances(label, (5, 9), (label + 1,), (label,), (0.5,), (rle,)))
    assert [line.split()[2] for line in (tmp_path / "r.txt").read_text().splitlines()] == ["1", "9", "11", "41"]
    assert {track.label for track in read_mots(tmp_path / "r.txt").tracks} == {0, 8, 9, 39}
