"""Painted stuff: sky, grass, water and bricks, with colours and textures of their own."""

from __future__ import annotations

import numpy as np

from video_mask2former.data.synthetic.sprites import smooth_noise

STUFF: tuple[str, ...] = ("sky", "grass", "water", "bricks")
"""Names of the kinds of stuff; in datasets they follow the shapes."""

_COLOURS = np.array([(150, 190, 235), (70, 130, 50), (40, 90, 130), (165, 85, 65)], float)


def stuff_texture(kind: int, size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """A picture ``(H, W, 3)`` of a kind of stuff, by its position in :data:`STUFF`; values around 0 to 255."""
    y, x = np.mgrid[: size[0], : size[1]].astype(np.float32)
    period = rng.uniform(9, 14)
    if kind == 0:
        shade = 50 * (smooth_noise(size, 4, rng) - 0.5)  # clouds
    elif kind == 1:
        shade = 90 * (rng.random(size) - 0.5)  # blades
    elif kind == 2:
        shade = 35 * np.sin(2 * np.pi * y / period + 4 * smooth_noise(size, 8, rng))  # waves
    else:
        row = np.floor(y / (period / 2))
        is_joint = (y % (period / 2) < 1.2) | ((x + period / 2 * (row % 2)) % period < 1.2)
        shade = np.where(is_joint, 60.0, 25 * (smooth_noise(size, 30, rng) - 0.5))
    colour: np.ndarray = _COLOURS[kind] + rng.normal(0, 18, 3)
    return colour + shade[..., None]
