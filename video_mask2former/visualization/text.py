"""Text on pictures, by Pillow: smooth at any size, in any alphabet the font has."""

from __future__ import annotations

import os

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from video_mask2former.messages import printable
from video_mask2former.visualization.colors import Color

# scores change from frame to frame, so that a long video shows many texts; old ones are dropped
MAX_CACHED_TEXTS = 2048
MAX_LENGTH = 120


class TextRenderer:
    """Draws text; every distinct text is rendered once.

    Args:
        font: A TrueType or OpenType file, for alphabets that Pillow's own font lacks.
    """

    def __init__(self, font: str | os.PathLike[str] | None = None) -> None:
        self._font_path = font
        self._fonts: dict[int, ImageFont.FreeTypeFont | ImageFont.ImageFont] = {}
        self._shapes: dict[tuple[str, int], np.ndarray] = {}
        self._patches: dict[tuple[str, int, Color, Color], np.ndarray] = {}
        if font is not None:
            self._font(12)

    def width(self, text: str, size: int) -> int:
        """Width of a text in pixels."""
        return int(self._shape(text, size).shape[1])

    def draw(self, canvas: np.ndarray, text: str, xy: tuple[int, int], size: int, color: Color) -> None:
        """Draw text with its top left corner at ``xy``; what lies outside of the canvas is cut off."""
        shape = self._shape(text, size)
        x, y = xy
        top, left = max(0, -y), max(0, -x)
        shape = shape[top : max(top, canvas.shape[0] - y), left : max(left, canvas.shape[1] - x)]
        if shape.size == 0:
            return
        y, x = y + top, x + left
        region = canvas[y : y + shape.shape[0], x : x + shape.shape[1]]
        region[:] = _blend(region, shape, color)

    def patch(self, text: str, size: int, color: Color, background: Color) -> np.ndarray:
        """Text on a box of one colour, ``(h, w, 3)`` uint8. Do not write into it."""
        key = (text, size, color, background)
        if key not in self._patches:
            if len(self._patches) >= MAX_CACHED_TEXTS:
                self._patches.clear()
            margin = max(2, size // 4)
            shape = cv2.copyMakeBorder(self._shape(text, size), 0, 0, margin, margin, cv2.BORDER_CONSTANT, value=0)
            box = np.empty((*shape.shape, 3), dtype=np.uint8)
            box[:] = background
            self._patches[key] = _blend(box, shape, color)
        return self._patches[key]

    def _shape(self, text: str, size: int) -> np.ndarray:
        """How much of each pixel the letters cover, ``(h, w)`` uint8; the height depends on the size alone."""
        text = printable(text, MAX_LENGTH)
        key = (text, size)
        if key not in self._shapes:
            if len(self._shapes) >= MAX_CACHED_TEXTS:
                self._shapes.clear()
            font = self._font(size)
            width = max(1, round(font.getlength(text)))
            picture = Image.new("L", (width + 1, round(1.3 * size)), 0)
            ImageDraw.Draw(picture).text((0, round(0.65 * size)), text, fill=255, font=font, anchor="lm")
            self._shapes[key] = np.asarray(picture)
        return self._shapes[key]

    def _font(self, size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
        if size not in self._fonts:
            if self._font_path is None:
                self._fonts[size] = ImageFont.load_default(size)
            else:
                try:
                    self._fonts[size] = ImageFont.truetype(os.fspath(self._font_path), size)
                except OSError as error:
                    raise ValueError(f"font must be a TrueType or OpenType file, got {self._font_path}.") from error
        return self._fonts[size]


def _blend(background: np.ndarray, shape: np.ndarray, color: Color) -> np.ndarray:
    alpha = shape[..., None].astype(np.uint16)
    mixed = background.astype(np.uint16) * (255 - alpha) + np.asarray(color, dtype=np.uint16) * alpha
    return ((mixed + 127) // 255).astype(np.uint8)
