"""Reading the frames of a clip from image files, those that were sampled and no others."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from video_mask2former.video_io.picture_files import decode_image, read_bytes


def read_frames(paths: Sequence[Path], size: tuple[int, int]) -> Tensor:
    """Read frames of one video.

    Args:
        paths: The files.
        size: Height and width that the annotations were made for.

    Returns:
        RGB, ``(T, 3, H, W)`` uint8, in channels-last memory as image files are.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a file is not an image or has another size.
    """
    frames = np.empty((len(paths), *size, 3), np.uint8)
    for index, path in enumerate(paths):
        frames[index] = read_image(path, size)
    return torch.from_numpy(frames).permute(0, 3, 1, 2)


def missing_files(folder: Path, names: Iterable[str]) -> list[str]:
    """Which of some file names, relative to a folder, are not there; each folder is listed once, no file opened."""
    listings: dict[str, frozenset[str]] = {}
    missing = []
    for name in names:
        parent, _, base = name.rpartition("/")
        if parent not in listings:
            listings[parent] = _listing(folder / parent)
        # what a listing does not show may still be there under another spelling
        if base not in listings[parent] and not (folder / name).is_file():
            missing.append(name)
    return missing


def read_image(path: Path, size: tuple[int, int] | None = None) -> np.ndarray:
    """Read one image as RGB ``(H, W, 3)`` uint8.

    Annotations are mostly made for the pixels as stored, so a note in the file that viewers should turn the image is
    followed only where the image has the expected size after it.

    Args:
        path: The file.
        size: Expected height and width; None takes any, as stored.

    Raises:
        FileNotFoundError: If it is missing.
        ValueError: If it is not an image, or has another size.
    """
    data = read_bytes(path)
    image = decode_image(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION, path)
    if size is not None and image.shape[:2] == size[::-1] != size:
        image = decode_image(data, cv2.IMREAD_COLOR, path)
    if size is not None and image.shape[:2] != size:
        raise ValueError(
            f"{path} must have the size of its annotations, height x width = {size[0]} x {size[1]}, "
            f"got {image.shape[0]} x {image.shape[1]}."
        )
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image)


def _listing(folder: Path) -> frozenset[str]:
    try:
        return frozenset(os.listdir(folder))
    except OSError:
        return frozenset()
