"""Small videos made for the tests: every frame carries its own number, so that a frame out of place is noticed."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

BITS = 12
CELL = 8


def numbered_frame(index: int, size: tuple[int, int] = (48, 112)) -> np.ndarray:
    """A colour gradient with the number of the frame in black and white squares at the top."""
    frame = np.zeros((*size, 3), dtype=np.uint8)
    frame[..., 0] = (index * 5) % 200
    frame[..., 1] = np.linspace(0, 200, size[1]).astype(np.uint8)
    for bit in range(BITS):
        frame[:CELL, bit * CELL : (bit + 1) * CELL] = 255 if index >> bit & 1 else 0
    return frame


def read_number(frame: np.ndarray) -> int:
    """The number in a frame, after compression too."""
    middles = frame[CELL // 2, CELL // 2 : BITS * CELL : CELL].mean(axis=1)
    return sum(1 << bit for bit, value in enumerate(middles) if value > 127)


def encode_video(
    path: Path,
    frames: list[np.ndarray],
    *,
    rate: Fraction = Fraction(30000, 1001),
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    options: dict[str, str] | None = None,
    ticks: list[int] | None = None,
    rotation: int = 0,
    color: tuple[int, int] | None = None,
    sound_seconds: float = 0.0,
) -> Path:
    """Write a video with PyAV alone, not with the code under test.

    ``ticks`` are the times of the frames in 1/90 s; ``color`` is FFmpeg's matrix and range; sound is a tone.
    """
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, options=options or {})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pixel_format
        if rotation:
            stream.set_display_rotation(rotation)
        if ticks is not None:
            stream.codec_context.time_base = Fraction(1, 90)
        if color is not None:
            stream.codec_context.colorspace, stream.codec_context.color_range = color
        sound = container.add_stream("aac", rate=16000, layout="mono") if sound_seconds else None
        for index, image in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            if color is not None:
                frame = frame.reformat(format=pixel_format, dst_colorspace=color[0], dst_color_range=color[1])
            if ticks is not None:
                frame.pts, frame.time_base = ticks[index], Fraction(1, 90)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        if sound is not None:
            tone = np.sin(np.arange(int(16000 * sound_seconds)) * 0.2).astype(np.float32)[None]
            samples = av.AudioFrame.from_ndarray(tone, format="fltp", layout="mono")
            samples.sample_rate, samples.pts = 16000, 0
            for frame in [samples, None]:
                container.mux(sound.encode(frame))
    return path


@pytest.fixture(scope="session")
def numbered_frames():
    """Builder of frames: :func:`numbered_frame`."""
    return numbered_frame


@pytest.fixture(scope="session")
def frame_number():
    """Reader of their numbers: :func:`read_number`."""
    return read_number


@pytest.fixture(scope="session")
def video_maker():
    """Builder of files: :func:`encode_video`."""
    return encode_video


@pytest.fixture(scope="session")
def plain_video(tmp_path_factory) -> Path:
    """50 numbered frames of H.264 with B-frames and several key frames, at 30000/1001, with sound."""
    path = tmp_path_factory.mktemp("video") / "plain.mp4"
    frames = [numbered_frame(index) for index in range(50)]
    return encode_video(path, frames, options={"g": "12", "bf": "2"}, sound_seconds=1.7)
