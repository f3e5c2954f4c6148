"""Axial attention and the dual-path transformer layer of MaX-DeepLab (arXiv:2003.07853, arXiv:2012.00759).

Similarities and retrieved values are batch-normalised; there is no division by the root of the dimension.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from video_mask2former.models.layers import DropPath
from video_mask2former.models.max_deeplab.layers import BatchNorm, ConvBatchNorm, ResidualBlock, TokenBatchNorm

# Most positions along an axis
MAX_LENGTH = 255


class AxialAttention(nn.Module):
    """Self-attention along one axis, sensitive to relative position in queries, keys and values.

    Args:
        in_channels: Channels of the input.
        key_channels: Channels of all heads' queries, and of their keys.
        value_channels: Channels of all heads' values, which come out.
        num_heads: Attention heads.
    """

    def __init__(self, in_channels: int, key_channels: int, value_channels: int, num_heads: int = 8) -> None:
        super().__init__()
        if key_channels % num_heads or value_channels % num_heads:
            raise ValueError(
                "key_channels and value_channels must be multiples of num_heads, got "
                f"{key_channels = }, {value_channels = }, {num_heads = }."
            )
        self.num_heads = num_heads
        self.splits = (key_channels, key_channels, value_channels)
        self.qkv = nn.Linear(in_channels, sum(self.splits), bias=False)
        self.qkv_norm = BatchNorm(sum(self.splits))
        self.similarity_norm = BatchNorm(3 * num_heads)
        self.value_norm = BatchNorm(2 * value_channels)
        num_offsets = 2 * MAX_LENGTH - 1
        self.query_positions = nn.Embedding(num_offsets, key_channels // num_heads)
        self.key_positions = nn.Embedding(num_offsets, key_channels // num_heads)
        self.value_positions = nn.Embedding(num_offsets, value_channels // num_heads)
        nn.init.normal_(self.qkv.weight, std=in_channels**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        """Map lines ``(N, C_in, L)`` to ``(N, C_out, L)``."""
        length = x.shape[2]
        if length > MAX_LENGTH:
            raise ValueError(
                f"axial attention knows at most {MAX_LENGTH} positions along an axis, got {length}. Use smaller frames."
            )
        qkv = self.qkv_norm(F.linear(x.transpose(1, 2), self.qkv.weight).transpose(1, 2))
        query, key, value = (
            part.unflatten(1, (self.num_heads, -1)).transpose(2, 3) for part in qkv.split(self.splits, dim=1)
        )  # (N, heads, L, D)
        query_positions, key_positions, value_positions = (
            self._relative(table, length) for table in (self.query_positions, self.key_positions, self.value_positions)
        )  # (L, L, D): from query to key
        similarity = torch.cat(
            (
                query @ key.transpose(2, 3),
                torch.einsum("nhld,lmd->nhlm", query, query_positions),
                torch.einsum("nhmd,lmd->nhlm", key, key_positions),
            ),
            dim=1,
        )
        similarity = self.similarity_norm(similarity).unflatten(1, (3, self.num_heads)).sum(dim=1)
        weights = similarity.softmax(dim=3)
        retrieved = torch.stack((weights @ value, torch.einsum("nhlm,lmd->nhld", weights, value_positions)), dim=1)
        retrieved = self.value_norm(retrieved.transpose(3, 4).flatten(1, 3))  # (N, 2 * C_out, L)
        return retrieved.unflatten(1, (2, -1)).sum(dim=1)

    @staticmethod
    def _relative(table: nn.Embedding, length: int) -> Tensor:
        position = torch.arange(length, device=table.weight.device)
        return table(position[None] - position[:, None] + MAX_LENGTH - 1)


class AxialBlock(ResidualBlock):
    """A residual block whose 3x3 convolution is attention along the height and then along the width.

    Args:
        in_channels: Channels of the input.
        filters: A quarter of the channels that come out.
        stride: Positions along each axis that are kept of what attention makes.
        drop_path_rate: Chance to drop the branch in training.
        expansion: Channels of the attention per filter; its keys have half of them.
        num_heads: Attention heads.
    """

    def __init__(
        self,
        in_channels: int,
        filters: int,
        stride: int = 1,
        drop_path_rate: float = 0.0,
        *,
        expansion: int = 2,
        num_heads: int = 8,
    ) -> None:
        super().__init__(in_channels, 4 * filters, stride, drop_path_rate)
        width = filters * expansion
        self.conv1 = ConvBatchNorm(in_channels, width)
        self.height_attention = AxialAttention(width, width // 2, width, num_heads)
        self.width_attention = AxialAttention(width, width // 2, width, num_heads)
        self.conv3 = ConvBatchNorm(width, 4 * filters, has_relu=False, initial_scale=0.0)

    def branch(self, x: Tensor) -> Tensor:
        """The residual of an activated map."""
        return self.conv3(F.relu(self._attend(self.conv1(x))))

    def _attend(self, x: Tensor) -> Tensor:
        batch, _, _, width = x.shape
        columns = self.height_attention(x.permute(0, 3, 1, 2).flatten(0, 1))  # (N * w, C, h)
        x = columns[:, :, :: self.stride].unflatten(0, (batch, width))
        height = x.shape[3]
        rows = self.width_attention(x.permute(0, 3, 2, 1).flatten(0, 1))  # (N * h, C, w)
        return rows[:, :, :: self.stride].unflatten(0, (batch, height)).transpose(1, 2)


class _Attention(nn.Module):
    """From queries ``(N, K, Q)`` to keys ``(N, K, S)`` and values ``(N, V, S)``: activated ``(N, V, Q)``."""

    def __init__(self, value_channels: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.similarity_norm = BatchNorm(num_heads)
        self.value_norm = BatchNorm(value_channels)

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        query, key, value = (part.unflatten(1, (self.num_heads, -1)) for part in (query, key, value))
        weights = self.similarity_norm(query.transpose(2, 3) @ key).softmax(dim=3)  # (N, heads, Q, S)
        return F.relu(self.value_norm((value @ weights.transpose(2, 3)).flatten(1, 2)))


class DualPathLayer(nn.Module):
    """Memory and pixels attend to each other: memory to both, pixels to the memory as it was.

    Args:
        pixel_channels: Channels of the map.
        memory_channels: Channels of the memory.
        filters: Channels of keys; values have twice as many.
        feedforward_dim: Hidden features of the memory's feed-forward network.
        num_heads: Attention heads.
        drop_path_rate: Chance to drop each of the branches in training.
    """

    def __init__(
        self,
        pixel_channels: int,
        memory_channels: int,
        filters: int,
        *,
        feedforward_dim: int = 2048,
        num_heads: int = 8,
        drop_path_rate: float = 0.0,
    ) -> None:
        super().__init__()
        width = 2 * filters
        self.splits = (filters, filters, width)
        self.memory_conv1 = TokenBatchNorm(memory_channels, width)
        self.pixel_conv1 = TokenBatchNorm(pixel_channels, width)
        self.memory_qkv = TokenBatchNorm(width, sum(self.splits), has_relu=False)
        self.pixel_qkv = TokenBatchNorm(width, sum(self.splits), has_relu=False)
        self.memory_attention = _Attention(width, num_heads)
        self.pixel_attention = _Attention(width, num_heads)
        self.memory_conv3 = TokenBatchNorm(width, memory_channels, has_relu=False, initial_scale=0.0)
        self.pixel_conv3 = TokenBatchNorm(width, pixel_channels, has_relu=False, initial_scale=0.0)
        self.feedforward1 = TokenBatchNorm(memory_channels, feedforward_dim)
        self.feedforward2 = TokenBatchNorm(feedforward_dim, memory_channels, has_relu=False, initial_scale=0.0)
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, pixels: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Update both.

        Args:
            pixels: Not activated, ``(N, C, h, w)``.
            memory: Activated, ``(N, C_memory, slots)``.

        Returns:
            Both again, of the same shapes.
        """
        tokens = F.relu(pixels).flatten(2)
        memory_query, memory_key, memory_value = self.memory_qkv(self.memory_conv1(memory)).split(self.splits, dim=1)
        pixel_query, pixel_key, pixel_value = self.pixel_qkv(self.pixel_conv1(tokens)).split(self.splits, dim=1)
        attended = self.memory_attention(
            memory_query,
            torch.cat((pixel_key, memory_key), dim=2),
            torch.cat((pixel_value, memory_value), dim=2),
        )
        memory = F.relu(memory + self.drop_path(self.memory_conv3(attended)))
        memory = F.relu(memory + self.drop_path(self.feedforward2(self.feedforward1(memory))))
        attended = self.pixel_attention(pixel_query, memory_key, memory_value)
        update = self.pixel_conv3(attended).unflatten(2, pixels.shape[2:])
        return pixels + self.drop_path(update), memory
