"""How sure masks are of themselves: the mean probability inside of a mask, over all frames of a video."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from video_mask2former.option_values import MaskQualityChoice

_EPSILON = 1e-6


class MaskQuality:
    """Sums over the pixels of some masks, to which frames are added as they are upsampled.

    Args:
        num_masks: N.
        size: Whether pixels are those of the frames as the model saw them, or of the original ones.
    """

    def __init__(self, num_masks: int, size: Literal["model", "original"]) -> None:
        self.size = size
        self.sums = np.zeros(num_masks)
        self.counts = np.zeros(num_masks)

    def add(self, mask: int, logits: np.ndarray) -> None:
        """Take the logits of one mask on one frame, of any shape."""
        inside = logits[logits > 0]
        self.sums[mask] += (1.0 / (1.0 + np.exp(-inside))).sum(dtype=np.float64)
        self.counts[mask] += inside.size

    def add_all(self, logits: Tensor) -> None:
        """Take the logits of all masks on some frames, ``(N, T, H, W)``."""
        is_inside = logits > 0
        probabilities = torch.where(is_inside, logits.sigmoid(), 0.0)
        precise = logits.device.type != "mps"
        self.sums += probabilities.flatten(1).sum(dim=1, dtype=torch.float64 if precise else None).cpu().numpy()
        self.counts += is_inside.flatten(1).sum(dim=1).cpu().numpy()

    def values(self) -> list[float]:
        """Mean probability inside each mask; 0 where there is none."""
        return [mean_probability(total, count) for total, count in zip(self.sums, self.counts, strict=True)]


def mean_probability(total: float, count: float) -> float:
    """The mean of ``count`` probabilities with this sum; 0 of none."""
    return float(total / (count + _EPSILON))


def quality_of(choice: MaskQualityChoice | None, num_masks: int) -> MaskQuality | None:
    """What collects it as the settings say; None where they want none."""
    return None if choice is None or choice == "none" else MaskQuality(num_masks, choice)
