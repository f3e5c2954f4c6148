"""Swin Transformer (arXiv:2103.14030) as a dense-prediction backbone: any frame size, a LayerNorm per output level."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from video_mask2former.models.backbones.base import LEVEL_NAMES, Backbone, FeatureInfo
from video_mask2former.models.layers import DropPath, run_layer
from video_mask2former.option_values import Depth, PositiveInt, Share

# Added to the attention between pixels that the cyclic shift made neighbours; finite, as in the published weights.
_SHIFT_BIAS = -100.0


class SwinTransformer(Backbone):
    """Swin Transformer.

    Args:
        embed_dim: Channels of the first stage; each stage doubles them.
        depths: Blocks of each of the four stages.
        num_heads: Attention heads of each stage.
        window_size: Side of the attention window in patches.
        drop_path_rate: Stochastic depth of the last block; it grows linearly from 0.
        patch_size: Side of a patch in pixels.
    """

    def __init__(
        self,
        embed_dim: PositiveInt = 96,
        depths: Sequence[Depth] = (2, 2, 6, 2),
        num_heads: Sequence[PositiveInt] = (3, 6, 12, 24),
        window_size: PositiveInt = 7,
        drop_path_rate: Share = 0.3,
        patch_size: PositiveInt = 4,
    ) -> None:
        super().__init__()
        if len(depths) != len(LEVEL_NAMES) or len(num_heads) != len(LEVEL_NAMES):
            raise ValueError(f"depths and num_heads need {len(LEVEL_NAMES)} entries, got {depths} and {num_heads}.")
        self.patch_embed = _PatchEmbed(patch_size, embed_dim)
        rates = torch.linspace(0, drop_path_rate, sum(depths), device="cpu").tolist()
        self.stages = nn.ModuleList()
        self.output_norms = nn.ModuleDict()
        self.feature_info = {}
        for index, name in enumerate(LEVEL_NAMES):
            channels = embed_dim * 2**index
            stage_rates, rates = rates[: depths[index]], rates[depths[index] :]
            is_last = index == len(LEVEL_NAMES) - 1
            self.stages.append(_Stage(channels, num_heads[index], window_size, stage_rates, has_downsample=not is_last))
            self.output_norms[name] = nn.LayerNorm(channels)
            self.feature_info[name] = FeatureInfo(channels, stride=patch_size * 2**index)

    def forward(self, frames: Tensor) -> dict[str, Tensor]:
        """Map frames ``(N, 3, H, W)`` to ``{name: (N, C, h, w)}``."""
        x = self.patch_embed(frames)  # (N, h, w, C)
        features = {}
        for name, stage in zip(LEVEL_NAMES, self.stages, strict=True):
            for block in stage.get_submodule("blocks").children():
                x = run_layer(block, x, recompute=self.recompute)
            features[name] = self.output_norms[name](x).permute(0, 3, 1, 2)
            x = stage.get_submodule("downsample")(x)
        return features


class _PatchEmbed(nn.Module):
    def __init__(self, patch_size: int, channels: int) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.projection = nn.Conv2d(3, channels, patch_size, stride=patch_size)
        self.norm = nn.LayerNorm(channels)

    def forward(self, frames: Tensor) -> Tensor:
        """Map ``(N, 3, H, W)`` to ``(N, h, w, C)``, padding right and below where a patch would be cut."""
        height, width = frames.shape[-2:]
        frames = F.pad(frames, (0, -width % self.patch_size, 0, -height % self.patch_size))
        return self.norm(self.projection(frames).permute(0, 2, 3, 1))


class _Stage(nn.Module):
    """Blocks of one resolution, every second one with shifted windows, then a downsampling."""

    def __init__(
        self, channels: int, num_heads: int, window_size: int, drop_path_rates: Sequence[float], has_downsample: bool
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            _Block(channels, num_heads, window_size, shift=window_size // 2 * (index % 2), drop_path_rate=rate)
            for index, rate in enumerate(drop_path_rates)
        )
        self.downsample = _PatchMerging(channels) if has_downsample else nn.Identity()


class _Block(nn.Module):
    def __init__(self, channels: int, num_heads: int, window_size: int, shift: int, drop_path_rate: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels)
        self.attention = WindowAttention(channels, num_heads, window_size, shift)
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = _FeedForward(channels, 4 * channels)
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, h, w, C)`` to the same shape."""
        x = x + self.drop_path(self.attention(self.norm1(x)))
        return x + self.drop_path(self.mlp(self.norm2(x)))


class WindowAttention(nn.Module):
    """Self-attention inside each window, with a learned bias for each relative position.

    Args:
        channels: C, a multiple of ``num_heads``.
        num_heads: Attention heads.
        window_size: Positions along each side of a window.
        shift: Positions between the corner of the map and that of the first whole window.
    """

    relative_position_index: Tensor

    def __init__(self, channels: int, num_heads: int, window_size: int, shift: int = 0) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.window_size = window_size
        self.shift = shift
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * window_size - 1) ** 2, num_heads))
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)
        self.register_buffer("relative_position_index", relative_position_index(window_size), persistent=False)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.projection = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, h, w, C)`` to the same shape."""
        height, width = x.shape[1:3]
        side, shift = self.window_size, self.shift
        x = F.pad(x, (0, 0, 0, -width % side, 0, -height % side))
        padded_size = (x.shape[1], x.shape[2])
        bias = None
        if shift:
            x = x.roll((-shift, -shift), dims=(1, 2))
            bias = shifted_window_bias(padded_size, side, shift, x)
        windows = self._attend(split_windows(x, side), bias)
        x = join_windows(windows, side, padded_size)
        if shift:
            x = x.roll((shift, shift), dims=(1, 2))
        return x[:, :height, :width]

    def _attend(self, windows: Tensor, bias: Tensor | None) -> Tensor:
        """Map ``(N, num_windows, L, C)`` to the same shape; ``bias`` is ``(num_windows, L, L)``."""
        batch, num_windows, length, channels = windows.shape
        qkv = self.qkv(windows).unflatten(-1, (3, self.num_heads, channels // self.num_heads))
        query, key, value = qkv.flatten(0, 1).permute(2, 0, 3, 1, 4)  # (N * num_windows, heads, L, D)
        position_bias = self.relative_position_bias_table[self.relative_position_index.flatten()]
        position_bias = position_bias.unflatten(0, (length, length)).permute(2, 0, 1)[None]  # (1, heads, L, L)
        if bias is not None:
            position_bias = (position_bias + bias[:, None].to(position_bias.dtype)).repeat(batch, 1, 1, 1)
        x = F.scaled_dot_product_attention(query, key, value, attn_mask=position_bias.to(query.dtype))
        return self.projection(x.transpose(1, 2).flatten(2)).unflatten(0, (batch, num_windows))


class _FeedForward(nn.Module):
    def __init__(self, channels: int, hidden_channels: int) -> None:
        super().__init__()
        self.linear1 = nn.Linear(channels, hidden_channels)
        self.linear2 = nn.Linear(hidden_channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear2(F.gelu(self.linear1(x)))


class _PatchMerging(nn.Module):
    """Join 2x2 patches into one with twice the channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * channels)
        self.reduction = nn.Linear(4 * channels, 2 * channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, h, w, C)`` to ``(N, h / 2, w / 2, 2 C)``."""
        height, width = x.shape[1:3]
        x = F.pad(x, (0, 0, 0, width % 2, 0, height % 2))
        corners = [x[:, row::2, column::2] for column in (0, 1) for row in (0, 1)]
        return self.reduction(self.norm(torch.cat(corners, dim=-1)))


def split_windows(x: Tensor, side: int) -> Tensor:
    """Cut ``(N, h, w, C)`` into windows, ``(N, num_windows, side * side, C)``."""
    x = x.unflatten(2, (-1, side)).unflatten(1, (-1, side))  # (N, rows, side, columns, side, C)
    return x.transpose(2, 3).flatten(3, 4).flatten(1, 2)


def join_windows(windows: Tensor, side: int, size: tuple[int, int]) -> Tensor:
    """Undo :func:`split_windows`: ``(N, num_windows, side * side, C)`` to ``(N, h, w, C)``."""
    rows, columns = size[0] // side, size[1] // side
    x = windows.unflatten(2, (side, side)).unflatten(1, (rows, columns))
    return x.transpose(2, 3).flatten(3, 4).flatten(1, 2)


def shifted_window_bias(size: tuple[int, int], side: int, shift: int, like: Tensor) -> Tensor:
    """Attention bias that keeps apart what the cyclic shift brought together, ``(num_windows, L, L)``."""
    bands = []
    for length in size:
        position = torch.arange(length, device=like.device)
        bands.append((position >= length - side).int() + (position >= length - shift).int())
    region = 3 * bands[0][:, None] + bands[1][None]  # (h, w): one number per region that belongs together
    region = split_windows(region[None, :, :, None], side)[0, :, :, 0]  # (num_windows, L)
    is_apart = region[:, :, None] != region[:, None, :]
    return is_apart.to(like.dtype) * _SHIFT_BIAS


def relative_position_index(window_size: int) -> Tensor:
    """Row of the bias table for each pair of positions in a window, ``(L, L)`` int64."""
    y, x = torch.meshgrid(torch.arange(window_size), torch.arange(window_size), indexing="ij")
    y, x = y.flatten(), x.flatten()
    offset_y = y[:, None] - y[None] + window_size - 1
    offset_x = x[:, None] - x[None] + window_size - 1
    return offset_y * (2 * window_size - 1) + offset_x
