"""Attention of the Deformable Attention Transformers (DAT, arXiv:2201.00520; DAT++, arXiv:2309.01430)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from video_mask2former.models.layers import MapLayerNorm

# Queries along each side of a tile of neighbourhood attention
_TILE = 8


class DeformableAttention(nn.Module):
    """Attention to few positions, the same for all queries of a group of heads, which the map itself chooses.

    A grid of reference points is shifted by offsets that a small convolution network predicts from the queries; keys
    and values are made of what lies there. Coordinates run from -1 to 1 over the map, y first.

    Args:
        channels: C.
        num_heads: Attention heads.
        num_groups: Groups of channels, each with offsets of its own; divides ``num_heads``.
        stride: Positions of the map per reference point.
        kernel_size: Of the convolution that predicts offsets.
        table_size: Height and width of the table of position biases. It is read at continuous positions, so that it
            serves maps of any size.
        bounded_offsets: True for DAT: offsets reach two reference points far at most, and points are at the centres of
            cells. False for DAT++: offsets reach anywhere, and points are where its published code has them.
    """

    def __init__(
        self,
        channels: int,
        num_heads: int,
        num_groups: int,
        *,
        stride: int,
        kernel_size: int,
        table_size: tuple[int, int],
        bounded_offsets: bool = False,
    ) -> None:
        super().__init__()
        if channels % num_heads or num_heads % num_groups:
            raise ValueError(
                "channels must be a multiple of num_heads, and num_heads of num_groups, got "
                f"{channels = }, {num_heads = }, {num_groups = }."
            )
        self.num_heads, self.num_groups = num_heads, num_groups
        self.bounded_offsets = bounded_offsets
        width = channels // num_groups
        padding = 0 if kernel_size == stride else kernel_size // 2
        self.offsets = nn.Sequential(
            nn.Conv2d(width, width, kernel_size, stride=stride, padding=padding, groups=width),
            MapLayerNorm(width),
            nn.GELU(),
            nn.Conv2d(width, 2, kernel_size=1, bias=False),
        )
        self.query = nn.Conv2d(channels, channels, kernel_size=1)
        self.key = nn.Conv2d(channels, channels, kernel_size=1)
        self.value = nn.Conv2d(channels, channels, kernel_size=1)
        self.projection = nn.Conv2d(channels, channels, kernel_size=1)
        self.position_bias_table = nn.Parameter(torch.zeros(num_heads, *table_size))
        nn.init.trunc_normal_(self.position_bias_table, std=0.01)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, C, h, w)`` to the same shape."""
        batch, channels, height, width = x.shape
        query = self.query(x)
        positions = self.positions(query)  # (N * G, h', w', 2)
        groups = x.unflatten(1, (self.num_groups, -1)).flatten(0, 1)
        sampled = F.grid_sample(groups, positions.flip(-1), align_corners=True)
        sampled = sampled.reshape(batch, channels, 1, -1)  # (N, C, 1, S)
        bias = self._position_bias((height, width), positions)  # (N, heads, h * w, S)
        query, key, value = (
            part.flatten(2).unflatten(1, (self.num_heads, -1)).transpose(2, 3)
            for part in (query, self.key(sampled), self.value(sampled))
        )
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)  # (N, heads, h * w, D)
        return self.projection(attended.transpose(2, 3).reshape(batch, channels, height, width))

    def positions(self, query: Tensor) -> Tensor:
        """Where keys and values are taken, ``(N * G, h', w', 2)`` as (y, x), from queries ``(N, C, h, w)``."""
        offsets = self.offsets(query.unflatten(1, (self.num_groups, -1)).flatten(0, 1))
        size = (offsets.shape[2], offsets.shape[3])
        offsets = offsets.permute(0, 2, 3, 1)
        if self.bounded_offsets:
            reach = offsets.new_tensor([2.0 / side for side in size])
            return offsets.tanh() * reach + _grid(size, offsets, shift=0.5, margin=0)
        return (offsets + _grid(size, offsets, shift=0.5, margin=1)).clamp(-1.0, 1.0)

    def _position_bias(self, size: tuple[int, int], positions: Tensor) -> Tensor:
        """The table at half the way from each position to each query, ``(N, heads, h * w, S)``."""
        grid = _grid(size, positions, *((0.5, 0) if self.bounded_offsets else (0.0, 1)))
        way = (grid.reshape(1, -1, 1, 2) - positions.flatten(1, 2)[:, None]) * 0.5  # (N * G, h * w, S, 2)
        table = self.position_bias_table.unflatten(0, (self.num_groups, -1))
        batch = len(positions) // self.num_groups
        table = table.to(way.dtype).repeat(batch, 1, 1, 1)
        bias = F.grid_sample(table, way.flip(-1), align_corners=True)  # (N * G, heads / G, h * w, S)
        return bias.unflatten(0, (batch, -1)).flatten(1, 2)


def _grid(size: tuple[int, int], like: Tensor, shift: float, margin: int) -> Tensor:
    """Points ``(h, w, 2)`` as (y, x): index plus shift over the side less a margin, in [-1, 1]; 0 on a side of one."""
    axes = []
    for side in size:
        index = torch.arange(side, device=like.device, dtype=like.dtype) + shift
        axes.append(index / (side - margin) * 2 - 1 if side > margin else torch.zeros_like(index))
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)


class NeighbourhoodAttention(nn.Module):
    """Each position attends to the window of positions around it, shifted inwards at borders (arXiv:2204.07143).

    The map is cut into tiles of queries; the keys that a tile needs are one rectangle, so that torch's fused attention
    kernel computes all tiles at once, with a bias that is minus infinity outside of a query's own window.

    Args:
        channels: C.
        num_heads: Attention heads.
        kernel_size: Positions along each side of the window.
    """

    def __init__(self, channels: int, num_heads: int, kernel_size: int = 7) -> None:
        super().__init__()
        if channels % num_heads:
            raise ValueError(f"channels must be a multiple of num_heads, got {channels} and {num_heads}.")
        self.num_heads = num_heads
        self.kernel_size = kernel_size
        self.input_projection = nn.Linear(channels, 3 * channels)
        self.output_projection = nn.Linear(channels, channels)
        side = 2 * kernel_size - 1
        self.neighbour_bias_table = nn.Parameter(torch.zeros(num_heads, side, side))
        nn.init.trunc_normal_(self.neighbour_bias_table, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, C, h, w)`` to the same shape."""
        height, width = x.shape[2:]
        # Maps smaller than a window are padded, and what is padded takes part, as in the published kernels.
        x = F.pad(x, (0, max(self.kernel_size - width, 0), 0, max(self.kernel_size - height, 0)))
        attended = self._attend(self.input_projection(x.permute(0, 2, 3, 1)))
        return self.output_projection(attended[:, :height, :width]).permute(0, 3, 1, 2)

    def _attend(self, qkv: Tensor) -> Tensor:
        """From ``(N, h, w, 3 C)`` to ``(N, h, w, C)``."""
        height, width = qkv.shape[1:3]
        rows, row_offsets = _neighbours(height, self.kernel_size, qkv.device)
        columns, column_offsets = _neighbours(width, self.kernel_size, qkv.device)
        query, memory = qkv.split([qkv.shape[3] // 3, 2 * qkv.shape[3] // 3], dim=3)
        query = F.pad(query, (0, 0, 0, -width % _TILE, 0, -height % _TILE))
        memory = memory[:, rows.flatten()][:, :, columns.flatten()]
        num_tiles = (rows.shape[0], columns.shape[0])
        [query] = self._tiles(query, num_tiles, 1)
        key, value = self._tiles(memory, num_tiles, 2)
        bias = self._bias(row_offsets, column_offsets).to(query.dtype)
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=bias[None])
        tiles = attended.unflatten(2, (_TILE, _TILE)).unflatten(1, (*num_tiles, self.num_heads))
        joined = tiles.permute(0, 1, 4, 2, 5, 3, 6).flatten(5).flatten(3, 4).flatten(1, 2)
        return joined[:, :height, :width]

    def _tiles(self, x: Tensor, num_tiles: tuple[int, int], num_parts: int) -> Tensor:
        """Cut ``(N, rows, columns, parts * C)`` into ``(parts, N, tiles * heads, positions, D)``."""
        x = x.unflatten(3, (num_parts, self.num_heads, -1))
        x = x.unflatten(2, (num_tiles[1], -1)).unflatten(1, (num_tiles[0], -1))
        # (N, tile rows, rows, tile columns, columns, parts, heads, D)
        return x.permute(5, 0, 1, 3, 6, 2, 4, 7).flatten(5, 6).flatten(2, 4)

    def _bias(self, row_offsets: Tensor, column_offsets: Tensor) -> Tensor:
        """Bias of each query and key of each tile, ``(tiles * heads, positions of queries, positions of keys)``."""
        rows, columns = row_offsets[:, None, :, None, :, None], column_offsets[None, :, None, :, None, :]
        index = rows.clamp(min=0) * (2 * self.kernel_size - 1) + columns.clamp(min=0)
        bias = self.neighbour_bias_table.flatten(1)[:, index]  # (heads, tile rows, tile columns, ...)
        bias = bias.masked_fill((rows < 0) | (columns < 0), -torch.inf)
        return bias.flatten(5).flatten(3, 4).permute(1, 2, 0, 3, 4).flatten(0, 2)


def _neighbours(side: int, kernel_size: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """One axis of neighbourhood attention in tiles.

    Returns:
        The positions that the keys of each tile are at, ``(tiles, keys)``, and from each of its queries to each of
        them the index into the axis of position biases, -1 outside of the query's window, ``(tiles, _TILE, keys)``.
    """
    first = torch.arange(0, side, _TILE, device=device)
    num_keys = min(side, _TILE + kernel_size - 1)
    keys = (first - kernel_size // 2).clamp(0, side - num_keys)[:, None] + torch.arange(num_keys, device=device)
    queries = (first[:, None] + torch.arange(_TILE, device=device)).clamp(max=side - 1)
    window_start = (queries - kernel_size // 2).clamp(0, side - kernel_size)[:, :, None]
    is_inside = (keys[:, None] >= window_start) & (keys[:, None] < window_start + kernel_size)
    offsets = keys[:, None] - queries[:, :, None] + kernel_size - 1
    return keys, torch.where(is_inside, offsets, -1)
