"""Masks that lie in several places, taken apart: for models that find objects but do not tell neighbours apart.

A small model, or one trained briefly, has queries that take all people of a frame. Their outlines are good, and most
of these people do not touch: each connected part of such a mask is reported as an object of its own.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from video_mask2former.mask_logits import MaskLogits
from video_mask2former.structures import ClipOutput

MAX_PARTS = 12  # of one mask
CERTAIN_NO_OBJECT = 0.9  # probability of "no object" from which a mask is not worth looking at
OUTSIDE = -10.0  # logit of a part where the others are
PLACE_OCTAVES = 2
PLACE_WEIGHT = 1.0  # norm of the place by the norm of the embedding


def split_masks(output: ClipOutput, min_share: float) -> ClipOutput:
    """Make a query of each connected part of each mask; over several frames, parts touch in time as well.

    The parts of a mask share class, query and embedding. So that trackers can tell them apart, embeddings get channels
    for the place of the mask: sines of its centre.

    Args:
        output: Of any model; its auxiliary outputs are left out.
        min_share: Area of a part by that of the largest one of its mask; what is smaller stays with the largest.

    Returns:
        Q queries as before, with the largest parts, then the other parts; where clips of the batch have different
        numbers of them, rows that are "no object" follow.
    """
    dense = output.mask_logits.dense()  # (B, Q, T, h, w)
    probabilities = output.class_logits.softmax(dim=-1)[..., -1]
    clips = [_split_clip(*clip, min_share) for clip in zip(dense, probabilities.tolist(), strict=True)]
    most = max(len(rows) for rows, _ in clips)
    rows = torch.stack([_padded(rows, most) for rows, _ in clips]).to(dense.device)
    masks = torch.stack([_padded(masks, most) for _, masks in clips])
    is_padding = torch.stack([torch.arange(most, device=dense.device) >= len(rows) for rows, _ in clips])

    def take(values: Tensor) -> Tensor:
        return values.gather(1, rows[..., None].expand(-1, -1, values.shape[2]))

    class_logits = take(output.class_logits)
    nothing = torch.full_like(class_logits, OUTSIDE)
    nothing[..., -1] = -OUTSIDE
    embeddings = take(output.query_embeddings)
    return replace(
        output,
        class_logits=torch.where(is_padding[..., None], nothing, class_logits),
        mask_logits=MaskLogits.from_dense(masks),
        query_embeddings=torch.cat([embeddings, _places(masks > 0) * _weight(embeddings)], dim=2),
        queries=take(output.queries),
        auxiliary=(),
    )


def _split_clip(dense: Tensor, no_object: list[float], min_share: float) -> tuple[Tensor, Tensor]:
    """Query of each part ``(Q',)`` int64, and its mask logits ``(Q', T, h, w)``, of one clip."""
    masks = (dense > 0).cpu().numpy()
    first, others, rows = dense.clone(), [], list(range(len(dense)))
    touching = np.ones((3, 3, 3), int)
    for query, mask in enumerate(masks):
        if no_object[query] > CERTAIN_NO_OBJECT or not mask.any():
            continue
        parts, count = ndimage.label(mask, touching)
        if count < 2:
            continue
        areas = np.bincount(parts.ravel())[1:]
        large = np.argsort(-areas, kind="stable")[:MAX_PARTS]
        for part in large[1:][areas[large[1:]] >= min_share * areas[large[0]]].tolist():
            is_here = torch.from_numpy(parts == part + 1).to(dense.device)
            others.append(torch.where(is_here, dense[query], dense[query].clamp(max=OUTSIDE)))
            first[query] = torch.where(is_here, OUTSIDE, first[query])
            rows.append(query)
    return torch.tensor(rows), torch.cat([first, torch.stack(others)]) if others else first


def _padded(values: Tensor, length: int) -> Tensor:
    """The first row again behind the last one."""
    return torch.cat([values, values[:1].expand(length - len(values), *values.shape[1:])])


def _places(masks: Tensor) -> Tensor:
    """Sines and cosines of the centre of each mask ``(B, Q, T, h, w)``, of unit length, ``(B, Q, 4 * octaves)``."""
    waves = []
    for axis in (3, 4):
        profile = masks.float().sum(dim=(2, 7 - axis))  # (B, Q, side)
        side = profile.shape[2]
        places = (torch.arange(side, device=masks.device) + 0.5) / side
        centre = (profile * places).sum(dim=2) / profile.sum(dim=2).clamp(min=1)
        angles = centre[..., None] * math.pi * 2.0 ** torch.arange(PLACE_OCTAVES, device=masks.device)
        waves += [angles.sin(), angles.cos()]
    return torch.cat(waves, dim=2) / math.sqrt(2 * PLACE_OCTAVES)


def _weight(embeddings: Tensor) -> Tensor:
    """Length of the place, of each clip ``(B, 1, 1)``: that of what distinguishes its queries."""
    spread = embeddings - embeddings.mean(dim=1, keepdim=True)
    return PLACE_WEIGHT * spread.norm(dim=2).mean(dim=1)[:, None, None]
