"""What every backbone offers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

LEVEL_NAMES = ("res2", "res3", "res4", "res5")


@dataclass(frozen=True)
class FeatureInfo:
    """Shape of one feature level.

    Attributes:
        channels: C.
        stride: Pixels of the frame per position.
    """

    channels: int
    stride: int


class Backbone(nn.Module, ABC):
    """Frames to features at strides 4, 8, 16 and 32.

    A custom backbone needs ``feature_info`` and ``forward``.

    Attributes:
        feature_info: Channels and stride of each level, ``res2`` to ``res5``.
        recompute: Whether training recomputes activations in the backward pass to save memory.
        is_convolutional: Whether nothing in it depends on the size of the frames, so that a graph traced with frames
            of one size takes those of any.
    """

    feature_info: dict[str, FeatureInfo]
    recompute: bool = False
    is_convolutional: ClassVar[bool] = False

    @abstractmethod
    def forward(self, frames: Tensor) -> dict[str, Tensor]:
        """Map normalised frames ``(N, 3, H, W)``, H and W multiples of 32, to ``{name: (N, C, h, w)}``."""
