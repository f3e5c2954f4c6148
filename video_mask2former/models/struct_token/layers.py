"""Layers that let the structure tokens and the features of an image act on each other (arXiv:2203.12612).

Tokens are maps, one per class; attention is between whole maps, each of which is one vector over all positions.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from video_mask2former.models.layers import DropPath, MapLayerNorm

_EPS = 1e-6


class DepthwiseBlock(nn.Module):
    """1x1, depthwise 3x3 and 1x1 convolutions, each normalised, with GELU between.

    Args:
        channels: C.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, kernel_size=1)
        self.norm1 = MapLayerNorm(channels, eps=_EPS)
        self.conv2 = nn.Conv2d(channels, channels, kernel_size=3, padding=1, groups=channels)
        self.norm2 = MapLayerNorm(channels, eps=_EPS)
        self.conv3 = nn.Conv2d(channels, channels, kernel_size=1)
        self.norm3 = MapLayerNorm(channels, eps=_EPS)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, C, h, w)`` to the same shape."""
        x = F.gelu(self.norm1(self.conv1(x)))
        x = F.gelu(self.norm2(self.conv2(x)))
        return self.norm3(self.conv3(x))


class GroupedFeedForward(nn.Module):
    """A feed-forward network with a grouped 3x3 convolution inside; GELU comes after the residual.

    Args:
        channels: C.
        expansion: Hidden channels per channel, which are one group.
        drop_path_rate: Chance to drop the branch in training.
    """

    def __init__(self, channels: int, expansion: int, drop_path_rate: float = 0.0) -> None:
        super().__init__()
        hidden = channels * expansion
        self.conv1 = nn.Conv2d(channels, hidden, kernel_size=1)
        self.norm1 = MapLayerNorm(hidden)
        self.grouped = nn.Conv2d(hidden, hidden, kernel_size=3, padding=1, groups=channels)
        self.norm2 = MapLayerNorm(hidden)
        self.conv2 = nn.Conv2d(hidden, channels, kernel_size=1)
        self.norm3 = MapLayerNorm(channels)
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, C, h, w)`` to the same shape."""
        y = F.gelu(self.norm1(self.conv1(x)))
        y = F.gelu(self.norm2(self.grouped(y)))
        return F.gelu(x + self.drop_path(self.norm3(self.conv2(y))))


class SliceAttention(nn.Module):
    """Attention from maps to maps: how alike two are over all positions says how much of one goes to the other.

    Args:
        query_channels: Number of maps that ask, and that come out.
        memory_channels: Number of maps that are asked.
    """

    def __init__(self, query_channels: int, memory_channels: int) -> None:
        super().__init__()
        self.query = DepthwiseBlock(query_channels)
        self.key = DepthwiseBlock(memory_channels)
        self.value = DepthwiseBlock(memory_channels)
        self.output = DepthwiseBlock(query_channels)

    def forward(self, queries: Tensor, memory: Tensor) -> Tensor:
        """From ``(N, Q, h, w)`` and ``(N, C, h, w)`` to ``(N, Q, h, w)``."""
        query, key, value = (maps.flatten(2) for maps in (self.query(queries), self.key(memory), self.value(memory)))
        attended = F.scaled_dot_product_attention(query, key, value)  # scaled by the root of the positions
        return self.output(attended.unflatten(2, queries.shape[2:]))


class PointwiseMixing(nn.Module):
    """Every position mixes the maps in the same, learned way.

    Args:
        channels: Number of maps.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.query = DepthwiseBlock(channels)
        self.mix = nn.Conv2d(channels, channels, kernel_size=1)
        self.output = DepthwiseBlock(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, C, h, w)`` to the same shape."""
        return self.output(self.mix(self.query(x)))


class CrossSliceLayer(nn.Module):
    """Tokens attend to features; each then has a feed-forward network of its own (CSE).

    Args:
        num_tokens: Number of tokens.
        channels: Channels of the features.
        expansion: See :class:`GroupedFeedForward`.
        drop_path_rate: Chance to drop a branch in training.
        is_last: Whether no layer follows, so that features need no update.
    """

    def __init__(self, num_tokens: int, channels: int, expansion: int, drop_path_rate: float, *, is_last: bool) -> None:
        super().__init__()
        self.attention = SliceAttention(num_tokens, channels)
        self.token_mlp = GroupedFeedForward(num_tokens, expansion, drop_path_rate)
        self.feature_mlp = None if is_last else GroupedFeedForward(channels, expansion, drop_path_rate)
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, tokens: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        """Update both, ``(N, K, h, w)`` and ``(N, C, h, w)``."""
        tokens = self.token_mlp(tokens + self.drop_path(self.attention(tokens, features)))
        return tokens, features if self.feature_mlp is None else self.feature_mlp(features)


class JointLayer(nn.Module):
    """Tokens and features side by side attend to themselves (SSE), or are mixed position by position (PWE).

    Args:
        num_tokens: Number of tokens.
        channels: Channels of the features.
        expansion: See :class:`GroupedFeedForward`.
        drop_path_rate: Chance to drop a branch in training.
        has_attention: True for SSE, False for PWE.
    """

    def __init__(
        self, num_tokens: int, channels: int, expansion: int, drop_path_rate: float, *, has_attention: bool
    ) -> None:
        super().__init__()
        both = num_tokens + channels
        self.num_tokens = num_tokens
        self.attention = SliceAttention(both, both) if has_attention else None
        self.mixing = None if has_attention else PointwiseMixing(both)
        self.mlp = GroupedFeedForward(both, expansion, drop_path_rate)
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, tokens: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        """Update both, ``(N, K, h, w)`` and ``(N, C, h, w)``."""
        x = torch.cat((tokens, features), dim=1)
        update = self.attention(x, x) if self.attention is not None else self._mixed(x)
        x = self.mlp(x + self.drop_path(update))
        return x[:, : self.num_tokens], x[:, self.num_tokens :]

    def _mixed(self, x: Tensor) -> Tensor:
        assert self.mixing is not None  # a layer has one or the other
        return self.mixing(x)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions, normalised and activated before.

    Args:
        channels: C.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm1 = MapLayerNorm(channels, eps=_EPS)
        self.conv1 = nn.Conv2d(channels, channels, kernel_size=3, padding=1)
        self.norm2 = MapLayerNorm(channels, eps=_EPS)
        self.conv2 = nn.Conv2d(channels, channels, kernel_size=3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, C, h, w)`` to the same shape."""
        y = self.conv1(F.gelu(self.norm1(x)))
        return x + self.conv2(F.gelu(self.norm2(y)))
