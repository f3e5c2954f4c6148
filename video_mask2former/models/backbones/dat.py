"""Deformable Attention Transformers: DAT (arXiv:2201.00520) and DAT++ (arXiv:2309.01430)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from video_mask2former.models.backbones.base import LEVEL_NAMES, Backbone, FeatureInfo
from video_mask2former.models.backbones.dat_attention import DeformableAttention, NeighbourhoodAttention
from video_mask2former.models.backbones.swin import WindowAttention
from video_mask2former.models.layers import DropPath, MapLayerNorm, run_layer
from video_mask2former.option_values import Depth, PositiveInt, Share

_OFFSET_KERNELS = (9, 7, 5, 3)
_OFFSET_STRIDES = (8, 4, 2, 1)
_WINDOW = 7


class _DeformableTransformer(Backbone):
    """What DAT and DAT++ have in common: a stem, four stages of blocks, and a norm on what leaves each stage."""

    def _set_parts(self, stem: nn.Module, widths: Sequence[int], stages: Sequence[nn.Module], downsample: int) -> None:
        self.patch_embed = stem
        self.stages = nn.ModuleList(stages)
        self.downsamples = nn.ModuleList(_downsample(width, kernel_size=downsample) for width in widths[:-1])
        self.output_norms = nn.ModuleDict(
            {name: MapLayerNorm(width) for name, width in zip(LEVEL_NAMES, widths, strict=True)}
        )
        self.feature_info = {
            name: FeatureInfo(width, stride=4 * 2**index)
            for index, (name, width) in enumerate(zip(LEVEL_NAMES, widths, strict=True))
        }

    def forward(self, frames: Tensor) -> dict[str, Tensor]:
        """Map frames ``(N, 3, H, W)`` to ``{name: (N, C, h, w)}``."""
        x = self.patch_embed(frames)
        features = {}
        for index, (name, stage) in enumerate(zip(LEVEL_NAMES, self.stages, strict=True)):
            for block in stage.children():
                x = run_layer(block, x, recompute=self.recompute)
            features[name] = self.output_norms[name](x)
            if index < len(self.downsamples):
                x = self.downsamples[index](x)
        return features


class DAT(_DeformableTransformer):
    """The first DAT: windows, shifted windows, and in the last two stages deformable attention.

    Frames may have any size: windows are padded where they would be cut, and the tables of position biases are read
    at continuous positions. At ``image_size`` the numbers are those of the published code, which runs nowhere else.

    Args:
        embed_dim: Channels of the first stage, doubled from stage to stage.
        depths: Blocks of each stage.
        num_heads: Attention heads of each stage.
        num_groups: Groups of offsets in the last two stages.
        drop_path_rate: Stochastic depth of the last block; falls linearly to 0 at the first.
        image_size: Side of the images that the tables of position biases were trained on.
    """

    def __init__(
        self,
        embed_dim: PositiveInt = 96,
        depths: Sequence[Depth] = (2, 2, 6, 2),
        num_heads: Sequence[PositiveInt] = (3, 6, 12, 24),
        num_groups: Sequence[PositiveInt] = (3, 6),
        drop_path_rate: Share = 0.2,
        image_size: PositiveInt = 224,
    ) -> None:
        super().__init__()
        _check_lengths(depths, num_heads, (0, 0, *num_groups))
        rates = iter(torch.linspace(0, drop_path_rate, sum(depths), device="cpu").tolist())
        widths = [embed_dim * 2**index for index in range(len(depths))]
        stages = []
        for index, (width, depth) in enumerate(zip(widths, depths, strict=True)):
            blocks = []
            for position in range(depth):
                attention: nn.Module
                if position % 2 and index >= 2:
                    attention = DeformableAttention(
                        width,
                        num_heads[index],
                        num_groups[index - 2],
                        stride=1,
                        kernel_size=_OFFSET_KERNELS[index],
                        table_size=_table_size(image_size, index),
                        bounded_offsets=True,
                    )
                else:
                    shift = -(-_WINDOW // 2) if position % 2 else 0
                    attention = _LocalAttention(width, num_heads[index], _WINDOW, shift)
                blocks.append(_Block(width, attention, _FeedForward(width), next(rates)))
            stages.append(nn.ModuleList(blocks))
        stem = nn.Sequential(nn.Conv2d(3, embed_dim, kernel_size=4, stride=4), MapLayerNorm(embed_dim))
        self._set_parts(stem, widths, stages, downsample=2)


class DATPlusPlus(_DeformableTransformer):
    """DAT++: neighbourhood and deformable attention in turn, convolutions in stem, blocks and feed-forward networks.

    Args:
        embed_dim: Channels of the first stage, doubled from stage to stage.
        depths: Blocks of each stage.
        num_heads: Attention heads of each stage.
        num_groups: Groups of offsets of each stage.
        drop_path_rate: Stochastic depth of the last block; falls linearly to 0 at the first.
        image_size: Side of the images that the tables of position biases were trained on; frames may have any size.
    """

    def __init__(
        self,
        embed_dim: PositiveInt = 64,
        depths: Sequence[Depth] = (2, 4, 18, 2),
        num_heads: Sequence[PositiveInt] = (2, 4, 8, 16),
        num_groups: Sequence[PositiveInt] = (1, 2, 4, 8),
        drop_path_rate: Share = 0.3,
        image_size: PositiveInt = 224,
    ) -> None:
        super().__init__()
        _check_lengths(depths, num_heads, num_groups)
        rates = iter(torch.linspace(0, drop_path_rate, sum(depths), device="cpu").tolist())
        widths = [embed_dim * 2**index for index in range(len(depths))]
        stages = []
        for index, (width, depth) in enumerate(zip(widths, depths, strict=True)):
            blocks = []
            for position in range(depth):
                attention: nn.Module
                if position % 2 or index == len(depths) - 1:
                    attention = DeformableAttention(
                        width,
                        num_heads[index],
                        num_groups[index],
                        stride=_OFFSET_STRIDES[index],
                        kernel_size=_OFFSET_KERNELS[index],
                        table_size=_table_size(image_size, index),
                    )
                else:
                    attention = NeighbourhoodAttention(width, num_heads[index], _WINDOW)
                feed_forward = _ConvolutionalFeedForward(width)
                blocks.append(_Block(width, attention, feed_forward, next(rates), has_local_perception=True))
            stages.append(nn.ModuleList(blocks))
        stem = nn.Sequential(
            nn.Conv2d(3, embed_dim // 2, kernel_size=3, stride=2, padding=1),
            MapLayerNorm(embed_dim // 2),
            nn.GELU(),
            nn.Conv2d(embed_dim // 2, embed_dim, kernel_size=3, stride=2, padding=1),
            MapLayerNorm(embed_dim),
        )
        self._set_parts(stem, widths, stages, downsample=3)


class _Block(nn.Module):
    """Attention and a feed-forward network, pre-norm, on maps ``(N, C, h, w)``."""

    def __init__(
        self,
        channels: int,
        attention: nn.Module,
        feed_forward: nn.Module,
        drop_path_rate: float,
        *,
        has_local_perception: bool = False,
    ) -> None:
        super().__init__()
        self.local_perception = (
            nn.Conv2d(channels, channels, kernel_size=3, padding=1, groups=channels) if has_local_perception else None
        )
        self.norm1 = MapLayerNorm(channels)
        self.attention = attention
        self.norm2 = MapLayerNorm(channels)
        self.mlp = feed_forward
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, C, h, w)`` to the same shape."""
        if self.local_perception is not None:
            x = x + self.local_perception(x)
        x = x + self.drop_path(self.attention(self.norm1(x)))
        return x + self.drop_path(self.mlp(self.norm2(x)))


class _LocalAttention(WindowAttention):
    """Attention inside windows, of maps ``(N, C, h, w)``."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class _FeedForward(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, 4 * channels)
        self.fc2 = nn.Linear(4 * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x.permute(0, 2, 3, 1)))).permute(0, 3, 1, 2)


class _ConvolutionalFeedForward(nn.Module):
    """A feed-forward network whose hidden features also see their neighbours."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = 4 * channels
        self.linear1 = nn.Conv2d(channels, hidden, kernel_size=1)
        self.depthwise = nn.Conv2d(hidden, hidden, kernel_size=3, padding=1, groups=hidden)
        self.linear2 = nn.Conv2d(hidden, channels, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.linear1(x)
        return self.linear2(F.gelu(x + self.depthwise(x)))


def _downsample(channels: int, kernel_size: int) -> nn.Sequential:
    """Half the size, twice the channels."""
    padding = (kernel_size - 1) // 2
    convolution = nn.Conv2d(channels, 2 * channels, kernel_size, stride=2, padding=padding, bias=False)
    return nn.Sequential(convolution, MapLayerNorm(2 * channels))


def _table_size(image_size: int, stage: int) -> tuple[int, int]:
    """Position biases from each position of a square map of the training size to each other."""
    side = image_size // (4 * 2**stage)
    return 2 * side - 1, 2 * side - 1


def _check_lengths(*options: Sequence[int]) -> None:
    if any(len(option) != len(LEVEL_NAMES) for option in options):
        raise ValueError(
            f"depths, num_heads and num_groups need an entry for each of {len(LEVEL_NAMES)} stages "
            f"(num_groups of DAT for the last two), got {', '.join(map(str, options))}."
        )
