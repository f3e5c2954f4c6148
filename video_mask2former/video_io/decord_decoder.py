"""Frames of a video file by decord, front to back."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from video_mask2former.video_io.container import ContainerInfo


class DecordError(RuntimeError):
    """decord is missing, or fails on this file."""


class DecordDecoder:
    """Decodes one file in order with decord.

    Only ``next()`` is used: decord's seeking and skipping return wrong frames for some files (open groups of pictures,
    MPEG-2). While it waits for a frame it hands more and more packets to its decoder, so that memory grows with the
    length of the video when the processor is busy: it is for short videos.

    Raises:
        DecordError: If decord is not installed, cannot open the file, or sees another video in it than FFmpeg does.
    """

    def __init__(self, path: Path, info: ContainerInfo) -> None:
        if importlib.util.find_spec("decord") is None:
            raise DecordError("decord is not installed")
        if not info.orientation.is_rotation:
            raise DecordError("decord does not mirror")
        import decord

        self._error: type[Exception] = decord.DECORDError
        # decord's FFmpeg writes to stderr whatever it meets; what matters arrives as an error
        decord.logging.set_level(decord.logging.QUIET)
        try:
            self._reader = decord.VideoReader(str(path), ctx=decord.cpu(0))
        except (self._error, RuntimeError) as error:
            raise DecordError(_first_line(error)) from error
        if len(self._reader) != info.num_frames:
            raise DecordError(f"decord counts {len(self._reader)} frames instead of {info.num_frames}")
        self._size = info.size

    def read(self, wanted: range) -> Iterator[np.ndarray]:
        """Yield the wanted frames, uint8 RGB ``(H, W, 3)``; those between them are decoded too.

        Raises:
            DecordError: If a frame cannot be decoded.
        """
        for index in range(wanted[-1] + 1 if wanted else 0):
            try:
                frame = _as_array(self._reader.next())
            except (self._error, StopIteration) as error:
                raise DecordError(f"decord failed on frame {index}: {_first_line(error)}") from error
            # upright videos less than 64 pixels wide come out with four channels
            if frame.shape != (*self._size, 3):
                raise DecordError(f"decord gives frames of shape {frame.shape} instead of {(*self._size, 3)}")
            if index in wanted:
                yield frame


def _as_array(frame: Any) -> np.ndarray:
    """Undo whatever array type another user of decord in this process has set as its bridge."""
    array: np.ndarray = frame.asnumpy() if hasattr(frame, "asnumpy") else np.asarray(frame)
    return array


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0][:200] or type(error).__name__
