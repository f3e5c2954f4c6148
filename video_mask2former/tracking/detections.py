"""The queries of one clip that see something, and which of them see the same thing."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from video_mask2former.mask_logits import MaskLogits
from video_mask2former.structures import ClipOutput


@dataclass(frozen=True)
class Detections:
    """The N queries of a clip that may be objects, the most confident first; all tensors on the CPU.

    Attributes:
        query_indices: Which queries they are, ``(N,)`` int64.
        scores: Probability of the likeliest class, ``(N,)``.
        class_logits: ``(N, K + 1)``.
        embeddings: Query embeddings, ``(N, C)``.
        mask_iou: IoU of the masks of every pair over all frames of the clip, ``(N, N)``.
        mask_share: What a pair has in common, as a share of the smaller of its masks, ``(N, N)``.
    """

    query_indices: Tensor
    scores: Tensor
    class_logits: Tensor
    embeddings: Tensor
    mask_iou: Tensor
    mask_share: Tensor

    def __len__(self) -> int:
        return self.query_indices.shape[0]

    @property
    def labels(self) -> Tensor:
        """Likeliest class of each, ``(N,)`` int64."""
        return self.class_logits[:, :-1].argmax(dim=1)


def find_detections(output: ClipOutput, min_score: float) -> Detections:
    """The queries whose likeliest class has at least ``min_score`` and whose mask is not empty.

    Args:
        output: A batch of one clip.
        min_score: Probability of a class, "no object" taking part in the softmax.
    """
    class_logits = to_cpu(output.class_logits[0])
    scores = class_logits.softmax(dim=1)[:, :-1].amax(dim=1)
    order = scores.argsort(descending=True, stable=True)
    order = order[scores[order] >= min_score]  # NaN is below every score
    chosen = output.mask_logits.select(order.to(output.mask_logits.embeddings.device))
    common = _common_areas(chosen)
    seen = common.diagonal() > 0
    order, common = order[seen], common[seen][:, seen]
    first, second = common.diagonal()[:, None], common.diagonal()[None, :]
    return Detections(
        query_indices=order,
        scores=scores[order],
        class_logits=class_logits[order],
        embeddings=to_cpu(output.query_embeddings[0])[order],
        mask_iou=common / (first + second - common),
        mask_share=common / torch.minimum(first, second),
    )


def to_cpu(values: Tensor) -> Tensor:
    """Detached, on the CPU, and in no less than float32."""
    values = values.detach().cpu()
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


def _common_areas(mask_logits: MaskLogits) -> Tensor:
    """Pixels that the thresholded masks of every pair of queries share over all frames, ``(N, N)`` on the CPU."""
    _, num_queries, num_frames, _, _ = mask_logits.shape
    device = mask_logits.features.device
    intersection = torch.zeros(num_queries, num_queries, device=device)
    for index in range(num_frames):  # frame by frame: the masks of a long clip never exist together
        masks = (mask_logits.frames(index, index + 1).dense()[0, :, 0] > 0).flatten(1).float()
        intersection += masks @ masks.T
    return intersection.cpu()
