"""Multi-scale deformable attention pixel decoder (Deformable DETR, arXiv:2010.04159; Mask2Former, arXiv:2112.01527).

It works frame by frame: frames are folded into the batch, and nothing here knows of time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from video_mask2former.models.backbones.base import FeatureInfo
from video_mask2former.models.layers import ConvNorm, check_heads, run_layer, token_linear
from video_mask2former.models.pixel_decoders.base import PixelDecoder
from video_mask2former.models.position_encoding import sine_position_encoding
from video_mask2former.ops import ms_deform_attn
from video_mask2former.option_values import Count, PositiveInt

# Levels that the deformable encoder mixes, coarsest first; mask features are made at the finest level, res2.
ENCODER_LEVELS = ("res5", "res4", "res3")
MASK_LEVEL = "res2"


class MSDeformAttnPixelDecoder(PixelDecoder):
    """Backbone features to mask features at stride 4 and three levels for the transformer decoder.

    Args:
        feature_info: Channels and stride of each backbone level.
        hidden_dim: Channels of the encoder and of the levels it returns.
        mask_dim: Channels of the mask features.
        num_layers: Deformable encoder layers.
        num_heads: Attention heads.
        num_points: Sampling points per head and level.
        feedforward_dim: Hidden features of the feed-forward networks.
        position_octaves: Octaves of sines of the place in the frame, a learned projection of which is added to mask
            features and levels; 0, as published, adds nothing. A query can then say where its object is, which is how
            few steps of training tell neighbours of one class apart (CoordConv, arXiv:1807.03247; SOLO, CondInst).
            For models that see single frames: over a clip, an object is at one place at a time.
    """

    def __init__(
        self,
        feature_info: Mapping[str, FeatureInfo],
        *,
        hidden_dim: PositiveInt = 256,
        mask_dim: PositiveInt = 256,
        num_layers: Count = 6,
        num_heads: PositiveInt = 8,
        num_points: PositiveInt = 4,
        feedforward_dim: PositiveInt = 1024,
        position_octaves: Count = 0,
    ) -> None:
        super().__init__()
        check_heads(hidden_dim, num_heads)
        if hidden_dim % 32:
            raise ValueError(f"hidden_dim must be a multiple of 32, for group norm, got {hidden_dim}.")
        self.hidden_dim, self.mask_dim = hidden_dim, mask_dim
        self.input_projections = nn.ModuleList(
            ConvNorm(feature_info[name].channels, hidden_dim, has_bias=True) for name in ENCODER_LEVELS
        )
        self.level_embed = nn.Parameter(torch.empty(len(ENCODER_LEVELS), hidden_dim))
        self.layers = nn.ModuleList(
            DeformableEncoderLayer(hidden_dim, feedforward_dim, len(ENCODER_LEVELS), num_heads, num_points)
            for _ in range(num_layers)
        )
        self.lateral = ConvNorm(feature_info[MASK_LEVEL].channels, hidden_dim)
        self.output = ConvNorm(hidden_dim, hidden_dim, kernel_size=3, has_relu=True)
        self.mask_projection = nn.Conv2d(hidden_dim, mask_dim, kernel_size=1)
        if position_octaves:
            self.mask_positions = PositionProjection(position_octaves, mask_dim)
            self.level_positions = nn.ModuleList(
                PositionProjection(position_octaves, hidden_dim) for _ in ENCODER_LEVELS
            )
        self.has_positions = position_octaves > 0
        self._reset_parameters()

    def _reset_parameters(self) -> None:
        nn.init.normal_(self.level_embed)
        for name, weight in self.named_parameters():
            if name.startswith("input_projections") and name.endswith("conv.weight"):
                nn.init.xavier_uniform_(weight)
            elif name in ("lateral.conv.weight", "output.conv.weight", "mask_projection.weight"):
                nn.init.kaiming_uniform_(weight, a=1)
            elif name.endswith("conv.bias") or name == "mask_projection.bias":
                nn.init.zeros_(weight)

    def forward(self, features: Mapping[str, Tensor]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Decode the features of ``N`` frames.

        Args:
            features: Backbone level to ``(N, C_level, h, w)``.

        Returns:
            Mask features ``(N, mask_dim, h, w)`` at stride 4, and the levels at strides 32, 16 and 8, each
            ``(N, hidden_dim, h, w)``.
        """
        mask_features, levels, _ = self.with_pixel_features(features)
        return mask_features, levels

    @property
    def pixel_dim(self) -> int:
        """As the levels have."""
        return self.hidden_dim

    def with_pixel_features(self, features: Mapping[str, Tensor]) -> tuple[Tensor, tuple[Tensor, ...], Tensor | None]:
        """See :meth:`PixelDecoder.with_pixel_features`."""
        levels = self._encode([features[name] for name in ENCODER_LEVELS])
        finest = self.lateral(features[MASK_LEVEL])
        coarser = F.interpolate(levels[-1], size=finest.shape[-2:], mode="bilinear", align_corners=False)
        pixel_features = self.output(finest + coarser)
        mask_features = self.mask_projection(pixel_features)
        if self.has_positions:
            mask_features = self.mask_positions(mask_features)
            levels = tuple(layer(level) for layer, level in zip(self.level_positions, levels, strict=True))
        return mask_features, levels, pixel_features

    def _encode(self, maps: list[Tensor]) -> tuple[Tensor, ...]:
        """Mix the levels, coarsest first, by deformable attention."""
        projected = [projection(level) for projection, level in zip(self.input_projections, maps, strict=True)]
        spatial_shapes = [(level.shape[2], level.shape[3]) for level in projected]
        tokens = torch.cat([level.flatten(2).transpose(1, 2) for level in projected], dim=1)  # (N, S, C)
        positions = torch.cat(
            [
                sine_position_encoding(size, self.hidden_dim, device=tokens.device).flatten(2).transpose(1, 2).to(embed)
                + embed
                for size, embed in zip(spatial_shapes, self.level_embed, strict=True)
            ],
            dim=1,
        ).to(tokens.dtype)  # (1, S, C)
        # Half precision is too coarse for a position, also in a model whose parameters are half precision.
        precise = torch.promote_types(self.level_embed.dtype, torch.float32)
        centres = level_centres(spatial_shapes, tokens.device, precise)
        steps = level_steps(spatial_shapes, tokens.device, precise)
        for layer in self.layers:
            tokens = run_layer(layer, tokens, positions, centres, steps, spatial_shapes, recompute=self.recompute)
        parts = tokens.split([height * width for height, width in spatial_shapes], dim=1)
        return tuple(part.transpose(1, 2).unflatten(2, size) for part, size in zip(parts, spatial_shapes, strict=True))


class PositionProjection(nn.Module):
    """Adds a learned projection of sines and cosines of the place in the frame to maps; zero at first.

    Args:
        num_octaves: The slowest wave takes two frames, the next one frame, and so on.
        dim: Channels of the maps.
    """

    def __init__(self, num_octaves: int, dim: int) -> None:
        super().__init__()
        self.num_octaves = num_octaves
        self.weight = nn.Parameter(torch.zeros(dim, 4 * num_octaves))  # rows of the frame first, then columns

    def forward(self, maps: Tensor) -> Tensor:
        """Map ``(N, dim, h, w)`` to the same shape."""
        # Half precision is too coarse for a position, also in a model whose parameters are half precision.
        weight = self.weight.to(torch.promote_types(self.weight.dtype, torch.float32))
        of_rows, of_columns = weight.split(2 * self.num_octaves, dim=1)
        rows = self._waves(maps.shape[2], weight) @ of_rows.T  # (h, dim)
        columns = self._waves(maps.shape[3], weight) @ of_columns.T
        return maps + (rows[:, None] + columns).permute(2, 0, 1).to(maps.dtype)

    def _waves(self, length: int, like: Tensor) -> Tensor:
        """``(length, 2 * num_octaves)``."""
        places = (torch.arange(length, device=like.device, dtype=like.dtype) + 0.5) / length
        angles = places[:, None] * math.pi * 2.0 ** torch.arange(self.num_octaves, device=like.device)
        return torch.cat((angles.sin(), angles.cos()), dim=1)


class DeformableEncoderLayer(nn.Module):
    """Deformable self-attention over all levels, then a feed-forward network; post-norm.

    Args:
        hidden_dim: C.
        feedforward_dim: Hidden features of the feed-forward network.
        num_levels: L.
        num_heads: M.
        num_points: P.
    """

    def __init__(self, hidden_dim: int, feedforward_dim: int, num_levels: int, num_heads: int, num_points: int) -> None:
        super().__init__()
        self.attention = MSDeformAttn(hidden_dim, num_levels, num_heads, num_points)
        self.norm1 = nn.LayerNorm(hidden_dim)
        self.linear1 = nn.Linear(hidden_dim, feedforward_dim)
        self.linear2 = nn.Linear(feedforward_dim, hidden_dim)
        self.norm2 = nn.LayerNorm(hidden_dim)
        for linear in (self.linear1, self.linear2):
            nn.init.xavier_uniform_(linear.weight)

    def forward(
        self,
        tokens: Tensor,
        positions: Tensor,
        reference_points: Tensor,
        level_steps: Tensor,
        spatial_shapes: list[tuple[int, int]],
    ) -> Tensor:
        """Map tokens ``(N, S, C)`` to the same shape; ``positions (1, S, C)``, the rest as in :class:`MSDeformAttn`."""
        # What happens inside of either part makes up half of the activations of a training step, and is made again in
        # the backward pass but for its last linear layer: 7 % of the step.
        geometry = (reference_points, level_steps, spatial_shapes)
        attended = run_layer(self._attend, tokens, positions, *geometry, recompute=True)
        tokens = self.norm1(tokens + attended)
        return self.norm2(tokens + run_layer(self._feed_forward, tokens, recompute=True))

    def _attend(
        self,
        tokens: Tensor,
        positions: Tensor,
        reference_points: Tensor,
        level_steps: Tensor,
        spatial_shapes: list[tuple[int, int]],
    ) -> Tensor:
        return self.attention(tokens + positions, tokens, reference_points, level_steps, spatial_shapes)

    def _feed_forward(self, tokens: Tensor) -> Tensor:
        hidden = F.relu(token_linear(tokens, self.linear1.weight, self.linear1.bias))
        return token_linear(hidden, self.linear2.weight, self.linear2.bias)


class MSDeformAttn(nn.Module):
    """Multi-scale deformable attention: each query samples a few points of each level (arXiv:2010.04159, eq. 3).

    Args:
        hidden_dim: C, a multiple of ``num_heads``.
        num_levels: L.
        num_heads: M.
        num_points: P, per head and level.
    """

    def __init__(self, hidden_dim: int, num_levels: int, num_heads: int, num_points: int) -> None:
        super().__init__()
        if hidden_dim % num_heads:
            raise ValueError(f"hidden_dim must be a multiple of num_heads, got {hidden_dim} and {num_heads}.")
        self.num_levels, self.num_heads, self.num_points = num_levels, num_heads, num_points
        self.sampling_offsets = nn.Linear(hidden_dim, num_heads * num_levels * num_points * 2)
        self.attention_weights = nn.Linear(hidden_dim, num_heads * num_levels * num_points)
        self.value_proj = nn.Linear(hidden_dim, hidden_dim)
        self.output_proj = nn.Linear(hidden_dim, hidden_dim)
        self._reset_parameters()

    def _reset_parameters(self) -> None:
        """Start with each head looking in a direction of its own, its points 1, 2, ... steps away."""
        nn.init.zeros_(self.sampling_offsets.weight)
        angle = torch.arange(self.num_heads, dtype=torch.float32) * (2 * math.pi / self.num_heads)
        direction = torch.stack((angle.cos(), angle.sin()), dim=1)
        direction = direction / direction.abs().amax(dim=1, keepdim=True)
        steps = torch.arange(1, self.num_points + 1, dtype=torch.float32)
        offsets = direction[:, None, None] * steps[None, None, :, None]  # (M, 1, P, 2)
        with torch.no_grad():
            self.sampling_offsets.bias.copy_(offsets.expand(-1, self.num_levels, -1, -1).flatten())
        nn.init.zeros_(self.attention_weights.weight)
        nn.init.zeros_(self.attention_weights.bias)
        for linear in (self.value_proj, self.output_proj):
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)

    def forward(
        self,
        query: Tensor,
        tokens: Tensor,
        reference_points: Tensor,
        level_steps: Tensor,
        spatial_shapes: list[tuple[int, int]],
    ) -> Tensor:
        """Attend from each query to the tokens of all levels.

        Args:
            query: ``(N, S, C)``.
            tokens: ``(N, S, C)``, the levels one after the other.
            reference_points: Where each query stands, (x, y) in [0, 1], ``(S, 2)``. Locations and attention weights
                are computed in their type.
            level_steps: From one position of each level to the next, (x, y), ``(L, 2)``.
            spatial_shapes: (h, w) of each level.

        Returns:
            ``(N, S, C)``.
        """
        value = token_linear(tokens, self.value_proj.weight, self.value_proj.bias)
        value = value.unflatten(-1, (self.num_heads, -1))
        precise = reference_points.dtype
        layer = self.sampling_offsets
        # Offsets are learned in positions of their level; scaling the layer by the step of the level scales them all.
        scale = level_steps[:, None].expand(self.num_heads, -1, self.num_points, -1).flatten().to(layer.weight.dtype)
        offsets = token_linear(query, layer.weight * scale[:, None], layer.bias * scale).to(precise)
        offsets = offsets.unflatten(-1, (self.num_heads, self.num_levels, self.num_points, 2))
        locations = reference_points[:, None, None, None] + offsets
        weights = self.attention_weights(query).to(precise).unflatten(-1, (self.num_heads, -1)).softmax(dim=-1)
        weights = weights.unflatten(-1, (self.num_levels, self.num_points))
        attended = ms_deform_attn(value, spatial_shapes, locations, weights)
        return token_linear(attended, self.output_proj.weight, self.output_proj.bias)


def level_centres(spatial_shapes: list[tuple[int, int]], device: torch.device, dtype: torch.dtype) -> Tensor:
    """Centre of each position of each level, (x, y) in [0, 1], ``(S, 2)``."""
    centres = []
    for height, width in spatial_shapes:
        y = (torch.arange(height, device=device, dtype=dtype) + 0.5) / height
        x = (torch.arange(width, device=device, dtype=dtype) + 0.5) / width
        centres.append(torch.stack((x.expand(height, -1), y[:, None].expand(-1, width)), dim=2).flatten(0, 1))
    return torch.cat(centres)


def level_steps(spatial_shapes: list[tuple[int, int]], device: torch.device, dtype: torch.dtype) -> Tensor:
    """From one position of each level to the next, (x, y), ``(L, 2)``."""
    one = torch.ones(1, device=device, dtype=dtype)  # divided on the device: copying numbers there would wait for it
    return torch.cat([one / side for height, width in spatial_shapes for side in (width, height)]).view(-1, 2)
