from __future__ import annotations

import importlib.util
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from video_mask2former.video_io import open_video

BACKENDS = ["pyav"] + (["decord"] if importlib.util.find_spec("decord") else [])
needs_decord = pytest.mark.skipif("decord" not in BACKENDS, reason="decord is not installed")


def numbers_of(reader, frame_number):
    return [frame_number(image) for image in reader]


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_frame_once_in_order(plain_video, frame_number, backend):
    reader = open_video(plain_video, backend=backend)
    assert reader.num_frames == 50
    assert reader.frame_rate == Fraction(30000, 1001)
    assert reader.size == (48, 112)
    assert reader.timestamps == pytest.approx(np.arange(50) * 1001 / 30000)
    assert not reader.has_variable_rate
    assert numbers_of(reader, frame_number) == list(range(50))
    assert reader.damage is None


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("start", "end", "every"), [(0, 7, 1), (13, None, 1), (12, 40, 5), (49, None, 1), (0, None, 8)]
)
def test_parts_are_frame_accurate(plain_video, frame_number, backend, start, end, every):
    reader = open_video(plain_video, start=start, end=end, every=every, backend=backend)
    assert numbers_of(reader, frame_number) == list(range(50))[start:end:every]


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("a.mkv", "libx264", {}),
        ("a.mov", "libx264", {}),
        ("a.avi", "mpeg4", {}),
        ("a.webm", "libvpx-vp9", {"deadline": "realtime", "cpu-used": "8"}),
        ("a.ts", "libx264", {}),
        ("a.mpg", "mpeg2video", {"g": "6"}),
        ("open.mp4", "libx264", {"g": "8", "bf": "3", "x264-params": "open-gop=1:log-level=none"}),
    ],
)
def test_containers_and_codecs(tmp_path, video_maker, numbered_frames, frame_number, name, codec, options):
    if codec not in av.codecs_available:
        pytest.skip(f"PyAV has no {codec} encoder here")
    path = video_maker(
        tmp_path / name, [numbered_frames(index) for index in range(25)], codec=codec, options={"b": "2M", **options}
    )
    reader = open_video(path)
    assert reader.num_frames == 25
    assert reader.frame_rate == Fraction(30000, 1001)
    assert numbers_of(reader, frame_number) == list(range(25))
    for start in range(1, 25, 4):
        assert numbers_of(open_video(path, start=start, every=3), frame_number) == list(range(start, 25, 3))


@needs_decord
def test_backends_give_the_same_pixels(plain_video):
    for first, second in zip(open_video(plain_video, backend="decord"), open_video(plain_video), strict=True):
        assert np.array_equal(first, second)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_rotation_is_applied(tmp_path, video_maker, numbered_frames, frame_number, backend, rotation):
    path = video_maker(tmp_path / "r.mp4", [numbered_frames(index, (80, 112)) for index in range(5)], rotation=rotation)
    reader = open_video(path, backend=backend)
    assert reader.size == ((80, 112) if rotation == 180 else (112, 80))
    # the display matrix turns counter-clockwise
    turned_back = [np.rot90(image, -rotation // 90) for image in reader]
    assert [frame_number(image) for image in turned_back] == list(range(5))


def test_narrow_rotated_videos(tmp_path, video_maker, numbered_frames, frame_number):
    path = video_maker(tmp_path / "r.mp4", [numbered_frames(index) for index in range(5)], rotation=90)
    assert [frame_number(np.rot90(image, -1)) for image in open_video(path)] == list(range(5))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("matrix", [1, 5], ids=["bt709", "bt601"])
@pytest.mark.parametrize("value_range", [1, 2], ids=["limited", "full"])
def test_colours(tmp_path, video_maker, backend, matrix, value_range):
    colors = [(255, 255, 255), (0, 0, 0), (255, 0, 0), (0, 255, 0), (0, 0, 255), (30, 120, 200), (200, 160, 40)]
    bars = np.repeat(np.asarray(colors, np.uint8)[None], 32, axis=1).repeat(64, axis=0)
    path = video_maker(tmp_path / "c.mp4", [bars] * 2, color=(matrix, value_range), options={"crf": "4"})
    image = next(iter(open_video(path, backend=backend)))
    assert np.abs(image[32, 16::32].astype(int) - colors).max() <= 4


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_variable_frame_rate(tmp_path, video_maker, numbered_frames, frame_number, backend, suffix):
    ticks = [0, 3, 4, 9, 11, 20, 21, 22, 30, 36]
    path = video_maker(tmp_path / f"v{suffix}", [numbered_frames(index) for index in range(10)], ticks=ticks)
    reader = open_video(path, backend=backend)
    # Matroska counts milliseconds
    assert reader.timestamps == pytest.approx(np.asarray(ticks) / 90, abs=1e-3)
    assert float(reader.frame_rate) == pytest.approx(9 / (36 / 90), rel=0.01)
    assert reader.has_variable_rate
    assert reader.num_frames == 10
    assert numbers_of(reader, frame_number) == list(range(10))


@pytest.mark.parametrize("backend", BACKENDS)
def test_odd_sizes_and_single_frames(tmp_path, video_maker, numbered_frames, backend):
    path = video_maker(tmp_path / "odd.mp4", [numbered_frames(0, (47, 113))], pixel_format="yuv444p")
    reader = open_video(path, backend=backend)
    assert reader.size == (47, 113)
    assert reader.num_frames == 1
    assert reader.frame_rate == Fraction(30000, 1001)
    assert [image.shape for image in reader] == [(47, 113, 3)]


def test_edit_lists_hide_frames_without_damage(tmp_path, plain_video, frame_number):
    path = tmp_path / "edited.mp4"
    with (
        av.open(str(plain_video)) as source,
        av.open(str(path), "w", options={"avoid_negative_ts": "disabled"}) as target,
    ):
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is None:
                continue
            shift = round(18 * Fraction(1001, 30000) / packet.time_base)
            packet.pts, packet.dts, packet.stream = packet.pts - shift, packet.dts - shift, stream
            target.mux(packet)
    reader = open_video(path)
    assert reader.num_frames == 32
    assert numbers_of(reader, frame_number) == list(range(18, 50))
    assert reader.damage is None


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux to measure memory")
def test_memory_does_not_grow(tmp_path, video_maker, numbered_frames):
    frames = [numbered_frames(index % 256) for index in range(256)]
    path = video_maker(tmp_path / "long.mp4", frames * 10, options={"preset": "ultrafast", "bf": "0"})
    sizes = []
    for index, _ in enumerate(open_video(path)):
        if index % 64 == 63:
            with open("/proc/self/statm") as file:
                sizes.append(int(file.read().split()[1]) * 4096)
    assert index == 2559
    # one frame is 16 kB: keeping them would take 35 MB more at the end than after a tenth
    assert sizes[-1] - sizes[4] < 8e6


@needs_decord
@pytest.mark.parametrize(("start", "every"), [(0, 1), (2, 3)])
def test_pyav_goes_on_where_decord_fails(plain_video, monkeypatch, frame_number, caplog, start, every):
    import decord

    def failing(self):
        raise decord.DECORDError("made to fail\nat great length")

    reader = open_video(plain_video, backend="decord", start=start, every=every)
    frames = iter(reader)
    numbers = [frame_number(next(frames)), frame_number(next(frames))]
    monkeypatch.setattr(decord.VideoReader, "next", failing)
    numbers += [frame_number(frame) for frame in frames]
    assert numbers == list(range(start, reader.source_num_frames, every))
    failed, resumed = start + every + 1, start + 2 * every
    assert f"decord failed on frame {failed}: made to fail; PyAV reads it from frame {resumed} on" in caplog.text
    assert reader.damage is None


def test_pyav_reads_where_decord_is_not_installed(plain_video, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "decord", None)  # as if it were not there
    frames = list(open_video(plain_video, backend="decord"))
    assert "decord is not installed; PyAV reads it from frame 0 on" in caplog.text
    caplog.clear()
    expected = list(open_video(plain_video))
    assert not caplog.records
    assert len(frames) == len(expected)
    assert all(np.array_equal(first, second) for first, second in zip(frames, expected, strict=True))


def test_backend_names_are_checked(plain_video):
    with pytest.raises(ValueError, match="backend must be"):
        open_video(plain_video, backend="opencv")


class TestBrokenFiles:
    def faststart(self, path, plain_video):
        """The index in front of the frames, as downloads have it."""
        with av.open(str(plain_video)) as source, av.open(str(path), "w", options={"movflags": "faststart"}) as target:
            stream = target.add_stream_from_template(source.streams.video[0])
            for packet in source.demux(source.streams.video[0]):
                if packet.dts is not None:
                    packet.stream = stream
                    target.mux(packet)
        return path.read_bytes()

    @pytest.mark.parametrize("share", [0.4, 0.7, 0.98])
    def test_cut_off_files_are_read_as_far_as_they_go(self, tmp_path, plain_video, frame_number, caplog, share):
        path = tmp_path / "cut.mp4"
        data = self.faststart(path, plain_video)
        path.write_bytes(data[: int(len(data) * share)])
        reader = open_video(path)
        assert "is incomplete" in reader.damage
        assert "of 50 frames" in reader.damage
        assert reader.damage in caplog.text
        assert reader.frame_rate == Fraction(30000, 1001)
        numbers = numbers_of(reader, frame_number)
        assert 0 < len(numbers) < 50
        assert len(numbers) <= reader.num_frames
        assert numbers == sorted(set(numbers))
        assert numbers[: len(numbers) - 3] == list(range(len(numbers) - 3))

    def test_damage_in_the_middle_keeps_frames_in_place(self, tmp_path, video_maker, numbered_frames, frame_number):
        # each frame a picture of its own, so that only the damaged ones are lost
        path = tmp_path / "hole.mp4"
        frames = [numbered_frames(index) for index in range(30)]
        video_maker(path, frames, codec="mjpeg", pixel_format="yuvj420p", options={"q:v": "2", "strict": "-1"})
        with av.open(str(path)) as container:
            packets = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
        data = bytearray(path.read_bytes())
        position, size = packets[10]
        data[position : position + size] = bytes(size)
        path.write_bytes(data)
        reader = open_video(path)
        numbers = numbers_of(reader, frame_number)
        assert numbers == [*range(10), 9, *range(11, 30)]
        assert "29 of 30 frames could be decoded; 1 are shown as the frame before them" in reader.damage

    def test_nothing_to_decode(self, tmp_path, plain_video):
        path = tmp_path / "cut.mp4"
        data = self.faststart(path, plain_video)
        path.write_bytes(data[: data.index(b"mdat") + 20])
        with pytest.raises(ValueError, match="not one frame"):
            open_video(path)

    def test_index_missing(self, tmp_path, plain_video):
        path = tmp_path / "cut.mp4"
        data = plain_video.read_bytes()
        path.write_bytes(data[: len(data) // 2])
        with pytest.raises(ValueError, match="not a video that can be opened"):
            open_video(path)

    @pytest.mark.parametrize(
        ("name", "content", "message"),
        [
            ("empty.mp4", b"", r"is empty \(0 bytes\)"),
            ("text.mp4", b"hello world\n" * 50, "not a video"),
            ("text.txt", b"hello world\n" * 50, "text file|not a video"),
            ("noise.mkv", bytes(range(256)) * 20, "not a video"),
        ],
    )
    def test_no_videos(self, tmp_path, name, content, message):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=message):
            open_video(tmp_path / name)

    def test_missing(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="no such video"):
            open_video(tmp_path / "nothing.mp4")

    def test_sound_alone(self, tmp_path, plain_video):
        path = tmp_path / "sound.mp4"
        with av.open(str(plain_video)) as source, av.open(str(path), "w") as target:
            stream = target.add_stream_from_template(source.streams.audio[0])
            for packet in source.demux(source.streams.audio[0]):
                if packet.dts is not None:
                    packet.stream = stream
                    target.mux(packet)
        with pytest.raises(ValueError, match="no video stream, only audio"):
            open_video(path)


@pytest.mark.parametrize(
    ("name", "size", "rate", "num_frames"),
    [
        ("dog_person_720p.mp4", (720, 1280), Fraction(30000, 1001), 289),
        ("juggle_720p.mp4", (720, 1280), Fraction(24), 247),
        ("chair_2s_480p_fullrange.mp4", (480, 720), Fraction(30), 60),
        ("nasa_rotated_tiny.mp4", (480, 270), Fraction(30000, 1001), 17),
    ],
)
def test_real_files(sample_data, name, size, rate, num_frames):
    reader = open_video(sample_data / "videos" / name)
    assert (reader.size, reader.frame_rate, reader.num_frames) == (size, rate, num_frames)
    both = zip(reader, open_video(sample_data / "videos" / name, backend=BACKENDS[-1]), strict=True)
    assert sum(np.array_equal(first, second) for first, second in both) == num_frames
