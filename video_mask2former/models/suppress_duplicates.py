"""Queries that found what a more certain query found, silenced: for models whose queries are born at pixels.

Two peaks of a heat map can lie on one object. Self-attention learns to leave it to one of their queries, but that
takes many steps of training; until then this does it.
"""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from video_mask2former.mask_logits import MaskLogits
from video_mask2former.structures import ClipOutput

_SILENT = 20.0  # logit of "no object" above those of the classes


@torch.no_grad()
def suppress_duplicates(output: ClipOutput, min_iou: float) -> ClipOutput:
    """Turn each query into "no object" without a mask whose mask is that of a more certain query of the same class.

    Args:
        output: Of any model; its last prediction changes, with the number of its queries as it was.
        min_iou: IoU of two masks, over all frames of a clip, above which they are the same.
    """
    scores, labels = output.class_logits.softmax(dim=-1)[..., :-1].max(dim=-1)
    masks = (output.mask_logits.dense() > 0).flatten(2)  # (B, Q, P)
    is_duplicate = torch.stack(
        [_duplicates(*clip, min_iou=min_iou) for clip in zip(scores, labels, masks, strict=True)]
    )
    silent = F.one_hot(torch.tensor(output.num_classes), output.num_classes + 1) * _SILENT
    silent = silent.to(output.class_logits)
    # Trackers take part in nothing without a mask: an embedding like that of the object must not continue its track.
    embeddings = output.mask_logits.embeddings
    is_empty = is_duplicate[..., None] if embeddings.ndim == 3 else is_duplicate[:, None, :, None]
    return replace(
        output,
        class_logits=torch.where(is_duplicate[..., None], silent, output.class_logits),
        mask_logits=MaskLogits(embeddings.masked_fill(is_empty, 0.0), output.mask_logits.features),
    )


def _duplicates(scores: Tensor, labels: Tensor, masks: Tensor, *, min_iou: float) -> Tensor:
    """Which queries of a clip are duplicates, ``(Q,)`` bool."""
    pixels = masks.to(torch.promote_types(scores.dtype, torch.float32))
    common = pixels @ pixels.T
    areas = common.diagonal()
    overlaps = common > min_iou * (areas[:, None] + areas[None] - common)
    order = scores.argsort(descending=True, stable=True)
    overlaps = (overlaps & (labels[:, None] == labels)).cpu()[order.cpu()][:, order.cpu()]
    kept = torch.ones(len(order), dtype=torch.bool)
    for index in range(len(order)):
        kept[index] = not bool((overlaps[index, :index] & kept[:index]).any())
    return torch.zeros_like(kept).index_put_((order.cpu(),), ~kept).to(scores.device)
