"""Video copy-paste: instances of one clip, moving as they did, laid over another clip (arXiv:2012.07177 for images)."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch

from video_mask2former.data.samples import ClipSample, drop_invisible
from video_mask2former.structures import ClipTarget


def paste_instances(
    base: ClipSample, other: ClipSample, rng: np.random.Generator, touching_probability: float = 0.0
) -> ClipSample:
    """Lay a random choice of the instances of ``other`` over ``base``, shifted at random, the same on every frame.

    What is covered is cut out of the masks of ``base``; instances that are covered everywhere are left out.

    Args:
        base: The clip that stays, but for what is covered.
        other: The clip whose instances are pasted; its size may differ, its number of frames may not.
        rng: Source of randomness.
        touching_probability: Chance that they are shifted so that one of them comes to stand beside an instance of its
            own class, or covers a part of it, on the first frame that both are seen on.
    """
    num_instances = len(other.target)
    if num_instances == 0:
        return base
    chosen = np.sort(rng.choice(num_instances, size=int(rng.integers(1, num_instances + 1)), replace=False))
    rows = torch.from_numpy(chosen)
    sides = [(base.frames.shape[axis], other.frames.shape[axis]) for axis in (2, 3)]
    shifts = None
    if touching_probability and rng.random() < touching_probability:
        shifts = _shift_to_neighbour(base.target, other.target.select(rows), rng)
    if shifts is None:
        shifts = [_random_shift(*pair, rng) for pair in sides]
    (to_y, from_y), (to_x, from_x) = (_overlap(*pair, shift) for pair, shift in zip(sides, shifts, strict=True))
    pasted = torch.zeros(len(rows), *base.target.masks.shape[1:], dtype=torch.bool)
    pasted[..., to_y, to_x] = other.target.masks[rows][..., from_y, from_x]
    covered = pasted.any(dim=0)  # (T, H, W)
    frames = base.frames.clone()
    window = frames[..., to_y, to_x]
    window[...] = torch.where(covered[:, None, to_y, to_x], other.frames[..., from_y, from_x], window)
    ids = (base.target.instance_ids, other.target.instance_ids)
    # What is not labelled, or ignored, in the base stays so: of the other clip, only labelled pixels come with it.
    target = replace(
        base.target,
        labels=torch.cat([base.target.labels, other.target.labels[rows]]),
        masks=torch.cat([base.target.masks & ~covered, pasted]),
        instance_ids=None if ids[0] is None or ids[1] is None else torch.cat([ids[0], ids[1][rows]]),
        ignored=None if base.target.ignored is None else base.target.ignored & ~covered,
    )
    return replace(base, frames=frames, target=drop_invisible(target))


def _random_shift(base_side: int, other_side: int, rng: np.random.Generator) -> int:
    """Along one axis, so that at least half of the shorter side comes to lie inside."""
    margin = min(base_side, other_side) // 2
    return int(rng.integers(margin - other_side, base_side - margin + 1))


def _overlap(base_side: int, other_side: int, shift: int) -> tuple[slice, slice]:
    """Along one axis, the part of the base that is overlaid, and the part of the other clip that lies there."""
    start = min(max(0, shift), base_side)
    stop = max(start, min(base_side, shift + other_side))
    return slice(start, stop), slice(start - shift, stop - shift)


def _shift_to_neighbour(base: ClipTarget, other: ClipTarget, rng: np.random.Generator) -> list[int] | None:
    """Down and right, so that an instance of ``other`` touches one of its class; None where none can."""
    seen = base.masks.flatten(2).any(dim=2)[:, None] & other.masks.flatten(2).any(dim=2)  # (N, M, T)
    pairs = (seen.any(dim=2) & (base.labels[:, None] == other.labels)).nonzero().tolist()
    if not pairs:
        return None
    stays, comes = pairs[int(rng.integers(len(pairs)))]
    frame = int(seen[stays, comes].int().argmax())
    stays_box, comes_box = (_box(target.masks[index, frame]) for target, index in ((base, stays), (other, comes)))
    height = rng.uniform(-0.2, 0.2) * (stays_box.bottom - stays_box.top)  # of where it stands
    # beside it, at a distance of between half of the mean width, where one covers the other, and all of it
    side = 1 if rng.random() < 0.5 else -1
    width = (stays_box.right - stays_box.left + comes_box.right - comes_box.left) / 2
    centres = (stays_box.left + stays_box.right) / 2 - (comes_box.left + comes_box.right) / 2
    return [
        round(stays_box.bottom - comes_box.bottom + height),
        round(centres + side * rng.uniform(0.5, 1.0) * width),
    ]


class _Box(NamedTuple):
    top: int
    bottom: int
    left: int
    right: int


def _box(mask: torch.Tensor) -> _Box:
    """Of a mask ``(H, W)``."""
    rows, columns = mask.any(dim=1).nonzero()[:, 0], mask.any(dim=0).nonzero()[:, 0]
    return _Box(int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1)
