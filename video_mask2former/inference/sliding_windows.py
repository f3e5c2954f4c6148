"""Semantic segmentation of frames larger than those of the training: windows over each frame, and their mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from video_mask2former.inference.segmentation_model import SegmentationModel
from video_mask2former.mask_logits import MaskLogits
from video_mask2former.structures import ClipFeatures, ClipOutput

# Class logit of a query for its own class; the others have 0.
_CERTAIN = 20.0


class SlidingWindows:
    """A model that sees square windows of the frames; its queries are its classes.

    Scores of each class are brought to the size of a window, and the mean of all windows that have a pixel counts: of
    mask logits where the model's queries are its classes (mmsegmentation's rule, by which StructToken was measured),
    else of class probabilities times mask probabilities, summed over the queries (EoMT's).

    Args:
        model: What segments a window; windows of a frame are one batch.
        side: Height and width of a window; smaller frames are one smaller window.
        stride: Pixels from one window to the next, the last one shifted back to end with the frame; None: as few
            windows as cover the frame, spread evenly.
    """

    def __init__(self, model: SegmentationModel, side: int, stride: int | None = None) -> None:
        self._model = model
        self._side, self._stride = side, stride
        self.class_names = model.class_names
        self.num_classes = model.num_classes

    def encode(self, frames: Tensor) -> ClipFeatures:
        """Features of the windows of ``(B, T, 3, H, W)``: a batch of B times the number of windows."""
        boxes = self._boxes((frames.shape[3], frames.shape[4]))
        windows = [frames[..., y0:y1, x0:x1] for y0, y1, x0, x1 in boxes]
        features = self._model.encode(torch.stack(windows, dim=1).flatten(0, 1))
        # Those of the whole frame, from which decode() knows where the windows were
        return replace(features, frame_size=(frames.shape[3], frames.shape[4]))

    def decode(self, features: ClipFeatures, initial_queries: Tensor | None = None) -> ClipOutput:
        """The mean over windows, one query per class; every window starts anew, whatever ``initial_queries`` are."""
        height, width = features.frame_size
        boxes = self._boxes(features.frame_size)
        size = (boxes[0][1] - boxes[0][0], boxes[0][3] - boxes[0][2])
        output = self._model.decode(replace(features, frame_size=size))
        scores = self._scores(output, size).unflatten(0, (-1, len(boxes)))  # (B, windows, K, T, h, w)
        total = scores.new_zeros(*scores[:, 0].shape[:3], height, width)
        count = scores.new_zeros(height, width)
        for index, (y0, y1, x0, x1) in enumerate(boxes):
            total[..., y0:y1, x0:x1] += scores[:, index]
            count[y0:y1, x0:x1] += 1
        mask_logits = MaskLogits.from_dense(total / count).exclusive()
        identity = torch.eye(self.num_classes, dtype=total.dtype, device=total.device).expand(len(total), -1, -1)
        return ClipOutput(
            class_logits=_CERTAIN * F.pad(identity, (0, 1)),
            mask_logits=mask_logits,
            query_embeddings=identity,
            queries=identity,
            frame_size=features.frame_size,
            padded_size=features.frame_size,
        )

    def _boxes(self, size: tuple[int, int]) -> list[tuple[int, int, int, int]]:
        """Top, bottom, left and right of the windows over a frame."""
        tops, lefts = (window_origins(length, self._side, self._stride) for length in size)
        height, width = (min(length, self._side) for length in size)
        return [(top, top + height, left, left + width) for top in tops for left in lefts]

    def _scores(self, output: ClipOutput, size: tuple[int, int]) -> Tensor:
        """Scores of each class ``(N, K, T, *size)`` of windows of this size."""
        logits = output.mask_logits.resized(output.padded_size)[..., : size[0], : size[1]]
        if getattr(self._model, "queries_are_classes", False):
            return logits
        probabilities = output.class_logits.softmax(dim=-1)[..., :-1]
        return torch.einsum("nqk,nqthw->nkthw", probabilities, logits.sigmoid())


def window_origins(length: int, side: int, stride: int | None) -> Sequence[int]:
    """Where windows begin along one side of a frame.

    Args:
        length: Of the frame.
        side: Of a window.
        stride: See :class:`SlidingWindows`.

    Returns:
        Rising, the first one 0; the last window ends with the frame.
    """
    if length <= side:
        return [0]
    if stride is not None:
        count = -(-(length - side) // stride) + 1
        return [min(index * stride, length - side) for index in range(count)]
    count = -(-length // side)
    overlap = (count * side - length) / (count - 1)
    return [int(index * (side - overlap)) for index in range(count)]
