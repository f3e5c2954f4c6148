from __future__ import annotations

from fractions import Fraction

import av
import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from video_mask2former.video_io import VideoWriter, open_video


def write(path, frames, rate=Fraction(30000, 1001), **options):
    with VideoWriter(path, rate, **options) as writer:
        for frame in frames:
            writer.write(frame)
    return path


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("written")


@settings(max_examples=40, deadline=None)
@given(
    size=st.tuples(st.integers(1, 70), st.integers(1, 70)),
    rate=st.sampled_from([Fraction(30000, 1001), Fraction(24000, 1001), Fraction(25), Fraction(12, 7), Fraction(120)]),
    num_frames=st.integers(1, 12),
    suffix=st.sampled_from([".mp4", ".mov", ".mkv"]),
)
def test_size_rate_and_length_are_kept(scratch, size, rate, num_frames, suffix):
    path = write(scratch / f"a{suffix}", [np.full((*size, 3), 20 * i, np.uint8) for i in range(num_frames)], rate)
    reader = open_video(path)
    assert reader.size == size
    assert reader.num_frames == len(list(reader)) == num_frames
    # Matroska counts milliseconds, in which two rates of few frames can look the same
    assert reader.frame_rate == rate
    capture = cv2.VideoCapture(str(path))
    assert (capture.get(cv2.CAP_PROP_FRAME_HEIGHT), capture.get(cv2.CAP_PROP_FRAME_WIDTH)) == size
    capture.release()


def test_frames_come_back_in_order(tmp_path, numbered_frames, frame_number):
    path = write(tmp_path / "a.mp4", [numbered_frames(index) for index in range(100)])
    assert [frame_number(image) for image in open_video(path)] == list(range(100))


def test_even_sizes_play_everywhere(tmp_path, numbered_frames):
    path = write(tmp_path / "a.mp4", [numbered_frames(0)] * 3)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        frame = next(container.decode(stream))
        assert (frame.color_range, frame.colorspace, frame.color_primaries, frame.color_trc) == (1, 1, 1, 1)
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


@pytest.mark.parametrize(
    ("pixel_format", "size", "expected"),
    [
        ("auto", (47, 112), ("yuv444p", 47, 112)),
        ("yuv420p", (47, 111), ("yuv420p", 48, 112)),
        ("yuv444p", (48, 112), ("yuv444p", 48, 112)),
    ],
)
def test_pixel_formats(tmp_path, numbered_frames, frame_number, pixel_format, size, expected):
    path = write(tmp_path / "a.mp4", [numbered_frames(5, size)] * 2, pixel_format=pixel_format)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.pix_fmt, stream.height, stream.width) == expected
    assert frame_number(next(iter(open_video(path)))) == 5


@pytest.mark.parametrize("size", [(64, 224), (65, 225)])
def test_colours_are_kept(tmp_path, size):
    colors = [(255, 255, 255), (0, 0, 0), (255, 0, 0), (0, 255, 0), (0, 0, 255), (30, 120, 200), (200, 160, 40)]
    bars = np.zeros((*size, 3), np.uint8)
    for index, color in enumerate(colors):
        bars[:, 32 * index : 32 * (index + 1)] = color
    image = next(iter(open_video(write(tmp_path / "a.mp4", [bars] * 2, crf=4))))
    assert np.abs(image[32, 16:224:32].astype(int) - colors).max() <= 4


def test_times_of_variable_rate(tmp_path, numbered_frames):
    times = [0.5, 0.53, 0.6, 0.61, 0.9]
    with VideoWriter(tmp_path / "a.mp4", 25) as writer:
        for index, time in enumerate(times):
            writer.write(numbered_frames(index), time)
        with pytest.raises(ValueError, match="every frame or for none"):
            writer.write(numbered_frames(9))
        with pytest.raises(ValueError, match="not later"):
            writer.write(numbered_frames(9), 0.9)
    assert open_video(tmp_path / "a.mp4").timestamps == pytest.approx(np.asarray(times) - 0.5, abs=1e-4)


def test_sound_is_copied(tmp_path, plain_video):
    reader = open_video(plain_video)
    path = write(tmp_path / "a.mp4", reader, reader.frame_rate, audio_from=plain_video)
    with av.open(str(path)) as copy, av.open(str(plain_video)) as source:
        assert [stream.type for stream in copy.streams] == ["video", "audio"]
        copied = [bytes(packet) for packet in copy.demux(audio=0) if packet.size]
        original = [bytes(packet) for packet in source.demux(audio=0) if packet.size and packet.pts >= 0]
    assert copied == original[: len(copied)]
    # 50 frames last 1.668 s, the sound 1.7 s; a packet is 64 ms
    assert len(original) - len(copied) <= 1
    assert open_video(path).num_frames == 50


def test_sound_of_a_part(tmp_path, plain_video):
    reader = open_video(plain_video, start=15, end=45)
    path = write(
        tmp_path / "a.mkv",
        reader,
        reader.playback_rate,
        audio_from=plain_video,
        audio_start_seconds=reader.time_seconds(15),
    )
    with av.open(str(path)) as copy:
        times = [float(packet.pts * packet.time_base) for packet in copy.demux(audio=0) if packet.size]
    assert 0.0 <= times[0] < 0.07
    assert 0.9 < times[-1] < 1.0


def test_sources_without_sound_are_fine(tmp_path, numbered_frames):
    silent = write(tmp_path / "silent.mp4", [numbered_frames(0)] * 3)
    path = write(tmp_path / "a.mp4", [numbered_frames(0)] * 3, audio_from=silent)
    assert open_video(path).num_frames == 3


def test_sound_that_does_not_fit_is_refused(tmp_path):
    source = tmp_path / "source.asf"
    with av.open(str(source), "w") as container:
        stream = container.add_stream("wmav2", rate=44100, layout="mono")
        stream.bit_rate = 64000
        samples = av.AudioFrame.from_ndarray(np.zeros((1, 2048), np.float32), format="fltp", layout="mono")
        samples.sample_rate = 44100
        container.mux(stream.encode(samples))
        container.mux(stream.encode(None))
    with pytest.raises(ValueError, match=r"wmav2.*cannot be copied.*\.mkv"):
        VideoWriter(tmp_path / "a.mp4", 25, audio_from=source)
    assert list(tmp_path.iterdir()) == [source]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_aborted_video_leaves_nothing(tmp_path, numbered_frames, error):
    with pytest.raises(error), VideoWriter(tmp_path / "a.mp4", 25) as writer:
        writer.write(numbered_frames(0))
        raise error
    assert list(tmp_path.iterdir()) == []


def test_an_aborted_video_leaves_the_old_one(tmp_path, numbered_frames):
    path = write(tmp_path / "a.mp4", [numbered_frames(0)] * 2)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="frame 1 is 48x111"), VideoWriter(path, 25) as writer:
        writer.write(numbered_frames(0))
        writer.write(numbered_frames(0, (48, 111)))
    assert path.read_bytes() == before


def test_a_video_without_frames_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no frame was written"), VideoWriter(tmp_path / "a.mp4", 25):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("a.avi", {}, "path must end in"),
        ("a.mp4", {"crf": 52}, "crf must be"),
        ("a.mp4", {"pixel_format": "rgb24"}, "pixel_format must be"),
        ("a.mp4", {"rate": 0}, "frame_rate must be positive"),
        ("a.mp4", {"size": (48, 100)}, "frame 0 is 48x112"),
    ],
)
def test_wrong_arguments_are_refused(tmp_path, numbered_frames, name, options, message):
    with pytest.raises(ValueError, match=message):
        write(tmp_path / name, [numbered_frames(0)], **options)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_encoder_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(av, "codecs_available", {"mpeg4"})
    with pytest.raises(ValueError, match="no libx264 encoder"):
        VideoWriter(tmp_path / "a.mp4", 25)


def test_places_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OSError, match="file"):
        VideoWriter(tmp_path / "file" / "a.mp4", 25)


def test_float_rates_become_fractions(tmp_path, numbered_frames):
    path = write(tmp_path / "a.mp4", [numbered_frames(0)] * 30, 30000 / 1001)
    assert open_video(path).frame_rate == Fraction(30000, 1001)
