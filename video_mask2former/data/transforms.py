"""Transforms of a clip: each maps frames and target to frames and target, the same way on every frame.

A transform takes the generator that it may draw from, so that a sample depends on its own seed and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from video_mask2former.data.samples import drop_invisible
from video_mask2former.ops.resize import fit_short_side, resize_frames
from video_mask2former.structures import ClipTarget

FILL_VALUE = 128
"""Grey of the pixels that no frame covers, near the mean colour."""
_NO_LIMIT = 2**31


class Transform(Protocol):
    """Frames ``(T, 3, H, W)`` uint8 and their target to others, with randomness from the generator."""

    def __call__(self, frames: Tensor, target: ClipTarget, rng: np.random.Generator) -> tuple[Tensor, ClipTarget]: ...


class Compose:
    """Transforms one after the other; instances that end up without a pixel are left out."""

    def __init__(self, transforms: Sequence[Transform]) -> None:
        self.transforms = tuple(transforms)

    def __call__(self, frames: Tensor, target: ClipTarget, rng: np.random.Generator) -> tuple[Tensor, ClipTarget]:
        for transform in self.transforms:
            frames, target = transform(frames, target, rng)
        return frames, drop_invisible(target)


class RandomFlip:
    """Mirror the whole clip left to right, with a given probability."""

    def __init__(self, probability: float = 0.5) -> None:
        self.probability = probability

    def __call__(self, frames: Tensor, target: ClipTarget, rng: np.random.Generator) -> tuple[Tensor, ClipTarget]:
        if rng.random() >= self.probability:
            return frames, target
        return frames.flip(-1), target.map_masks(lambda masks: masks.flip(-1))


class ResizeShortSide:
    """Resize the clip to one random short side of several, keeping the aspect ratio.

    Args:
        short_sides: The short sides that one is drawn from.
        max_side: Largest long side; where the long side would be longer, the clip is made smaller.
    """

    def __init__(self, short_sides: Sequence[int], max_side: int) -> None:
        if not short_sides:
            raise ValueError("short_sides must name at least one side, got none.")
        self.short_sides = tuple(short_sides)
        self.max_side = max_side

    def __call__(self, frames: Tensor, target: ClipTarget, rng: np.random.Generator) -> tuple[Tensor, ClipTarget]:
        short_side = self.short_sides[int(rng.integers(len(self.short_sides)))]
        height, width = frames.shape[2:]
        return resize_clip(frames, target, fit_short_side((height, width), short_side, self.max_side))


class LargeScaleJitter:
    """Resize by a random scale, then crop or pad to a fixed size (arXiv:2012.07177, as in M2F's COCO recipe).

    Args:
        scales: Smallest and largest scale; at scale 1 the clip just fits into ``crop_size``.
        crop_size: Height and width of the result.
    """

    def __init__(self, scales: tuple[float, float], crop_size: tuple[int, int]) -> None:
        if not 0 < scales[0] <= scales[1]:
            raise ValueError(f"scales must be 0 < smallest <= largest, got {scales}.")
        self.scales = scales
        self.crop_size = crop_size

    def __call__(self, frames: Tensor, target: ClipTarget, rng: np.random.Generator) -> tuple[Tensor, ClipTarget]:
        scale = rng.uniform(*self.scales)
        sides = frames.shape[2:]
        ratio = scale * min(wanted / side for wanted, side in zip(self.crop_size, sides, strict=True))
        height, width = (max(1, round(side * ratio)) for side in sides)
        frames, target = resize_clip(frames, target, (height, width))
        return RandomCrop(self.crop_size)(frames, target, rng)


class RandomCrop:
    """Cut the same random window out of every frame, and pad what is smaller than the window with grey.

    A window without a pixel of any instance is drawn again, around a random pixel of one.

    Args:
        size: Height and width of the result.
    """

    def __init__(self, size: tuple[int, int]) -> None:
        self.size = size

    def __call__(self, frames: Tensor, target: ClipTarget, rng: np.random.Generator) -> tuple[Tensor, ClipTarget]:
        rows, columns = self._draw(frames, (None, None), rng)
        if not target.masks[..., rows, columns].any() and target.masks.any():
            places = torch.nonzero(target.masks.flatten(0, 1).any(dim=0))
            row, column = places[int(rng.integers(len(places)))].tolist()
            rows, columns = self._draw(frames, (row, column), rng)
        target = target.map_masks(lambda masks: masks[..., rows, columns])
        return pad_clip(frames[..., rows, columns], target, self.size)

    def _draw(
        self, frames: Tensor, around: tuple[int | None, int | None], rng: np.random.Generator
    ) -> tuple[slice, slice]:
        rows, columns = (
            _random_span(side, min(wanted, side), place, rng)
            for wanted, side, place in zip(self.size, frames.shape[2:], around, strict=True)
        )
        return rows, columns


class RandomClipWindow:
    """With a chance of a half, the same random window out of every frame, before clips get their final size.

    The clip is first resized to a short side of 400, 500 or 600, then cut to a height and a width drawn from a range
    (the augmentation of clips of SeqFormer, arXiv:2112.08275, which CTVIS and VidEoMT use).

    Args:
        sides: Smallest and largest side of the window; sides of the frame that are smaller stay as they are.

    Raises:
        ValueError: If the largest is below the smallest.
    """

    short_sides = (400, 500, 600)
    max_side = 1333
    probability = 0.5

    def __init__(self, sides: tuple[int, int]) -> None:
        if sides[1] < sides[0]:
            raise ValueError(f"crop_range must be the smallest and the largest side of a window, got {sides}.")
        self.sides = sides

    def __call__(self, frames: Tensor, target: ClipTarget, rng: np.random.Generator) -> tuple[Tensor, ClipTarget]:
        if rng.random() >= self.probability:
            return frames, target
        frames, target = ResizeShortSide(self.short_sides, self.max_side)(frames, target, rng)
        smallest, largest = self.sides
        height, width = (
            int(rng.integers(min(side, smallest), min(side, largest) + 1)) for side in tuple(frames.shape[2:])
        )
        return RandomCrop((height, width))(frames, target, rng)


def _random_span(side: int, length: int, around: int | None, rng: np.random.Generator) -> slice:
    """A random part of a side, of all those that hold ``around`` where it is given."""
    first, last = (0, side - length) if around is None else (around - length + 1, around)
    start = int(rng.integers(max(first, 0), min(last, side - length) + 1))
    return slice(start, start + length)


def resize_clip(frames: Tensor, target: ClipTarget, size: tuple[int, int]) -> tuple[Tensor, ClipTarget]:
    """Resize frames (bilinear, antialiased) and masks (nearest) to ``size``, height and width."""
    return resize_frames(frames, size), target.map_masks(lambda masks: resize_masks(masks, size))


def resize_masks(masks: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize masks ``(N, T, H, W)`` bool, each pixel taking the value at its centre."""
    if masks.shape[0] == 0:
        return masks.new_zeros(0, masks.shape[1], *size)
    return F.interpolate(masks.view(torch.uint8), size=size, mode="nearest-exact").view(torch.bool)


def pad_clip(frames: Tensor, target: ClipTarget, size: tuple[int, int]) -> tuple[Tensor, ClipTarget]:
    """Add grey at the bottom and at the right up to ``size``, height and width."""
    missing = (0, size[1] - frames.shape[3], 0, size[0] - frames.shape[2])
    if not any(missing):
        return frames, target
    return F.pad(frames, missing, value=FILL_VALUE), target.map_masks(lambda masks: F.pad(masks, missing))
