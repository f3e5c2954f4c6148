"""A folder, glob or list of image files as a video."""

from __future__ import annotations

import glob
import re
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from video_mask2former.video_io.frame_source import check_frame
from video_mask2former.video_io.picture_files import decode_image, read_bytes

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm")


class ImageSource:
    """Image files as the frames of a video, each read when it is due.

    Args:
        paths: The files, in order.
        frame_rate: Frames per second, None if unknown.

    Raises:
        ValueError: If there are none, or the first one cannot be read. Others are checked when they are due.
    """

    is_repeatable = True

    def __init__(self, paths: Sequence[Path], frame_rate: Fraction | None = None) -> None:
        if not paths:
            raise ValueError("paths must name at least one image, got none.")
        self.paths = tuple(paths)
        self.size: tuple[int, int] = _read_rgb(self.paths[0], None).shape[:2]
        self.frame_rate = frame_rate
        self.num_frames: int | None = len(self.paths)
        self.timestamps = None if frame_rate is None else np.arange(len(self.paths)) / float(frame_rate)
        self.damage: str | None = None

    def read(self, start: int, stop: int | None, step: int) -> Iterator[np.ndarray]:
        """Yield every ``step``-th image from ``start`` up to ``stop``, uint8 RGB ``(H, W, 3)``."""
        for path in self.paths[start:stop:step]:
            yield _read_rgb(path, self.size)

    def close(self) -> None:
        """Nothing stays open between reads."""


def natural_order(path: Path) -> tuple[tuple[int, int | str], ...]:
    """Sort key under which ``frame2`` comes before ``frame10``."""
    parts = re.split(r"(\d+)", str(path))
    return tuple((0, int(part)) if part.isdecimal() else (1, part) for part in parts if part)


def find_images(pattern: Path) -> list[Path]:
    """The images of a folder, or those that match a glob, in natural order.

    Raises:
        ValueError: If there are none.
    """
    if pattern.is_dir():
        found = [path for path in pattern.iterdir() if _is_image(path)]
        if not found:
            others = sorted(path.name for path in pattern.iterdir())[:3]
            content = f"only {', '.join(others)}, ..." if others else "nothing at all"
            raise ValueError(
                f"folder {pattern} holds no images ({', '.join(IMAGE_SUFFIXES)}), {content}. "
                "Give the folder with the frames of one video, or one video file."
            )
    else:
        found = [Path(name) for name in glob.glob(str(pattern), recursive=True) if _is_image(Path(name))]
        if not found:
            raise ValueError(f"no image ({', '.join(IMAGE_SUFFIXES)}) matches {pattern}.")
    return sorted(found, key=natural_order)


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".") and path.is_file()


def _read_rgb(path: Path, size: tuple[int, int] | None) -> np.ndarray:
    """Read one image; camera rotation (EXIF) is applied, transparency dropped, grey and 16-bit made 8-bit RGB."""
    image = decode_image(read_bytes(path), cv2.IMREAD_COLOR, path)
    return check_frame(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), size, str(path))
