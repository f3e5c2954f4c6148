"""Writing videos that play everywhere: H.264 in MP4, at the rate and size of the input."""

from __future__ import annotations

import contextlib
import logging
import os
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Literal

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter

from video_mask2former.atomic import atomic_path
from video_mask2former.video_io.audio_copy import AudioCopy
from video_mask2former.video_io.frame_rate import check_frame_rate
from video_mask2former.video_io.frame_source import check_frame

logger = logging.getLogger(__name__)

SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv")
ENCODER = "libx264"
# time of frames that are not evenly spaced, in units of 1/90000 s as broadcast video has it
VARIABLE_RATE_TIME_BASE = Fraction(1, 90_000)
BT709 = 1


class VideoWriter:
    """Writes frames to an H.264 file that appears, whole, when the writer is closed.

    Use it as a context manager: an error inside leaves no file behind. Colours are BT.709 and marked so; the index is
    put at the front, so that a browser starts playing before everything is loaded.

    Args:
        path: File to write: .mp4, .m4v, .mov or .mkv.
        frame_rate: Frames per second, kept exactly.
        size: Height and width; taken from the first frame if None.
        crf: Quality of x264, 0 (lossless) to 51; about 6 less doubles the size of the file.
        preset: x264's trade of time for size, ``ultrafast`` to ``veryslow``.
        pixel_format: ``auto`` is ``yuv420p``, which every player reads, for even sizes. It cannot hold an odd height
            or width in H.264, so odd sizes become ``yuv444p``: exact, but not for every browser and television.
            ``yuv420p`` asked for by name repeats the last row or column of odd sizes instead: one pixel larger.
        audio_from: File whose sound is copied, unchanged.
        audio_start_seconds: Where in that file, counted from its first frame, the video being written starts.

    Raises:
        ValueError: If an argument is out of range, this build of PyAV has no H.264 encoder, or the sound does not fit
            into this kind of file.
        OSError: If the file cannot be written.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        frame_rate: Fraction | int | float,
        size: tuple[int, int] | None = None,
        *,
        crf: int = 20,
        preset: str = "veryfast",
        pixel_format: Literal["auto", "yuv420p", "yuv444p"] = "auto",
        audio_from: str | os.PathLike[str] | None = None,
        audio_start_seconds: float = 0.0,
    ) -> None:
        self.path = Path(path)
        self.size = size
        self.frame_rate = check_frame_rate(frame_rate)
        self.num_written = 0
        self._check_arguments(crf, pixel_format)
        self._pixel_format = pixel_format
        self._options = {"crf": str(crf), "preset": preset}
        self._reformatter = VideoReformatter()
        self._stream: av.VideoStream | None = None
        self._time_base = 1 / self.frame_rate
        self._last_pts = -1
        self._first_time: float | None = None
        self._stack = contextlib.ExitStack()
        try:
            temporary = self._stack.enter_context(atomic_path(self.path))
            options = {} if self.path.suffix.lower() == ".mkv" else {"movflags": "+faststart"}
            self._container = self._stack.enter_context(av.open(str(temporary), "w", options=options))
            self._audio: AudioCopy | None = None
            if audio_from is not None:
                # the picture comes first in the file: players show the first stream
                self._add_stream()
                self._audio = AudioCopy(audio_from, self._container, audio_start_seconds)
                self._stack.callback(self._audio.close)
        except BaseException as error:
            self._abort(error)
            raise

    def write(self, image: np.ndarray, time_seconds: float | None = None) -> None:
        """Append one frame.

        Args:
            image: uint8 RGB, ``(H, W, 3)``, the same size every time.
            time_seconds: When it is shown, for videos of variable rate; then every frame needs one, each later than
                the last. None: one frame period after the last.

        Raises:
            ValueError: If the frame does not fit those before it.
        """
        check_frame(image, self.size, f"frame {self.num_written}")
        self.size = image.shape[:2]
        if self._stream is None:
            self._add_stream()
        assert self._stream is not None
        if self.num_written == 0:
            self._configure(self._stream, has_times=time_seconds is not None)
            self._first_time = time_seconds
        frame = self._encodable(image)
        frame.pts = self._next_pts(time_seconds)
        frame.time_base = self._time_base
        for packet in self._stream.encode(frame):
            self._container.mux(packet)
        self.num_written += 1
        if self._audio is not None:
            self._audio.copy_until(frame.pts * self._time_base)

    def close(self) -> None:
        """Finish the file and put it in its place.

        Raises:
            ValueError: If no frame was written; no file is left then.
        """
        try:
            if self.num_written == 0 or self._stream is None:
                raise ValueError(f"no frame was written to {self.path}; a video needs at least one.")
            for packet in self._stream.encode():
                self._container.mux(packet)
            if self._audio is not None:
                end = self._last_pts * self._time_base + 1 / self.frame_rate
                self._audio.copy_until(end)
        except BaseException as error:
            self._abort(error)
            raise
        self._stack.close()

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:
            self._abort(error)

    def _check_arguments(self, crf: int, pixel_format: str) -> None:
        if self.path.suffix.lower() not in SUFFIXES:
            raise ValueError(f"path must end in {', '.join(SUFFIXES)}, got {str(self.path)!r}.")
        if not 0 <= crf <= 51:
            raise ValueError(f"crf must be in 0 .. 51, got {crf}.")
        if pixel_format not in ("auto", "yuv420p", "yuv444p"):
            raise ValueError(f"pixel_format must be 'auto', 'yuv420p' or 'yuv444p', got {pixel_format!r}.")
        if ENCODER not in av.codecs_available:
            raise ValueError(
                f"this build of PyAV {av.__version__} has no {ENCODER} encoder. "
                "Install the wheel from PyPI: pip install --force-reinstall --only-binary av av"
            )

    def _add_stream(self) -> None:
        self._stream = self._container.add_stream(ENCODER, rate=self.frame_rate, options=self._options)

    def _configure(self, stream: av.VideoStream, has_times: bool) -> None:
        """Set what depends on the first frame; the encoder opens with it."""
        assert self.size is not None
        height, width = self.size
        is_odd = bool(height % 2 or width % 2)
        if self._pixel_format == "auto":
            self._pixel_format = "yuv444p" if is_odd else "yuv420p"
        if is_odd:
            logger.info("%s has an odd size (%d x %d), written as %s", self.path, height, width, self._pixel_format)
        is_padded = is_odd and self._pixel_format == "yuv420p"
        stream.height = height + height % 2 if is_padded else height
        stream.width = width + width % 2 if is_padded else width
        stream.pix_fmt = self._pixel_format
        context = stream.codec_context
        context.color_range = ColorRange.MPEG
        context.colorspace = context.color_primaries = context.color_trc = BT709
        if has_times:
            self._time_base = VARIABLE_RATE_TIME_BASE
        context.time_base = self._time_base

    def _encodable(self, image: np.ndarray) -> av.VideoFrame:
        assert self._stream is not None
        bottom, right = self._stream.height - image.shape[0], self._stream.width - image.shape[1]
        if bottom or right:
            image = np.pad(image, ((0, bottom), (0, right), (0, 0)), mode="edge")
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        # AREA halves the chroma as BILINEAR does, in a third of the time
        return self._reformatter.reformat(
            frame,
            format=self._pixel_format,
            dst_colorspace=Colorspace.ITU709,
            dst_color_range=ColorRange.MPEG,
            interpolation="AREA",
        )

    def _next_pts(self, time_seconds: float | None) -> int:
        if (time_seconds is None) != (self._first_time is None):
            raise ValueError("time_seconds must be given for every frame or for none.")
        pts = self.num_written
        if time_seconds is not None and self._first_time is not None:
            pts = round((time_seconds - self._first_time) / VARIABLE_RATE_TIME_BASE)
        if pts <= self._last_pts:
            raise ValueError(f"frame {self.num_written} at {time_seconds} s is not later than the one before it.")
        self._last_pts = pts
        return pts

    def _abort(self, error: BaseException) -> None:
        """Close and remove everything; ``error`` is raised by the caller."""
        with contextlib.suppress(av.FFmpegError), contextlib.suppress(type(error)):
            self._stack.__exit__(type(error), error, error.__traceback__)
