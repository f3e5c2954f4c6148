"""Video copy-paste: instances of one clip, moving as they did, laid over another clip (arXiv:2012.07177 for images)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from video_mask2former.data.samples import ClipSample, drop_invisible


def paste_instances(base: ClipSample, other: ClipSample, rng: np.random.Generator) -> ClipSample:
    """Lay a random choice of the instances of ``other`` over ``base``, shifted at random, the same on every frame.

    What is covered is cut out of the masks of ``base``; instances that are covered everywhere are left out.

    Args:
        base: The clip that stays, but for what is covered.
        other: The clip whose instances are pasted; its size may differ, its number of frames may not.
        rng: Source of randomness.
    """
    num_instances = len(other.target)
    if num_instances == 0:
        return base
    chosen = np.sort(rng.choice(num_instances, size=int(rng.integers(1, num_instances + 1)), replace=False))
    rows = torch.from_numpy(chosen)
    (to_y, from_y), (to_x, from_x) = (
        _random_overlap(base.frames.shape[axis], other.frames.shape[axis], rng) for axis in (2, 3)
    )
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


def _random_overlap(base_side: int, other_side: int, rng: np.random.Generator) -> tuple[slice, slice]:
    """Where the other clip comes to lie on the base along one axis, at least half of the shorter side inside.

    Returns:
        The part of the base that is overlaid, and the part of the other clip that lies there.
    """
    margin = min(base_side, other_side) // 2
    shift = int(rng.integers(margin - other_side, base_side - margin + 1))
    start, stop = max(0, shift), min(base_side, shift + other_side)
    return slice(start, stop), slice(start - shift, stop - shift)
