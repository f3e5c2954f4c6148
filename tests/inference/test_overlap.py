"""Reading ahead and writing behind: at the same time, in order, and over when either side is."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from video_mask2former.inference import InferenceSettings, VideoPredictor
from video_mask2former.inference.frame_stream import FrameStream
from video_mask2former.inference.outputs import FrameOutputs, OutputChoice
from video_mask2former.inference.overlap import MAX_WAITING, ReadAhead, WriteBehind
from video_mask2former.inference.predictor import frames_from
from video_mask2former.inference.video_job import VideoJob

PATIENCE = 60.0  # seconds, for threads of a busy machine


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    assert [thread.name for thread in threading.enumerate() if thread.name in ("read ahead", "write behind")] == []


def test_reading_working_and_writing_go_on_at_once_and_in_order() -> None:
    meeting = threading.Barrier(3, timeout=PATIENCE)  # passed only by three threads together
    written = []

    def frames() -> Iterator[int]:
        for index in range(12):
            if index >= 2:
                meeting.wait()
            yield index

    def write(index: int, square: int) -> None:
        if index < 10:
            meeting.wait()
        written.append((index, square))

    with ReadAhead(frames(), max_waiting=1) as ahead, WriteBehind(write, max_waiting=1) as behind:
        for index in ahead:
            if 1 <= index < 11:
                meeting.wait()
            behind.put(index, index**2)
    assert written == [(index, index**2) for index in range(12)]


def test_what_waits_is_bounded() -> None:
    num_read, has_room = 0, threading.Event()

    def frames() -> Iterator[int]:
        nonlocal num_read
        for index in range(100):
            num_read += 1
            yield index

    with ReadAhead(frames()) as ahead:
        assert next(ahead) == 0
        time.sleep(0.1)
        assert num_read <= 1 + MAX_WAITING + 1  # taken, waiting, in the hand of the reader
    num_at_end = num_read
    time.sleep(0.05)
    assert num_read == num_at_end

    with WriteBehind(lambda index: has_room.wait(PATIENCE)) as behind:
        for index in range(1 + MAX_WAITING):
            behind.put(index)
        late = threading.Thread(target=behind.put, args=(99,))
        late.start()
        late.join(0.1)
        assert late.is_alive()
        has_room.set()
        late.join(PATIENCE)


def test_an_error_of_reading_comes_after_the_frames_before_it() -> None:
    def frames() -> Iterator[int]:
        yield from range(3)
        raise OSError("the disk is gone")

    taken = []
    with pytest.raises(OSError, match="the disk is gone"), ReadAhead(frames()) as ahead:
        for index in ahead:
            taken.append(index)
    assert taken == [0, 1, 2]
    assert list(ahead) == []


def test_an_error_of_writing_ends_the_work() -> None:
    def write(index: int) -> None:
        if index == 2:
            raise OSError("the disk is full")

    num_put = 0
    with pytest.raises(OSError, match="the disk is full"), WriteBehind(write) as behind:
        for index in range(1000):
            behind.put(index)
            num_put += 1
            time.sleep(0.001)
    assert num_put < 1000
    with pytest.raises(OSError, match="the disk is full"), WriteBehind(write) as behind:
        behind.put(2)
        behind.finish()


def test_an_error_in_between_ends_both_at_once() -> None:
    written, is_closed, may_write = [], threading.Event(), threading.Event()

    def frames() -> Iterator[int]:
        try:
            yield from range(1000)
        finally:
            is_closed.set()

    def write(index: int) -> None:
        may_write.wait(PATIENCE)
        written.append(index)

    def work() -> None:
        with ReadAhead(frames()) as ahead, WriteBehind(write) as behind:
            for index in ahead:
                behind.put(index)
                if index == 2:
                    threading.Timer(0.05, may_write.set).start()
                    raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work()
    assert is_closed.is_set()
    assert written in ([], [0])  # the one that was under way


def test_an_interrupt_while_it_waits_ends_it() -> None:
    """Ctrl-C reaches the main thread, wherever that is."""
    is_released = threading.Event()

    def interrupt() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.5)  # the main thread is interrupted while the writer is still at work
        is_released.set()

    timer = threading.Timer(0.1, interrupt)
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)  # libraries of other tests leave their own
    try:
        timer.start()
        with pytest.raises(KeyboardInterrupt), WriteBehind(lambda: is_released.wait(PATIENCE)) as behind:
            behind.put()
            behind.finish()
    finally:
        timer.join()
        signal.signal(signal.SIGINT, handler)


@pytest.mark.parametrize("error", [OSError("no space left"), KeyboardInterrupt()], ids=["writer", "interrupt"])
@pytest.mark.parametrize("mode", ["online", "clip"])
def test_nothing_half_written_is_left(tmp_path, colour_model, painter, busy_scene, monkeypatch, mode, error) -> None:
    source = tmp_path / "in"
    source.mkdir()
    _write_pictures(source, painter(busy_scene))
    add = FrameOutputs.add

    def failing(self: FrameOutputs, image: np.ndarray, instances) -> None:
        if instances.frame_index == 3:
            raise error
        add(self, image, instances)

    monkeypatch.setattr(FrameOutputs, "add", failing)
    predictor = VideoPredictor(colour_model, InferenceSettings(short_side=48, mode=mode))
    job = VideoJob(source, tmp_path / "out", OutputChoice(frames=True))
    with pytest.raises(type(error)), job.open() as reader:
        job.run(predictor, reader)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_stream_that_is_read_ahead_of_can_be_saved(colour_model, painter, busy_scene) -> None:
    """What was read and not yet taken is read again."""
    video = painter(busy_scene)
    predictor = VideoPredictor(colour_model, InferenceSettings(short_side=48, window=3, overlap=1))

    def stream(first: int, state=None) -> tuple[ReadAhead, FrameStream]:
        ahead = ReadAhead(frames_from(video, first))
        return ahead, predictor.stream(ahead, state=state)

    ahead, whole = stream(0)
    with ahead:
        expected = list(whole)
    ahead, begun = stream(0)
    with ahead:
        found = [next(begun) for _ in range(4)]
        state, next_frame = begun.state_dict(), begun.last_read + 1
    ahead, resumed = stream(next_frame, state)
    with ahead:
        found += list(resumed)
    assert found == expected


def _write_pictures(folder: Path, frames) -> None:
    for index, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / f"{index:03d}.png")
