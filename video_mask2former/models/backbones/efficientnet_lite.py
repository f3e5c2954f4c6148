"""EfficientNet-Lite0: EfficientNet (arXiv:1905.11946) without squeeze-and-excitation, with ReLU6; for small devices."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from video_mask2former.models.backbones.base import LEVEL_NAMES, Backbone, FeatureInfo
from video_mask2former.models.layers import FrozenBatchNorm2d, conv_frozen_norm, run_layer

_NORM_EPS = 1e-3
_STEM_CHANNELS = 32
# (number of blocks, kernel size, stride of the first block, expansion, output channels)
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
# the last stage at each stride is the one whose output is a feature level
_LEVEL_OF_STAGE = {1: "res2", 2: "res3", 4: "res4", 6: "res5"}


class EfficientNetLite0(Backbone):
    """EfficientNet-Lite0 up to its last block, with frozen batch normalisation.

    Convolutions pad as TensorFlow's "same" does (the odd pixel goes right and below), since the ImageNet weights were
    trained so.
    """

    is_convolutional = True

    def __init__(self) -> None:
        super().__init__()
        self.stem = _ConvNorm(3, _STEM_CHANNELS, kernel_size=3, stride=2)
        self.feature_info = {}
        blocks: list[nn.Module] = []
        self._level_after_block: dict[int, str] = {}
        channels, stride = _STEM_CHANNELS, 2
        for stage, (num_blocks, kernel_size, first_stride, expansion, out_channels) in enumerate(_STAGES):
            for index in range(num_blocks):
                block_stride = first_stride if index == 0 else 1
                blocks.append(_InvertedResidual(channels, out_channels, kernel_size, block_stride, expansion))
                channels = out_channels
            stride *= first_stride
            if stage in _LEVEL_OF_STAGE:
                name = _LEVEL_OF_STAGE[stage]
                self.feature_info[name] = FeatureInfo(channels, stride)
                self._level_after_block[len(blocks) - 1] = name
        self.blocks = nn.ModuleList(blocks)
        assert tuple(self.feature_info) == LEVEL_NAMES

    def forward(self, frames: Tensor) -> dict[str, Tensor]:
        """Map frames ``(N, 3, H, W)`` to ``{name: (N, C, h, w)}``."""
        x = F.relu6(self.stem(frames))
        features = {}
        for index, block in enumerate(self.blocks):
            x = run_layer(block, x, recompute=self.recompute)
            if index in self._level_after_block:
                features[self._level_after_block[index]] = x
        return features


class _ConvNorm(nn.Module):
    """Convolution with "same" padding and frozen batch normalisation."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int = 1, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__()
        # inputs of strided convolutions have even sides here, so "same" pads kernel_size - stride in all
        total = kernel_size - stride if stride > 1 else kernel_size - 1
        self.before, self.after = total // 2, total - total // 2
        is_symmetric = self.before == self.after
        padding = self.before if is_symmetric else 0
        self.needs_pad = not is_symmetric
        self.conv = nn.Conv2d(
            in_channels, out_channels, kernel_size, stride, padding=padding, groups=groups, bias=False
        )
        self.norm = FrozenBatchNorm2d(out_channels, eps=_NORM_EPS)
        nn.init.kaiming_normal_(self.conv.weight, mode="fan_out")

    def forward(self, x: Tensor) -> Tensor:
        if self.needs_pad:
            x = F.pad(x, (self.before, self.after, self.before, self.after))
        return conv_frozen_norm(x, self.conv, self.norm)


class _InvertedResidual(nn.Module):
    """Expand, convolve each channel, project; add the input where shapes allow."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, stride: int, expansion: int) -> None:
        super().__init__()
        width = in_channels * expansion
        self.expand = _ConvNorm(in_channels, width) if expansion > 1 else None
        self.depthwise = _ConvNorm(width, width, kernel_size, stride, groups=width)
        self.project = _ConvNorm(width, out_channels)
        self.has_residual = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        y = x if self.expand is None else F.relu6(self.expand(x))
        y = self.project(F.relu6(self.depthwise(y)))
        return x + y if self.has_residual else y
