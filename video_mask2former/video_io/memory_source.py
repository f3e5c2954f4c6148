"""Frames that are already here or arrive one by one: arrays, iterators, cameras."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sized
from fractions import Fraction
from typing import Any

import cv2
import numpy as np
import torch

from video_mask2former.video_io.frame_source import check_frame

# A device that does not know its rate may say anything
MAX_RATE = 1000.0


class ArraySource:
    """A video held in memory.

    Args:
        frames: uint8 RGB, a numpy array ``(T, H, W, 3)`` or a tensor ``(T, 3, H, W)`` or ``(T, H, W, 3)``.
        frame_rate: Frames per second, None if unknown.
    """

    is_repeatable = True

    def __init__(self, frames: np.ndarray | torch.Tensor, frame_rate: Fraction | None = None) -> None:
        if isinstance(frames, torch.Tensor):
            has_channels_first = frames.ndim == 4 and frames.shape[1] == 3
            frames = (frames.permute(0, 2, 3, 1) if has_channels_first else frames).cpu().numpy()
        if frames.ndim != 4 or frames.shape[3] != 3 or frames.dtype != np.uint8 or 0 in frames.shape:
            raise ValueError(
                f"frames must be uint8 RGB, (T, H, W, 3) as an array or (T, 3, H, W) as a tensor, with T of 1 or more, "
                f"got {tuple(frames.shape)} {frames.dtype}. Add a time axis with frames[None] for a single image."
            )
        self._frames = frames
        self.size: tuple[int, int] = frames.shape[1:3]
        self.frame_rate = frame_rate
        self.num_frames: int | None = len(frames)
        self.timestamps = None if frame_rate is None else np.arange(len(frames)) / float(frame_rate)
        self.damage: str | None = None

    def read(self, start: int, stop: int | None, step: int) -> Iterator[np.ndarray]:
        """Yield every ``step``-th frame from ``start`` up to ``stop``, uint8 RGB ``(H, W, 3)``."""
        yield from self._frames[start:stop:step]

    def close(self) -> None:
        """Nothing to release."""


class IterableSource:
    """Frames from any iterable, taken one at a time when they are due.

    The first one is taken at once, to learn the size.

    Args:
        frames: Gives uint8 RGB arrays ``(H, W, 3)`` or tensors ``(3, H, W)``, all of one size.
        frame_rate: Frames per second, None if unknown.

    Raises:
        ValueError: If it gives no frame at all.
    """

    is_repeatable = False

    def __init__(self, frames: Iterable[Any], frame_rate: Fraction | None = None) -> None:
        self._iterator = iter(frames)
        first = next(self._iterator, None)
        if first is None:
            raise ValueError("the source gave no frame at all; it must give at least one.")
        self._first: np.ndarray | None = check_frame(_as_image(first), None, "frame 0")
        self.size: tuple[int, int] = self._first.shape[:2]
        self.frame_rate = frame_rate
        self.num_frames: int | None = len(frames) if isinstance(frames, Sized) else None
        self.timestamps: np.ndarray | None = None
        self.damage: str | None = None

    def read(self, start: int, stop: int | None, step: int) -> Iterator[np.ndarray]:
        """Yield every ``step``-th frame from ``start`` up to ``stop``, uint8 RGB ``(H, W, 3)``."""
        index = 0
        frame = self._first
        self._first = None
        while frame is not None:
            if index >= start and (index - start) % step == 0:
                yield frame
            index += 1
            # asked before the next frame is taken: a camera must not be read once more than needed
            if stop is not None and index >= stop:
                return
            following = next(self._iterator, None)
            frame = None if following is None else check_frame(_as_image(following), self.size, f"frame {index}")

    def close(self) -> None:
        """Close the iterator, if it is a generator."""
        close = getattr(self._iterator, "close", None)
        if callable(close):
            close()


def open_camera(source: int | str) -> IterableSource:
    """Frames of a camera or from an address, until they stop or the reader is closed.

    Args:
        source: Index of a camera, or an address that FFmpeg knows (``http://``, ``https://``, ``rtsp://``, ...).

    Raises:
        ValueError: If there is no such camera, or nothing can be read from the address.
    """
    capture = cv2.VideoCapture(source)
    if not capture.isOpened():
        if isinstance(source, str):
            raise ValueError(f"{source} cannot be read as a video. Is the address right, and the network there?")
        raise ValueError(f"camera {source} cannot be opened. Is it connected, and is another program using it?")
    rate = capture.get(cv2.CAP_PROP_FPS)
    frame_rate = Fraction(rate).limit_denominator(1001) if 0 < rate < MAX_RATE else None
    return IterableSource(_camera_frames(capture), frame_rate)


def _camera_frames(capture: cv2.VideoCapture) -> Iterator[np.ndarray]:
    try:
        while True:
            is_read, image = capture.read()
            if not is_read:
                return
            yield cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    finally:
        capture.release()


def _as_image(frame: Any) -> np.ndarray:
    if isinstance(frame, torch.Tensor):
        frame = (frame.permute(1, 2, 0) if frame.ndim == 3 and frame.shape[0] == 3 else frame).cpu().numpy()
    return np.asarray(frame)
