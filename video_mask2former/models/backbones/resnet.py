"""ResNet-50 and ResNet-101 (arXiv:1512.03385) in torchvision's layout, with frozen batch normalisation."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from video_mask2former.models.backbones.base import LEVEL_NAMES, Backbone, FeatureInfo
from video_mask2former.models.layers import FrozenBatchNorm2d, conv_frozen_norm, run_layer

_NUM_BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}


class ResNet(Backbone):
    """ResNet whose stride lies in the 3x3 convolution.

    Args:
        depth: 50 or 101.
        stem: ``basic``, one 7x7 convolution, or ``deeplab``, three 3x3 convolutions up to 128 channels.
        res5_dilations: Dilation of the 3x3 convolution of each block of the last stage; the published models with the
            deeplab stem have 1, 2, 4.
    """

    is_convolutional = True

    def __init__(
        self,
        depth: Literal[50, 101] = 50,
        *,
        stem: Literal["basic", "deeplab"] = "basic",
        res5_dilations: tuple[int, int, int] = (1, 1, 1),
    ) -> None:
        super().__init__()
        if depth not in _NUM_BLOCKS:
            raise ValueError(f"depth must be one of {sorted(_NUM_BLOCKS)}, got {depth}.")
        if stem not in ("basic", "deeplab"):
            raise ValueError(f"stem must be 'basic' or 'deeplab', got {stem!r}.")
        if len(res5_dilations) != _NUM_BLOCKS[depth][3] or min(res5_dilations) < 1:
            raise ValueError(f"res5_dilations must be three numbers of at least 1, got {res5_dilations}.")
        self.stem = _Stem() if stem == "basic" else _DeeplabStem()
        channels = 64 if stem == "basic" else 128
        self.feature_info = {}
        for index, (name, num_blocks) in enumerate(zip(LEVEL_NAMES, _NUM_BLOCKS[depth], strict=True)):
            width = 64 * 2**index
            blocks = [_Bottleneck(channels, width, stride=1 if index == 0 else 2)]
            channels = 4 * width
            blocks += [_Bottleneck(channels, width, stride=1) for _ in range(num_blocks - 1)]
            if name == LEVEL_NAMES[-1]:
                for block, dilation in zip(blocks, res5_dilations, strict=True):
                    block.dilate(dilation)
            self.add_module(name, nn.Sequential(*blocks))
            self.feature_info[name] = FeatureInfo(channels, stride=4 * 2**index)

    def forward(self, frames: Tensor) -> dict[str, Tensor]:
        """Map frames ``(N, 3, H, W)`` to ``{name: (N, C, h, w)}``."""
        x = self.stem(frames)
        features = {}
        for name in LEVEL_NAMES:
            for block in self.get_submodule(name).children():
                x = run_layer(block, x, recompute=self.recompute)
            features[name] = x
        return features


class _Stem(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = _conv(3, 64, kernel_size=7, stride=2)
        self.norm = FrozenBatchNorm2d(64)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(conv_frozen_norm(x, self.conv, self.norm), inplace=True)
        return F.max_pool2d(x, kernel_size=3, stride=2, padding=1)


class _DeeplabStem(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = _conv(3, 64, kernel_size=3, stride=2)
        self.norm = FrozenBatchNorm2d(64)
        self.conv2 = _conv(64, 64, kernel_size=3)
        self.norm2 = FrozenBatchNorm2d(64)
        self.conv3 = _conv(64, 128, kernel_size=3)
        self.norm3 = FrozenBatchNorm2d(128)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(conv_frozen_norm(x, self.conv, self.norm), inplace=True)
        x = F.relu(conv_frozen_norm(x, self.conv2, self.norm2), inplace=True)
        x = F.relu(conv_frozen_norm(x, self.conv3, self.norm3), inplace=True)
        return F.max_pool2d(x, kernel_size=3, stride=2, padding=1)


class _Shortcut(nn.Module):
    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.conv = _conv(in_channels, out_channels, kernel_size=1, stride=stride)
        self.norm = FrozenBatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return conv_frozen_norm(x, self.conv, self.norm)


class _Bottleneck(nn.Module):
    def __init__(self, in_channels: int, width: int, stride: int) -> None:
        super().__init__()
        out_channels = 4 * width
        self.shortcut = _Shortcut(in_channels, out_channels, stride) if in_channels != out_channels else nn.Identity()
        self.conv1 = _conv(in_channels, width, kernel_size=1)
        self.norm1 = FrozenBatchNorm2d(width)
        self.conv2 = _conv(width, width, kernel_size=3, stride=stride)
        self.norm2 = FrozenBatchNorm2d(width)
        self.conv3 = _conv(width, out_channels, kernel_size=1)
        self.norm3 = FrozenBatchNorm2d(out_channels)

    def dilate(self, dilation: int) -> None:
        """Spread the 3x3 convolution without changing the size of what comes out."""
        self.conv2.dilation = self.conv2.padding = (dilation, dilation)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(conv_frozen_norm(x, self.conv1, self.norm1), inplace=True)
        y = F.relu(conv_frozen_norm(y, self.conv2, self.norm2), inplace=True)
        y = conv_frozen_norm(y, self.conv3, self.norm3)
        return F.relu(y.add_(self.shortcut(x)), inplace=True)


def _conv(in_channels: int, out_channels: int, kernel_size: int, stride: int = 1) -> nn.Conv2d:
    conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding=kernel_size // 2, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return conv
