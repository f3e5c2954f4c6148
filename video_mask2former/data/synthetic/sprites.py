"""Objects of synthetic videos: a textured shape that deforms, or a real object cut out of an annotated video."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import cv2
import numpy as np


class Sprite(Protocol):
    """An object as it looks by itself, before it is moved into a scene.

    Attributes:
        category_id: What it is.
    """

    category_id: int

    def patch(self, time: int) -> tuple[np.ndarray, np.ndarray]:
        """Its picture ``(h, w, 3)`` uint8 RGB and its mask ``(h, w)`` uint8, 0 or 1, at a time in frames."""


class ShapeSprite:
    """A textured shape whose outline breathes.

    Args:
        category_id: Position in :data:`SHAPES`, counted from 1.
        radius: Of the shape, in pixels.
        rng: Source of its colours, texture and deformation.
        is_plain: One colour instead of a texture, so that only the outline tells the class.
    """

    def __init__(self, category_id: int, radius: int, rng: np.random.Generator, *, is_plain: bool = False) -> None:
        self.category_id = category_id
        self._radius = radius
        self._outline = _OUTLINES[category_id - 1](_ANGLES)
        self._waves = int(rng.integers(2, 5))
        self._depth = rng.uniform(0.02, 0.08)
        self._speed, self._phase = rng.uniform(0.1, 0.6), rng.uniform(0, 2 * np.pi)
        self._texture = _texture(category_id, 2 * self._half_side, rng)
        if is_plain:
            self._texture[:] = rng.integers(0, 256, size=3)

    @property
    def _half_side(self) -> int:
        return int(1.25 * self._radius) + 2

    def patch(self, time: int) -> tuple[np.ndarray, np.ndarray]:
        """See :class:`Sprite`."""
        swell = 1 + self._depth * np.sin(self._waves * _ANGLES + self._phase + self._speed * time)
        radii = self._radius * self._outline * swell
        points = self._half_side + radii[:, None] * np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], axis=1)
        mask = np.zeros(self._texture.shape[:2], np.uint8)
        cv2.fillPoly(mask, [np.round(points).astype(np.int32)], 1)
        return self._texture, mask


class CutoutSprite:
    """A real object, as it looked on some frames of its video; beyond them it plays back and forth.

    Args:
        category_id: What it is.
        patches: Picture and mask for each frame, all of one size.
    """

    def __init__(self, category_id: int, patches: Sequence[tuple[np.ndarray, np.ndarray]]) -> None:
        if not patches:
            raise ValueError("patches must show the object at least once, got none.")
        self.category_id = category_id
        self._patches = tuple(patches)

    def patch(self, time: int) -> tuple[np.ndarray, np.ndarray]:
        """See :class:`Sprite`."""
        period = max(1, 2 * (len(self._patches) - 1))
        step = time % period
        return self._patches[min(step, period - step)] if len(self._patches) > 1 else self._patches[0]


def smooth_noise(size: tuple[int, int], cells: int, rng: np.random.Generator) -> np.ndarray:
    """A random field ``(H, W)`` in [0, 1] that varies over ``cells`` cells a side."""
    coarse = rng.random((cells + 1, cells + 1)).astype(np.float32)
    return np.clip(cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC), 0, 1)


_ANGLES = np.linspace(0, 2 * np.pi, 120, endpoint=False)


def _disc(angles: np.ndarray) -> np.ndarray:
    return np.ones_like(angles)


def _polygon(corners: int) -> Callable[[np.ndarray], np.ndarray]:
    def outline(angles: np.ndarray) -> np.ndarray:
        sector = 2 * np.pi / corners
        radii: np.ndarray = np.cos(sector / 2) / np.cos(angles % sector - sector / 2)
        return radii

    return outline


def _star(angles: np.ndarray) -> np.ndarray:
    toward_tip = np.abs((angles * 5 / (2 * np.pi)) % 1 - 0.5) * 2  # 0 in a notch, 1 at a tip
    radii: np.ndarray = 0.45 + 0.55 * toward_tip
    return radii


_OUTLINES: tuple[Callable[[np.ndarray], np.ndarray], ...] = (_disc, _polygon(4), _polygon(3), _star)

SHAPES: tuple[str, ...] = ("disc", "square", "triangle", "star")
"""Names of the shapes, in the order of their category ids from 1."""


def _texture(category_id: int, side: int, rng: np.random.Generator) -> np.ndarray:
    """Two colours mixed by a pattern that belongs to the class, with some noise."""
    first, second = rng.integers(0, 256, size=(2, 3))
    while np.abs(first - second).sum() < 200:
        first, second = rng.integers(0, 256, size=(2, 3))
    y, x = np.mgrid[:side, :side] / side
    period = rng.uniform(3, 6)
    patterns = (
        np.sin(2 * np.pi * period * (x + 0.3 * y)) > 0,
        (np.sin(2 * np.pi * period * x) > 0) ^ (np.sin(2 * np.pi * period * y) > 0),
        np.sin(2 * np.pi * period * x) * np.sin(2 * np.pi * period * y) > 0.35,
        smooth_noise((side, side), int(period) + 2, rng) > 0.5,
    )
    mix = np.where(patterns[category_id - 1], 1.0, 0.0)[..., None]
    colors = first * mix + second * (1 - mix) + 30 * (smooth_noise((side, side), 9, rng)[..., None] - 0.5)
    return np.clip(colors, 0, 255).astype(np.uint8)
