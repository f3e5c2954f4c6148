"""A plain vision transformer as backbone of pixel decoders: the simple feature pyramid of ViTDet (arXiv:2203.16527)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor, nn

from video_mask2former.models.backbones.base import LEVEL_NAMES, Backbone, FeatureInfo
from video_mask2former.models.backbones.vit import VisionTransformer
from video_mask2former.models.layers import MapLayerNorm
from video_mask2former.option_values import PositiveInt


class ViTPyramid(Backbone):
    """Four levels from the one that a vision transformer gives.

    Transposed convolutions make strides 4 and 8 of stride 16, pooling makes 32; each level then has a 1x1 and a 3x3
    convolution with LayerNorm. Checkpoints of the transformer alone load as ``model.backbone.weights``; the pyramid is
    trained anew.

    Args:
        vit: DINOv2 or DINOv3.
        channels: Of each level.
    """

    default_parts: ClassVar[Mapping[str, str]] = {"vit": "dinov2"}

    def __init__(self, vit: VisionTransformer, channels: PositiveInt = 256) -> None:
        super().__init__()
        self.vit = vit
        self.feature_info = {name: FeatureInfo(channels, 4 * 2**index) for index, name in enumerate(LEVEL_NAMES)}
        dim = vit.embed_dim
        half, quarter = dim // 2, dim // 4
        scales: dict[str, tuple[list[nn.Module], int]] = {
            "res2": ([_enlarge(dim, half), MapLayerNorm(half), nn.GELU(), _enlarge(half, quarter)], quarter),
            "res3": ([_enlarge(dim, half)], half),
            "res4": ([], dim),
            "res5": ([nn.MaxPool2d(2)], dim),
        }
        self.levels = nn.ModuleDict(
            {name: nn.Sequential(*layers, *_project(width, channels)) for name, (layers, width) in scales.items()}
        )

    def forward(self, frames: Tensor) -> dict[str, Tensor]:
        """Map normalised frames ``(N, 3, H, W)``, sides multiples of 32, to ``{name: (N, C, h, w)}``."""
        features = self.vit(frames)["res4"]
        return {name: level(features) for name, level in self.levels.items()}


def _enlarge(in_channels: int, out_channels: int) -> nn.Module:
    return nn.ConvTranspose2d(in_channels, out_channels, kernel_size=2, stride=2)


def _project(in_channels: int, out_channels: int) -> list[nn.Module]:
    return [
        nn.Conv2d(in_channels, out_channels, kernel_size=1, bias=False),
        MapLayerNorm(out_channels),
        nn.Conv2d(out_channels, out_channels, kernel_size=3, padding=1, bias=False),
        MapLayerNorm(out_channels),
    ]
