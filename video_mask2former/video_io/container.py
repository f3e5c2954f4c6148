"""What a video file says of itself, measured when it is opened: packets counted, timestamps read, rotation found."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.sidedata.sidedata import Type as SideDataType
from av.stream import Disposition

from video_mask2former.rle import check_size
from video_mask2former.video_io.picture_files import check_is_file

logger = logging.getLogger(__name__)

# FFmpeg draws any text file of these "formats" as a terminal screen
TEXT_FORMATS = {"tty", "srt", "webvtt", "ass"}
# Titles that are not text are no reason to refuse a video; PyAV 19 has no such option and never does
METADATA_OPTIONS = {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}


@dataclass(frozen=True)
class Orientation:
    """How decoded pictures must be turned to stand upright: transpose first, then mirror."""

    transpose: bool = False
    flip_x: bool = False
    flip_y: bool = False

    @property
    def is_rotation(self) -> bool:
        """Whether it is a turn without mirroring."""
        return (self.transpose + self.flip_x + self.flip_y) % 2 == 0

    def apply(self, image: np.ndarray) -> np.ndarray:
        """Turn an image ``(H, W, 3)``."""
        if not (self.transpose or self.flip_x or self.flip_y):
            return image
        if self.transpose:
            image = image.transpose(1, 0, 2)
        image = image[:: -1 if self.flip_y else 1, :: -1 if self.flip_x else 1]
        return np.ascontiguousarray(image)


@dataclass(frozen=True)
class ContainerInfo:
    """What was found in a video file.

    Attributes:
        size: Height and width of a frame as it is shown.
        orientation: How to turn decoded pictures into shown ones.
        frame_rate: Exact rate where frames are evenly spaced, else the mean rate.
        num_frames: Frames whose data is in the file.
        declared_num_frames: Frames that the file says it has, None where it does not say.
        presentation_times: Timestamp of each frame in ``time_base``, in order of showing; None where frames lack them.
        time_base: Seconds per unit of ``presentation_times``.
        damage: What is missing, in words, None for an intact file.
    """

    size: tuple[int, int]
    orientation: Orientation
    frame_rate: Fraction | None
    num_frames: int
    declared_num_frames: int | None
    presentation_times: np.ndarray | None
    time_base: Fraction
    damage: str | None

    @property
    def timestamps(self) -> np.ndarray | None:
        """Time of each frame in seconds from the first."""
        if self.presentation_times is not None:
            ticks = self.presentation_times - self.presentation_times[0]
            return ticks * (self.time_base.numerator / self.time_base.denominator)
        if self.frame_rate is None:
            return None
        return np.arange(self.num_frames) / float(self.frame_rate)


def open_container(path: Path) -> av.container.InputContainer:
    """Open a video file for reading.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is empty or not a media file.
    """
    check_is_file(path, "video")
    if path.stat().st_size == 0:
        raise ValueError(f"{path} is empty (0 bytes).")
    try:
        container = av.open(str(path), **METADATA_OPTIONS)
    except av.FFmpegError as error:
        raise ValueError(
            f"{path} is not a video that can be opened ({error.strerror}). It is another kind of file, or a recording "
            "or download that was cut off before its index was written."
        ) from error
    if container.format.name in TEXT_FORMATS:
        container.close()
        raise ValueError(f"{path} is a text file, not a video.")
    return container


def video_stream(container: av.container.InputContainer, path: Path) -> av.VideoStream:
    """The stream with the moving pictures, set to decode with several threads.

    Raises:
        ValueError: If there is none; cover art of a sound file does not count.
    """
    stream = container.streams.best("video")
    if stream is None or stream.disposition & Disposition.attached_pic:
        kinds = sorted({other.type for other in container.streams}) or ["nothing"]
        raise ValueError(f"{path} has no video stream, only {', '.join(kinds)}.")
    if stream.codec_context is None:
        raise ValueError(f"{path}: its video codec cannot be decoded here.")
    if stream.width and stream.height:
        try:
            check_size((stream.height, stream.width))
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
    stream.thread_type = "AUTO"
    return stream


def decode_packets(container: av.container.InputContainer, stream: av.VideoStream) -> Iterator[av.VideoFrame | None]:
    """Yield decoded frames in order of showing, and None for every packet that cannot be read or decoded."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except av.FFmpegError:
            yield None
            packet = None
        try:
            # decode(None) hands out the frames that the decoder still holds
            yield from stream.decode(packet)
        except av.EOFError:
            return
        except av.FFmpegError:
            yield None
        if packet is None:
            return


def probe_container(path: Path) -> ContainerInfo:
    """Read what a video file holds: every packet is counted, and the first frame decoded.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is empty, is not a video, or not one frame of it can be decoded.
    """
    with open_container(path) as container:
        stream = video_stream(container, path)
        times, num_frames, is_cut = _scan_packets(container, stream)
        time_base = stream.time_base or Fraction(1, 1)
        declared = stream.frames or None
        if declared and not is_cut and not _points_beyond_end(stream, path):
            # edit lists hide frames, which the file still counts
            declared = num_frames
        frame_rate = _exact_rate(times, time_base, stream, declared or num_frames)
        expected = declared or _expected_from_duration(container, frame_rate)
    with open_container(path) as container:
        first = _first_frame(container, video_stream(container, path))
    if first is None:
        raise ValueError(
            f"not one frame of {path} can be decoded ({num_frames} of {expected or 'unknown'} frames have data in the "
            "file). It was probably cut off; copy or download it again."
        )
    orientation = _orientation(first, path)
    size = (first.width, first.height) if orientation.transpose else (first.height, first.width)
    damage = None
    if is_cut or (expected is not None and num_frames < expected - (0 if declared else 2)):
        of = "" if expected is None else f" of {'' if declared else 'about '}{expected}"
        damage = f"{path} is incomplete: it holds {num_frames}{of} frames."
    return ContainerInfo(size, orientation, frame_rate, num_frames, declared, times, time_base, damage)


def _scan_packets(
    container: av.container.InputContainer, stream: av.VideoStream
) -> tuple[np.ndarray | None, int, bool]:
    """Timestamps in order of showing (None where some are missing or doubled), frame count, whether reading failed."""
    times: list[int | None] = []
    is_cut = False
    try:
        for packet in container.demux(stream):
            if packet.size and not packet.is_discard:
                times.append(packet.pts)
    except av.FFmpegError:
        is_cut = True
    known = np.unique(np.asarray([time for time in times if time is not None], dtype=np.int64))
    has_all = len(times) > 0 and len(known) == len(times)
    return (known if has_all else None), len(times), is_cut


def _points_beyond_end(stream: av.VideoStream, path: Path) -> bool:
    """Whether the index of the file lists data that is not there."""
    num_bytes = path.stat().st_size
    return any(entry.pos + entry.size > num_bytes for entry in stream.index_entries)


def _exact_rate(
    times: np.ndarray | None, time_base: Fraction, stream: av.VideoStream, num_expected: int
) -> Fraction | None:
    """The rate that explains all timestamps to within one tick, else the mean rate."""
    # the guess comes first: the average is computed from rounded times in some containers
    candidates = [Fraction(rate) for rate in (stream.guessed_rate, stream.average_rate, stream.base_rate) if rate]
    if times is None or len(times) < 2 or len(times) != num_expected:
        return Fraction(stream.average_rate) if stream.average_rate else next(iter(candidates), None)
    ticks = times - times[0]
    for rate in candidates:
        even = np.arange(len(times)) * float(1 / (rate * time_base))
        if np.abs(ticks - even).max() <= 1.0:
            return rate
    return Fraction(len(times) - 1) / (int(ticks[-1]) * time_base)


def _expected_from_duration(container: av.container.InputContainer, frame_rate: Fraction | None) -> int | None:
    """Frames that the stated duration has room for, where there is only the one stream to state it."""
    if container.duration is None or frame_rate is None or len(container.streams) != 1:
        return None
    return round(container.duration * frame_rate / av.time_base)


def _first_frame(container: av.container.InputContainer, stream: av.VideoStream) -> av.VideoFrame | None:
    return next((frame for frame in decode_packets(container, stream) if frame is not None), None)


def _orientation(frame: av.VideoFrame, path: Path) -> Orientation:
    """Read the display matrix: (x, y) of the picture is shown at (a x + c y, b x + d y)."""
    data = frame.side_data.get(SideDataType.DISPLAYMATRIX)
    if data is None:
        return Orientation()
    a, b, _, c, d, *_ = (int(value) for value in np.frombuffer(bytes(data), dtype=np.int32))
    if b == c == 0 and a and d:
        return Orientation(False, flip_x=a < 0, flip_y=d < 0)
    if a == d == 0 and b and c:
        return Orientation(True, flip_x=c < 0, flip_y=b < 0)
    logger.warning("%s is turned by an angle that is not a multiple of 90 degrees; read as stored", path)
    return Orientation()
