"""Image files of whatever origin: read once they are known to be files, decoded once their size is known."""

from __future__ import annotations

import contextlib
import io
import struct
import warnings
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from video_mask2former.rle import check_size

# what OpenCV decodes; Pillow has readers of many other formats, some of which start programs
_FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "PPM", "JPEG2000", "GIF")
_HEADER_ERRORS = (OSError, SyntaxError, ValueError, LookupError, EOFError, TypeError, OverflowError, struct.error)


def read_bytes(path: Path) -> np.ndarray:
    """The content of an image file, uint8.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is a folder, a pipe or a device, which may never end, or empty.
    """
    check_is_file(path, "image")
    data = np.fromfile(path, np.uint8)  # unlike cv2.imread, works with any path and says what is wrong
    if not data.size:
        raise ValueError(f"{path} is not an image that can be decoded (0 bytes). Is it cut off?")
    return data


def decode_image(data: np.ndarray, flags: int, path: Path) -> np.ndarray:
    """Decode an image file with OpenCV, whose ``flags`` say how.

    Raises:
        ValueError: If it is not an image, is cut off, or would fill the memory.
    """
    with contextlib.suppress(UnidentifiedImageError), open_picture(io.BytesIO(data.tobytes()), path):
        pass  # its header says a size that can be held
    try:
        image: np.ndarray | None = cv2.imdecode(data, flags)
    except cv2.error as error:
        raise ValueError(f"{path} is not an image that can be decoded ({error.err}).") from error
    if image is None:
        raise ValueError(f"{path} is not an image that can be decoded ({data.size} bytes). Is it cut off or renamed?")
    return image


@contextlib.contextmanager
def open_picture(source: Path | io.BytesIO, path: Path) -> Iterator[Image.Image]:
    """Open an image file with Pillow, which has read its header only; ``path`` names it in errors.

    Raises:
        UnidentifiedImageError: If Pillow does not know it.
        ValueError: If its header is damaged, or says that it is larger than ``MAX_PIXELS``.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the limit here is another
            picture = Image.open(source, formats=_FORMATS)
    except UnidentifiedImageError:
        raise
    except (Image.DecompressionBombError, *_HEADER_ERRORS) as error:
        raise ValueError(f"{path} is not an image that can be decoded: {error}") from error
    with picture:
        try:
            check_size((picture.height, picture.width))
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
        yield picture


def check_is_file(path: Path, kind: str) -> None:
    """Reject what is not there, and what is there but no file: reading a pipe may wait for ever.

    Raises:
        FileNotFoundError: If there is nothing of that name.
        ValueError: If it is a folder, a pipe or a device.
    """
    if path.is_file():
        return
    if path.is_dir():
        raise ValueError(f"{path} is a folder, expected the file of one {kind}.")
    if path.exists():
        raise ValueError(f"{path} is a pipe or a device, expected a file. Save the {kind} as a file first.")
    raise FileNotFoundError(f"no such {kind}: {path}." if kind == "video" else f"no {kind} {path}.")
