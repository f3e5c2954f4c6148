"""Synthetic scenes: sprites that move over a backdrop, cover one another, enter and leave; masks are exact."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np

from video_mask2former.data.synthetic.sprites import Sprite, smooth_noise
from video_mask2former.data.synthetic.stuff import STUFF, stuff_texture


class Backdrop(Protocol):
    """What lies behind the sprites; it may hold annotated objects of its own.

    Attributes:
        category_ids: Of its own objects.
    """

    category_ids: tuple[int, ...]

    def render(self, time: int) -> tuple[np.ndarray, np.ndarray]:
        """The picture ``(H, W, 3)`` uint8 RGB, and which object each pixel belongs to, ``(H, W)`` int32.

        0 is none of them, i the i-th, counted from 1.
        """


@dataclass(frozen=True)
class Motion:
    """Path of a sprite; times in frames, lengths in pixels.

    Attributes:
        position: Of its centre at time 0, (x, y).
        velocity: Pixels a frame.
        swing: Amplitude of a sideways swing, (x, y).
        swing_speed: Radians a frame.
        scale: At time 0.
        growth: Factor on the scale from frame to frame.
        angle: Degrees at time 0.
        spin: Degrees a frame.
        swing_phase: Radians at time 0.
    """

    position: tuple[float, float]
    velocity: tuple[float, float]
    swing: tuple[float, float]
    swing_speed: float
    scale: float
    growth: float
    angle: float
    spin: float
    swing_phase: float = 0.0

    def matrix(self, time: int, patch_size: tuple[int, int]) -> np.ndarray:
        """The map from a patch (height, width) to the scene at a time, ``(2, 3)``."""
        centre = ((patch_size[1] - 1) / 2, (patch_size[0] - 1) / 2)
        matrix = cv2.getRotationMatrix2D(centre, self.angle + self.spin * time, self.scale * self.growth**time)
        for axis in range(2):
            swing = self.swing[axis] * np.sin(self.swing_speed * time + self.swing_phase)
            place = self.position[axis] + self.velocity[axis] * time + swing
            matrix[axis, 2] += place - centre[axis]
        return np.asarray(matrix)


@dataclass(frozen=True)
class Scene:
    """Sprites over a backdrop, the last one nearest.

    Attributes:
        backdrop: What lies behind.
        sprites: The objects that move.
        motions: How each moves.
    """

    backdrop: Backdrop
    sprites: Sequence[Sprite]
    motions: Sequence[Motion]

    @property
    def category_ids(self) -> tuple[int, ...]:
        """Of all objects, those of the backdrop first; object i of :meth:`render` is number i - 1 here."""
        return (*self.backdrop.category_ids, *(sprite.category_id for sprite in self.sprites))

    def render(self, time: int) -> tuple[np.ndarray, np.ndarray]:
        """Picture ``(H, W, 3)`` uint8 RGB, and the number of the nearest object of each pixel, ``(H, W)`` int32."""
        picture, owner = (part.copy() for part in self.backdrop.render(time))
        size = owner.shape[1], owner.shape[0]
        for index, (sprite, motion) in enumerate(zip(self.sprites, self.motions, strict=True)):
            patch, mask = sprite.patch(time)
            matrix = motion.matrix(time, (mask.shape[0], mask.shape[1]))
            is_covered = cv2.warpAffine(mask, matrix, size, flags=cv2.INTER_NEAREST) > 0
            moved = cv2.warpAffine(patch, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            picture[is_covered] = moved[is_covered]
            owner[is_covered] = len(self.backdrop.category_ids) + index + 1
        return picture, owner


class PaintedBackdrop:
    """A random landscape of smooth colours that drifts by.

    Args:
        size: Height and width.
        rng: Source of colours, grain and drift.
    """

    def __init__(self, size: tuple[int, int], rng: np.random.Generator) -> None:
        self.category_ids: tuple[int, ...] = ()
        wide = (int(1.5 * size[0]), int(1.5 * size[1]))
        layers = [
            sum(smooth_noise(wide, cells, rng) / weight for cells, weight in ((3, 2), (9, 4), (40, 8)))
            for _ in range(3)
        ]
        picture = np.clip(np.stack(layers, axis=-1) * 255, 0, 255).astype(np.uint8)
        self._camera = PanningCamera(picture, size, rng)

    def render(self, time: int) -> tuple[np.ndarray, np.ndarray]:
        """See :class:`Backdrop`."""
        picture = self._camera.view(time)
        return picture, np.zeros(picture.shape[:2], np.int32)


class StuffBackdrop:
    """A painted landscape of two to four kinds of stuff, with a spot here and there that is none, drifting by.

    Args:
        size: Height and width.
        rng: Source of regions, textures and drift.
        first_category_id: Category id of the first of :data:`~video_mask2former.data.synthetic.stuff.STUFF`.
    """

    def __init__(self, size: tuple[int, int], rng: np.random.Generator, first_category_id: int) -> None:
        wide = (int(1.3 * size[0]), int(1.3 * size[1]))
        kinds = np.sort(rng.permutation(len(STUFF))[: int(rng.integers(2, len(STUFF) + 1))])
        self.category_ids = tuple(first_category_id + int(kind) for kind in kinds)
        # stuff comes in wide bands that bend: sky is above water, more often than not
        heights = np.linspace(0, 1, wide[0])[:, None] + 0.5 * (smooth_noise(wide, 3, rng) - 0.5)
        bounds = np.sort(rng.uniform(0.15, 0.85, len(kinds) - 1))
        self._owners = (np.searchsorted(bounds, heights) + 1).astype(np.int32)
        picture = smooth_noise(wide, 40, rng)[..., None].repeat(3, axis=2) * 255
        for number, kind in enumerate(kinds, start=1):
            is_here = self._owners == number
            picture[is_here] = stuff_texture(int(kind), wide, rng)[is_here]
        is_void = smooth_noise(wide, 5, rng) > 0.93
        self._owners[is_void] = 0
        picture[is_void] = 255 * rng.random(3)
        self._camera = PanningCamera(np.clip(picture, 0, 255).astype(np.uint8), size, rng)

    def render(self, time: int) -> tuple[np.ndarray, np.ndarray]:
        """See :class:`Backdrop`."""
        return self._camera.view(time), self._camera.view(time, self._owners)


class PanningCamera:
    """A window that moves over a still picture, forth and back.

    Args:
        picture: ``(H, W)`` or ``(H, W, C)``.
        size: Height and width of the window, which must fit into the picture.
        rng: Source of start and speed.
    """

    def __init__(self, picture: np.ndarray, size: tuple[int, int], rng: np.random.Generator) -> None:
        self._picture = picture
        self._size = size
        self._room = np.array(picture.shape[:2]) - size
        if (self._room < 0).any():
            raise ValueError(f"a window of {size} does not fit into a picture of {picture.shape[:2]}.")
        self._phase = rng.uniform(0, 2 * np.pi, size=2)
        self._speed = rng.uniform(0, 0.08, size=2)

    def view(self, time: int, picture: np.ndarray | None = None) -> np.ndarray:
        """What the window shows at a time; of another picture of the same size, where one is given."""
        top, left = ((0.5 + 0.5 * np.sin(self._phase + self._speed * time)) * self._room).astype(int)
        source = self._picture if picture is None else picture
        return source[top : top + self._size[0], left : left + self._size[1]]


def random_motion(size: tuple[int, int], num_frames: int, is_upright: bool, rng: np.random.Generator) -> Motion:
    """A path through the scene: about half of the objects enter or leave.

    Args:
        size: Height and width of the scene.
        num_frames: Length of the video.
        is_upright: Whether the object, as real ones do, turns a little at most.
        rng: Source of randomness.
    """
    height, width = size
    last = num_frames - 1
    place = rng.uniform(0.1, 0.9, size=2) * (width, height)  # where it is at the time `when`
    if last and rng.random() < 0.5:  # enters or leaves: it is outside at one end of the video
        is_entering, distance = rng.random() < 0.5, rng.uniform(0.4, 0.9) * last
        when = distance if is_entering else last - distance
        direction = rng.uniform(0, 2 * np.pi)
        outside = (0.5 + 0.95 * np.array([np.cos(direction), np.sin(direction)])) * (width, height)
        velocity = (outside - place) / (-distance if is_entering else distance)
    else:
        when = rng.uniform(0, last)
        velocity = rng.normal(0, 0.02, size=2) * (width, height)
    start = place - velocity * when
    swing = rng.uniform(0, 0.05, size=2) * (width, height)
    return Motion(
        position=(float(start[0]), float(start[1])),
        velocity=(float(velocity[0]), float(velocity[1])),
        swing=(float(swing[0]), float(swing[1])),
        swing_speed=rng.uniform(0.1, 0.5),
        scale=1.0,
        growth=float(np.exp(rng.normal(0, 0.01))),
        angle=rng.normal(0, 5) if is_upright else rng.uniform(0, 360),
        spin=rng.normal(0, 0.3 if is_upright else 2),
    )


def crossing_motion(size: tuple[int, int], is_upright: bool, rng: np.random.Generator) -> Motion:
    """A path forth and back through the middle of the scene, where objects meet; wide ones leave it and return.

    Args:
        size: Height and width of the scene.
        is_upright: Whether the object turns a little at most.
        rng: Source of randomness.
    """
    height, width = size
    place = (0.5 + rng.normal(0, 0.12, size=2)) * (width, height)
    direction, reach = rng.uniform(0, 2 * np.pi), rng.uniform(0.25, 0.8)
    return Motion(
        position=(float(place[0]), float(place[1])),
        velocity=(0.0, 0.0),
        swing=(float(reach * width * np.cos(direction)), float(reach * height * np.sin(direction))),
        swing_speed=2 * np.pi / rng.uniform(30, 60),
        scale=1.0,
        growth=1.0,
        angle=rng.normal(0, 5) if is_upright else rng.uniform(0, 360),
        spin=rng.normal(0, 0.3 if is_upright else 2),
        swing_phase=rng.uniform(0, 2 * np.pi),
    )
