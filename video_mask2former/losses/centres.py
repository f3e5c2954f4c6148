"""The loss of heat maps of object centres, from which queries are born (CenterNet, arXiv:1904.07850, equation 1)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from video_mask2former.losses.base import Loss
from video_mask2former.losses.criterion import at_least_float32, padded_maps
from video_mask2former.option_values import NonNegative
from video_mask2former.structures import ClipOutput, ClipTarget

_FOCUS = 2.0  # exponent of what is wrong by how much
_NEARBY = 4.0  # exponent by which pixels near a centre count less as background
_SMALLEST = 0.5  # standard deviation of a centre, in pixels of the heat map


class CentreLoss(Loss):
    """Heat maps that show one peak for each object of their class: the focal loss of CenterNet.

    The centre of an object on a frame is that pixel of its mask that is next to the mask's centre of mass, since only
    there is the object seen; around it, a Gaussian as wide as a share of the object counts less and less as background.
    Ignored pixels, and the classes of which not every instance is annotated, are background only where another
    annotated instance is.

    Args:
        num_classes: K, without "no object".
        weight: Of the loss.
        spread: Standard deviation of the Gaussian by the sides of the object's box.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        weight: NonNegative = 1.0,
        spread: NonNegative = 0.08,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.weight = weight
        self.spread = spread

    def forward(self, output: ClipOutput, targets: Sequence[ClipTarget]) -> dict[str, Tensor]:
        """``loss_centre``, weighted: the sum over all pixels by the number of centres.

        Args:
            output: With ``centre_logits``.
            targets: One per clip.

        Raises:
            ValueError: If the output has no heat maps.
        """
        if output.centre_logits is None:
            raise ValueError("the loss of centres needs a decoder with heat maps: set model.decoder.name=peak_queries.")
        logits = at_least_float32(output.centre_logits)
        sums, count = [], 0
        for clip, target in zip(logits, targets, strict=True):
            heat, weights, num_centres = self._target(target, output, clip)
            sums.append((weights * focal_loss(clip, heat)).sum())
            count += num_centres
        return {"loss_centre": self.weight * torch.stack(sums).sum() / max(count, 1)}

    @torch.no_grad()
    def _target(self, target: ClipTarget, output: ClipOutput, like: Tensor) -> tuple[Tensor, Tensor, int]:
        """Heat maps ``(T, K, h, w)``, their weights, and how many centres they have."""
        size = (like.shape[2], like.shape[3])
        masks = F.adaptive_avg_pool2d(padded_maps(target.masks, output), size).to(like.dtype)  # (N, T, h, w)
        heat = torch.zeros_like(like)
        count = 0
        for label, instance in zip(target.labels.tolist(), masks, strict=True):
            for frame in instance.flatten(1).any(dim=1).nonzero()[:, 0].tolist():
                heat[frame, label] = torch.maximum(heat[frame, label], centre_map(instance[frame], self.spread))
                count += 1
        return heat, self._weights(target, output, masks, heat), count

    def _weights(self, target: ClipTarget, output: ClipOutput, masks: Tensor, heat: Tensor) -> Tensor:
        """Whether each pixel says something about each class, ``(T, K, h, w)``."""
        weights = torch.ones_like(heat)
        if target.labelled_classes is not None:
            weights[:] = 0
            weights[:, target.labelled_classes] = 1
        if target.ignored is not None:
            ignored = F.adaptive_max_pool2d(padded_maps(target.ignored[None], output)[0], heat.shape[2:])
            weights *= ignored[:, None] == 0
        is_instance = (masks > 0.5).any(dim=0)[:, None]  # (T, 1, h, w)
        return weights.masked_fill(is_instance | (heat == 1), 1.0)


def centre_map(coverage: Tensor, spread: float) -> Tensor:
    """A Gaussian around the centre of one object, 1 there.

    Args:
        coverage: Share of each pixel that the object covers, ``(h, w)``, not zero everywhere.
        spread: Standard deviation by the sides of the object's box.

    Returns:
        ``(h, w)``.
    """
    height, width = coverage.shape
    y = torch.arange(height, device=coverage.device, dtype=coverage.dtype)[:, None]
    x = torch.arange(width, device=coverage.device, dtype=coverage.dtype)
    total = coverage.sum()
    distance = (y - (coverage * y).sum() / total) ** 2 + (x - (coverage * x).sum() / total) ** 2
    # where the object covers less than half of any pixel, the pixels that it covers most of are it
    is_object = coverage >= coverage.max().clamp(max=0.5)
    centre = int(distance.masked_fill(~is_object, torch.inf).argmin())
    of_rows, of_columns = (max(spread * int(is_object.any(dim=axis).sum()), _SMALLEST) for axis in (1, 0))
    exponent = ((y - centre // width) / of_rows) ** 2 + ((x - centre % width) / of_columns) ** 2
    return torch.exp(-exponent / 2)


def focal_loss(logits: Tensor, heat: Tensor) -> Tensor:
    """The focal loss of each pixel of heat maps, equation 1 of CenterNet with its exponents 2 and 4.

    Args:
        logits: Of any shape.
        heat: The target in [0, 1], 1 at centres.
    """
    probability = logits.sigmoid()
    at_centre = -F.logsigmoid(logits) * (1 - probability) ** _FOCUS
    elsewhere = -F.logsigmoid(-logits) * probability**_FOCUS * (1 - heat) ** _NEARBY
    return torch.where(heat == 1, at_centre, elsewhere)
