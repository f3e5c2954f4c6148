from __future__ import annotations

import json
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from video_mask2former.results import JsonLinesReader, JsonLinesWriter
from video_mask2former.structures import FrameInstances


@given(st.data())
def test_round_trip_with_a_restart(frame_lists, scratch, data):
    frames = data.draw(frame_lists())
    restart = data.draw(st.integers(0, len(frames)))
    size = frames[0].size
    for resume, part in ((False, frames[:restart]), (True, frames[restart:])):
        with JsonLinesWriter(
            scratch / "f.jsonl", size, frame_rate=Fraction(24000, 1001), class_names=("a",), source="in", resume=resume
        ) as writer:
            assert writer.next_frame_index == (0 if not resume or not restart else frames[restart - 1].frame_index + 1)
            for frame in part:
                writer.write(frame)
    reader = JsonLinesReader(scratch / "f.jsonl")
    assert (reader.size, reader.frame_rate) == (size, Fraction(24000, 1001))
    assert (reader.class_names, reader.source) == (("a",), "in")
    assert list(reader) == frames
    # a reader can be read again
    assert list(reader) == frames


@pytest.fixture
def frame(boxes):
    return FrameInstances(0, (4, 6), (3,), (1,), (0.5,), (boxes((4, 6), 1, 2, 3, 5),))


def at(frame, index):
    return FrameInstances(index, frame.size, frame.track_ids, frame.labels, frame.scores, frame.segmentations)


def test_lines_are_on_the_disk_at_once(tmp_path, frame):
    with JsonLinesWriter(tmp_path / "f.jsonl", (4, 6), class_names=("person", "dog")) as writer:
        for index in range(3):
            writer.write(at(frame, index), index / 25)
            assert len(list(JsonLinesReader(tmp_path / "f.jsonl"))) == index + 1
    lines = (tmp_path / "f.jsonl").read_text().splitlines()
    assert len(lines) == 4
    entry = json.loads(lines[2])
    assert (entry["frame"], entry["time_seconds"]) == (1, 0.04)
    (instance,) = entry["instances"]
    assert (instance["id"], instance["class_name"], instance["box_xywh"], instance["area"]) == (
        3,
        "dog",
        [2, 1, 3, 2],
        6,
    )


@pytest.mark.parametrize("num_cut", [1, 5, 60])
def test_a_cut_last_line_is_left_out(tmp_path, frame, caplog, num_cut):
    path = tmp_path / "f.jsonl"
    with JsonLinesWriter(path, (4, 6)) as writer:
        for index in range(3):
            writer.write(at(frame, index))
    path.write_bytes(path.read_bytes()[:-num_cut])
    assert [instances.frame_index for instances in JsonLinesReader(path)] == [0, 1]
    assert "ends in the middle of line 4" in caplog.text
    with JsonLinesWriter(path, (4, 6), resume=True) as writer:
        assert writer.next_frame_index == 2
        writer.write(at(frame, 2))
    assert [instances.frame_index for instances in JsonLinesReader(path)] == [0, 1, 2]


def test_resuming_a_file_without_a_whole_line_starts_anew(tmp_path, frame):
    path = tmp_path / "f.jsonl"
    path.write_text('{"format": "vid')
    with JsonLinesWriter(path, (4, 6), resume=True) as writer:
        writer.write(frame)
    assert list(JsonLinesReader(path)) == [frame]


def test_resuming_another_video_is_refused(tmp_path, frame):
    path = tmp_path / "f.jsonl"
    with JsonLinesWriter(path, (4, 6)) as writer:
        writer.write(frame)
    with pytest.raises(ValueError, match=r"holds frames of \(4, 6\)"):
        JsonLinesWriter(path, (8, 8), resume=True)


def test_order_and_size_are_checked(tmp_path, frame):
    with JsonLinesWriter(tmp_path / "f.jsonl", (4, 6)) as writer:
        writer.write(at(frame, 3))
        with pytest.raises(ValueError, match="ascending order"):
            writer.write(at(frame, 3))
        with pytest.raises(ValueError, match="has size"):
            writer.write(FrameInstances(4, (6, 4), (), (), (), ()))


@pytest.mark.parametrize(
    ("number", "line", "message"),
    [
        (0, "[]", "line 1 must be a JSON object"),
        (0, "hello", "line 1 is not valid JSON"),
        (0, '{"format": "video_mask2former.tracks", "version": 1}', "'format' must be"),
        (2, "hello", "line 3 is not valid JSON"),
        (2, '{"frame": 0, "time_seconds": null, "instances": []}', "line 3: frame 0 comes after frame 0"),
        (2, '{"frame": 1, "instances": [{"id": 1}]}', "line 3 lacks 'label'"),
    ],
)
def test_wrong_lines_are_named(tmp_path, frame, number, line, message):
    path = tmp_path / "f.jsonl"
    with JsonLinesWriter(path, (4, 6)) as writer:
        for index in range(3):
            writer.write(at(frame, index))
    lines = path.read_text().splitlines()
    lines[number] = line
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(ValueError, match=message):
        list(JsonLinesReader(path))


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        JsonLinesReader(tmp_path / "f.jsonl")
