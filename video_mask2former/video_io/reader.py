"""Reading videos of any kind: lazily, in order, each frame once."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch

from video_mask2former.remote_files import fetched, is_address, is_stored
from video_mask2former.video_io.file_source import Backend, FileSource
from video_mask2former.video_io.frame_rate import check_frame_rate
from video_mask2former.video_io.frame_source import FrameSource
from video_mask2former.video_io.image_source import IMAGE_SUFFIXES, ImageSource, find_images
from video_mask2former.video_io.memory_source import ArraySource, IterableSource, open_camera

VideoSource = str | os.PathLike[str] | int | np.ndarray | torch.Tensor | Iterable[Any]

VIDEO_SUFFIXES = (
    *(".mp4", ".m4v", ".mkv", ".mov", ".avi", ".webm", ".mpg", ".mpeg", ".ts", ".m2ts", ".mts"),
    *(".wmv", ".flv", ".ogv", ".3gp", ".mxf", ".gif", ".y4m"),
)


@dataclass(frozen=True)
class FrameChunk:
    """Some consecutive frames that a reader delivered.

    Attributes:
        frame_indices: Index of each frame in the source video; not consecutive when the reader skips frames.
        images: uint8 RGB, ``(T, H, W, 3)``; what drawing and writing take.
    """

    frame_indices: tuple[int, ...]
    images: np.ndarray

    def __len__(self) -> int:
        return len(self.frame_indices)

    @property
    def frames(self) -> torch.Tensor:
        """The same memory as the model takes it, uint8 ``(T, 3, H, W)``."""
        return torch.from_numpy(self.images).permute(0, 3, 1, 2)


class VideoReader:
    """The frames of a video, in order, read lazily and once.

    Make one with :func:`open_video`. Iterating gives uint8 RGB arrays ``(H, W, 3)``; :meth:`chunks` gives several at a
    time with their indices. Either can be done once; open the video again to read it again.

    Args:
        source: Where the frames come from.
        name: What to call the video in messages and results: its path, if it has one.
        start: Index of the first frame to deliver.
        end: Index at which to stop (not delivered), None for the end of the video.
        every: Deliver every so many frames.

    Attributes:
        name: As given.
        path: The same, whatever ``name`` is set to: the file, where it is one.
        size: Height and width of a frame, after rotation.
        frame_rate: Exact rate of the source; the mean rate where it varies; None where unknown.
        source_num_frames: Frames in the source, whatever part of it is read; None for a stream.
        num_read: Frames delivered so far.

    Raises:
        ValueError: If ``start``, ``end`` and ``every`` select no frame.
    """

    def __init__(
        self, source: FrameSource, *, name: str = "video", start: int = 0, end: int | None = None, every: int = 1
    ) -> None:
        check_range(start, end, every)
        if source.num_frames is not None and start >= source.num_frames:
            raise ValueError(f"{name} has {source.num_frames} frames, nothing is left from {start = } on.")
        known = [limit for limit in (end, source.num_frames) if limit is not None]
        self._stop = min(known) if known else None
        self._source = source
        self._start = start
        self._every = every
        self._is_started = False
        self.name = name
        self.path = name
        self.size = source.size
        self.frame_rate = source.frame_rate
        self.source_num_frames = source.num_frames
        self.num_read = 0
        self._resources = contextlib.ExitStack()
        self._resources.callback(source.close)

    def _closes(self, resources: contextlib.ExitStack) -> None:
        """Close these, too, when the reader is closed."""
        self._resources.push(resources)

    @property
    def num_frames(self) -> int | None:
        """Frames this reader will deliver, None for a stream; fewer come where the file turns out damaged."""
        if self.source_num_frames is None or self._stop is None:
            return None
        return len(range(self._start, self._stop, self._every))

    @property
    def playback_rate(self) -> Fraction | None:
        """The rate at which the delivered frames play at the speed of the source."""
        return None if self.frame_rate is None else self.frame_rate / self._every

    @property
    def damage(self) -> str | None:
        """What could not be read of the source, in words; final once everything was delivered, None if all is well."""
        return self._source.damage

    @property
    def timestamps(self) -> np.ndarray | None:
        """Time of each delivered frame in seconds from the first frame of the source, None where unknown."""
        times = self._source.timestamps
        return None if times is None else times[self._start : self._stop : self._every]

    @property
    def has_variable_rate(self) -> bool:
        """Whether the playback rate would show some frame half a period early or late; then write with timestamps."""
        times, rate = self.timestamps, self.playback_rate
        if times is None or rate is None or len(times) == 0:
            return False
        even = np.arange(len(times)) / float(rate)
        return bool(np.abs(times - times[0] - even).max() > 0.5 / float(rate))

    def frame_index(self, position: int) -> int:
        """Index in the source of the frame delivered at ``position``."""
        return self._start + position * self._every

    def time_seconds(self, frame_index: int) -> float | None:
        """Time of a frame of the source in seconds from its first frame, None where unknown."""
        times = self._source.timestamps
        if times is not None and frame_index < len(times):
            return float(times[frame_index])
        return None if self.frame_rate is None else float(frame_index / self.frame_rate)

    def __iter__(self) -> Iterator[np.ndarray]:
        if self._is_started:
            raise ValueError(f"{self.name} was already read by this reader; frames are read once. Open it again.")
        self._is_started = True
        return self._frames()

    def again(self) -> Iterator[np.ndarray]:
        """The same frames once more, which do not count as read."""
        self.check_repeatable()
        return self._source.read(self._start, self._stop, self._every)

    def check_repeatable(self) -> None:
        """Raise ValueError if frames cannot be read more than once, as those of a camera or an iterator."""
        if not self._source.is_repeatable:
            raise ValueError(
                f"{self.name} can be read once only, and its frames are wanted twice. Use second_pass='disk', or save "
                "it as a file."
            )

    def chunks(self, length: int) -> Iterator[FrameChunk]:
        """Yield up to ``length`` frames at a time; only the last chunk may be shorter."""
        if length < 1:
            raise ValueError(f"length must be 1 or more, got {length}.")
        images: list[np.ndarray] = []
        first = 0
        for image in self:
            images.append(image)
            if len(images) == length:
                yield self._chunk(first, images)
                first += length
                images = []
        if images:
            yield self._chunk(first, images)

    def close(self) -> None:
        """Release files and devices."""
        self._resources.close()

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _frames(self) -> Iterator[np.ndarray]:
        for image in self._source.read(self._start, self._stop, self._every):
            self.num_read += 1
            yield image

    def _chunk(self, first: int, images: list[np.ndarray]) -> FrameChunk:
        indices = tuple(self.frame_index(first + offset) for offset in range(len(images)))
        return FrameChunk(indices, np.stack(images))


def check_range(start: int | None, end: int | None, every: int) -> None:
    """Reject what selects no frame of any video."""
    if every < 1:
        raise ValueError(f"every must be 1 or more, got {every}.")
    if (start or 0) < 0 or (end is not None and end <= (start or 0)):
        raise ValueError(f"start and end must satisfy 0 <= start < end, got {start = }, {end = }.")


def open_video(
    source: VideoSource,
    *,
    start: int | None = None,
    end: int | None = None,
    every: int = 1,
    frame_rate: Fraction | int | None = None,
    backend: Backend = "pyav",
) -> VideoReader:
    """Open a video of any kind for reading.

    Args:
        source: A video file (mp4, mkv, mov, avi, webm, ...), an image, a folder or glob of images
            (read in natural order), a list of image files (read in its order), the index of a camera, a numpy
            array ``(T, H, W, 3)`` or tensor ``(T, 3, H, W)`` of uint8 RGB, or any iterable of uint8 RGB frames
            ``(H, W, 3)``. An address (``https://...``, ``rtsp://...``) is read like a camera: in order, once, of
            unknown length. What is in a store (``s3://...``, ``gs://...``) is fetched, and kept until the reader is
            closed.
        start: Index of the first frame to read, 0 if None.
        end: Index of the frame to stop before, None for the end of the video.
        every: Read every n-th frame.
        frame_rate: Rate of a source that does not say its own: images, arrays and iterables.
        backend: Decoder of video files, ``pyav`` or ``decord``; see
            :class:`~video_mask2former.video_io.file_source.FileSource`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it cannot be read as a video, or nothing of it is selected.
    """
    rate = None if frame_rate is None else check_frame_rate(frame_rate)
    with contextlib.ExitStack() as stack:
        if is_stored(source):
            frames: FrameSource = _path_source(stack.enter_context(fetched(str(source))), rate, backend)
            name = str(source)
        else:
            frames, name = _frame_source(source, rate, backend)
        stack.callback(frames.close)
        reader = VideoReader(frames, name=name, start=start or 0, end=end, every=every)
        reader._closes(stack.pop_all())
        return reader


def _frame_source(source: VideoSource, rate: Fraction | None, backend: Backend) -> tuple[FrameSource, str]:
    if isinstance(source, str) and is_address(source):
        return open_camera(source), source
    if isinstance(source, (str, os.PathLike)):
        return _path_source(Path(source), rate, backend), os.fspath(source)
    if isinstance(source, int) and not isinstance(source, bool):
        return open_camera(source), f"camera {source}"
    if isinstance(source, (np.ndarray, torch.Tensor)):
        return ArraySource(source, rate), "array"
    if isinstance(source, Sequence) and source and all(isinstance(item, (str, os.PathLike)) for item in source):
        paths = [Path(item) for item in source]
        videos = [str(path) for path in paths if path.suffix.lower() in VIDEO_SUFFIXES]
        if videos:
            raise ValueError(
                f"a list of files is the frames of one video, but {videos[0]} is a video of its own. "
                "Open one video at a time; segment_videos takes several."
            )
        return ImageSource(paths, rate), str(paths[0].parent)
    if isinstance(source, Iterable):
        return IterableSource(source, rate), "frames"
    raise TypeError(
        f"source must be a path, a camera index, an array or an iterable of frames, got {type(source)}. "
        "Pictures of other kinds become arrays with numpy.asarray(picture)."
    )


def _path_source(path: Path, rate: Fraction | None, backend: Backend) -> FrameSource:
    if path.is_dir() or (not path.exists() and any(letter in str(path) for letter in "*?[")):
        return ImageSource(find_images(path), rate)
    if path.suffix.lower() in IMAGE_SUFFIXES and path.exists():
        return ImageSource([path], rate)
    return FileSource(path, backend)
