from __future__ import annotations

import logging
import os
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from video_mask2former.video_io import open_video


@pytest.fixture
def frames(numbered_frames):
    return np.stack([numbered_frames(index) for index in range(10)])


@settings(max_examples=60, deadline=None)
@given(
    num_frames=st.integers(1, 30),
    start=st.integers(0, 35),
    length=st.one_of(st.none(), st.integers(1, 40)),
    every=st.integers(1, 9),
    chunk=st.integers(1, 12),
)
def test_every_selection_is_a_slice(num_frames, start, length, every, chunk):
    video = np.arange(num_frames, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 3, 3), np.uint8)
    end = None if length is None else start + length
    if start >= num_frames:
        with pytest.raises(ValueError, match="nothing is left"):
            open_video(video, start=start, end=end, every=every)
        return
    expected = list(range(num_frames))[start:end:every]
    reader = open_video(video, start=start, end=end, every=every)
    assert reader.num_frames == len(expected)
    assert [int(image[0, 0, 0]) for image in reader] == expected
    chunks = list(open_video(video, start=start, end=end, every=every).chunks(chunk))
    assert [index for part in chunks for index in part.frame_indices] == expected
    assert [int(image[0, 0, 0]) for part in chunks for image in part.images] == expected
    assert all(len(part) == chunk for part in chunks[:-1])
    # an iterable gives the same as an array
    streamed = open_video(iter(video), start=start, end=end, every=every)
    assert streamed.num_frames is None
    assert [int(image[0, 0, 0]) for image in streamed] == expected


def test_chunks_are_what_the_model_takes(frames):
    chunk = next(iter(open_video(frames, start=2, every=3).chunks(2)))
    assert chunk.frame_indices == (2, 5)
    assert chunk.frames.shape == (2, 3, *frames.shape[1:3])
    assert chunk.frames.dtype == torch.uint8
    assert torch.equal(chunk.frames[1], torch.from_numpy(frames[5]).permute(2, 0, 1))


def test_rates_and_times(frames):
    reader = open_video(frames, start=3, every=2, frame_rate=Fraction(30000, 1001))
    assert reader.frame_rate == Fraction(30000, 1001)
    assert reader.playback_rate == Fraction(15000, 1001)
    assert reader.timestamps == pytest.approx(np.arange(3, 10, 2) * 1001 / 30000)
    assert reader.time_seconds(6) == pytest.approx(6 * 1001 / 30000)
    unknown = open_video(frames)
    assert unknown.frame_rate is None
    assert unknown.playback_rate is None
    assert unknown.timestamps is None
    assert unknown.time_seconds(4) is None
    stream = open_video(iter(frames), frame_rate=25)
    assert stream.time_seconds(5) == 0.2


def test_tensors_in_both_layouts(frames):
    last = torch.from_numpy(frames)
    for video in (last, last.permute(0, 3, 1, 2)):
        reader = open_video(video)
        assert reader.size == frames.shape[1:3]
        assert np.array_equal(np.stack(list(reader)), frames)


def test_an_iterable_is_read_lazily_and_once(frames):
    taken = []

    def camera():
        for index, frame in enumerate(frames):
            taken.append(index)
            yield torch.from_numpy(frame).permute(2, 0, 1)

    reader = open_video(camera(), end=4)
    assert taken == [0]
    iterator = iter(reader)
    next(iterator)
    next(iterator)
    assert taken == [0, 1]
    assert len(list(iterator)) == 2
    assert taken == [0, 1, 2, 3]
    assert reader.num_read == 4


def test_a_list_knows_its_length(frames):
    assert open_video(list(frames)).num_frames == len(frames)


def test_closing_stops_a_generator(frames):
    is_closed = []

    def camera():
        try:
            yield from frames
        finally:
            is_closed.append(True)

    with open_video(camera()) as reader:
        next(iter(reader))
    assert is_closed == [True]


def test_a_reader_is_read_once(frames):
    reader = open_video(frames)
    list(reader)
    with pytest.raises(ValueError, match="read once"):
        list(reader)


@pytest.mark.parametrize(
    ("video", "message"),
    [
        (np.zeros((4, 5, 3), np.uint8), r"frames\[None\]"),
        (np.zeros((2, 4, 5, 3), np.float32), "uint8"),
        (np.zeros((0, 4, 5, 3), np.uint8), "T of 1 or more"),
        (np.zeros((2, 4, 5, 4), np.uint8), "uint8 RGB"),
        (iter(()), "no frame at all"),
        (iter([np.zeros((4, 5), np.uint8)]), "frame 0 must be"),
    ],
)
def test_wrong_frames_are_refused(video, message):
    with pytest.raises(ValueError, match=message):
        open_video(video)


def test_frames_of_other_sizes_are_refused():
    reader = open_video(iter([np.zeros((4, 5, 3), np.uint8), np.zeros((4, 6, 3), np.uint8)]))
    with pytest.raises(ValueError, match="frame 1 is 4x6"):
        list(reader)


@pytest.mark.parametrize("options", [{"every": 0}, {"start": -1}, {"start": 4, "end": 4}, {"start": 10}])
def test_empty_selections_are_refused(frames, options):
    with pytest.raises(ValueError, match=r"every|start"):
        open_video(frames, **options)


@pytest.mark.parametrize("options", [{"frame_rate": 0}, {"frame_rate": -5}])
def test_rates_must_be_positive(frames, options):
    with pytest.raises(ValueError, match="frame_rate must be positive"):
        open_video(frames, **options)


def test_other_types_are_refused():
    for source in (3.5, True, None):
        with pytest.raises(TypeError, match="source must be"):
            open_video(source)


def test_a_missing_camera_is_one_error(caplog):
    caplog.set_level(logging.CRITICAL)
    with pytest.raises(ValueError, match="camera 63 cannot be opened"):
        open_video(63)


def test_what_is_no_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "loop.mp4").symlink_to("loop.mp4")
    (tmp_path / "pipe.png").symlink_to("pipe.mp4")
    for name, error, message in (
        ("pipe.mp4", ValueError, "is a pipe or a device"),
        ("pipe.png", ValueError, "is a pipe or a device"),
        ("loop.mp4", FileNotFoundError, "no such video"),
    ):
        with pytest.raises(error, match=message):
            open_video(tmp_path / name)


def test_a_list_of_videos_is_not_one_video():
    with pytest.raises(ValueError, match=r"b\.mp4 is a video of its own. Open one video at a time"):
        open_video(["a.png", "b.mp4"])
