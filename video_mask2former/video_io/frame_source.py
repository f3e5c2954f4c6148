"""What every kind of video source offers, so that one reader serves them all."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Protocol

import numpy as np


class FrameSource(Protocol):
    """Frames of one video, however it is stored.

    Attributes:
        size: Height and width of every frame, after rotation.
        frame_rate: Frames per second, None where the source does not say.
        num_frames: Frames that can be expected, None for a stream.
        timestamps: Time of each frame in seconds from the first, ``(num_frames,)`` float64, None where unknown.
        damage: What could not be read, in words, None while nothing is known to be missing.
        is_repeatable: Whether frames can be read more than once.
    """

    size: tuple[int, int]
    frame_rate: Fraction | None
    num_frames: int | None
    timestamps: np.ndarray | None
    damage: str | None
    is_repeatable: bool

    def read(self, start: int, stop: int | None, step: int) -> Iterator[np.ndarray]:
        """Yield every ``step``-th frame from ``start`` up to ``stop``, uint8 RGB ``(H, W, 3)``, each decoded once.

        Ends early where the source ends early.
        """
        ...

    def close(self) -> None:
        """Release files and devices."""
        ...


def check_frame(frame: np.ndarray, size: tuple[int, int] | None, place: str) -> np.ndarray:
    """Return ``frame`` if it is uint8 RGB of the expected size.

    Raises:
        ValueError: If it is not; ``place`` says in the message which frame it was.
    """
    if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8 or 0 in frame.shape:
        raise ValueError(f"{place} must be (H, W, 3) uint8 RGB, got {frame.shape} {frame.dtype}.")
    if size is not None and frame.shape[:2] != size:
        raise ValueError(
            f"{place} is {frame.shape[0]}x{frame.shape[1]} (height x width), but the first frame is "
            f"{size[0]}x{size[1]}. All frames of a video must have one size; resize them first."
        )
    return frame
