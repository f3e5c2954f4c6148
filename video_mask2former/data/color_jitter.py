"""Random change of colours, the same on every frame of a clip."""

from __future__ import annotations

import math

import cv2
import numpy as np
import torch
from torch import Tensor

from video_mask2former.structures import ClipTarget

# Rows: luminance, and two axes of chroma, from RGB (the YIQ space of NTSC).
_YIQ_FROM_RGB = np.array([[0.299, 0.587, 0.114], [0.595716, -0.274453, -0.321263], [0.211456, -0.522591, 0.311135]])
_MIDDLE = 127.5


class ColorJitter:
    """Change brightness, contrast, saturation and hue at random, in one linear map of the colours.

    Args:
        brightness: Largest change of the level, as a share of white.
        contrast: Largest relative change of the distance from middle grey.
        saturation: Largest relative change of the distance from the grey of the same luminance.
        hue_degrees: Largest turn of the hue.
    """

    def __init__(
        self,
        brightness: float = 0.125,
        contrast: float = 0.5,
        saturation: float = 0.5,
        hue_degrees: float = 18.0,
    ) -> None:
        self.brightness = brightness
        self.contrast = contrast
        self.saturation = saturation
        self.hue_degrees = hue_degrees

    def __call__(self, frames: Tensor, target: ClipTarget, rng: np.random.Generator) -> tuple[Tensor, ClipTarget]:
        offset = 255 * rng.uniform(-self.brightness, self.brightness)
        contrast = 1 + rng.uniform(-self.contrast, self.contrast)
        saturation = 1 + rng.uniform(-self.saturation, self.saturation)
        hue = math.radians(rng.uniform(-self.hue_degrees, self.hue_degrees))
        return transform_colors(frames, color_matrix(offset, contrast, saturation, hue)), target


def color_matrix(offset: float, contrast: float, saturation: float, hue: float) -> np.ndarray:
    """The affine map of RGB that turns the hue (radians), then scales saturation and contrast, then adds ``offset``.

    Returns:
        ``(3, 4)``, the constant last.
    """
    cos, sin = saturation * math.cos(hue), saturation * math.sin(hue)
    chroma = np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]])
    linear = contrast * np.linalg.inv(_YIQ_FROM_RGB) @ chroma @ _YIQ_FROM_RGB
    constant = np.full(3, (1 - contrast) * _MIDDLE + offset)
    return np.column_stack([linear, constant])


def transform_colors(frames: Tensor, matrix: np.ndarray) -> Tensor:
    """Apply an affine map ``(3, 4)`` to the colours of frames ``(T, 3, H, W)`` uint8, rounded and kept in range."""
    num_frames, _, height, width = frames.shape
    pixels = frames.permute(0, 2, 3, 1).reshape(num_frames * height, width, 3).numpy()
    changed = cv2.transform(pixels, matrix)
    return torch.from_numpy(changed).reshape(num_frames, height, width, 3).permute(0, 3, 1, 2)
