"""The vision transformer of arXiv:2010.11929 with patches of 16 pixels, as semantic segmenters use it."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from video_mask2former.models.backbones.base import Backbone, FeatureInfo
from video_mask2former.models.backbones.vit import PATCH_SIZE, grid_of
from video_mask2former.models.layers import DropPath, run_layer
from video_mask2former.models.vit_layers import ViTAttention, ViTMLP
from video_mask2former.option_values import PositiveInt, Share

_EPS = 1e-6


class PlainViT(Backbone):
    """ViT without registers, layer scale or a last norm; the defaults are ViT-B.

    Args:
        embed_dim: Channels of a token.
        depth: Number of blocks.
        num_heads: Attention heads of each block.
        image_size: Side of the frames whose positions are stored; frames may have any size that 16 divides.
        drop_path_rate: Stochastic depth of the last block; falls linearly to 0 at the first.
    """

    def __init__(
        self,
        embed_dim: PositiveInt = 768,
        depth: PositiveInt = 12,
        num_heads: PositiveInt = 12,
        image_size: PositiveInt = 512,
        drop_path_rate: Share = 0.1,
    ) -> None:
        super().__init__()
        self.feature_info = {"res4": FeatureInfo(embed_dim, PATCH_SIZE)}
        self.position_grid = grid_of((image_size, image_size))
        self.patch_embed = nn.Conv2d(3, embed_dim, PATCH_SIZE, stride=PATCH_SIZE)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, embed_dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + math.prod(self.position_grid), embed_dim))
        nn.init.trunc_normal_(self.cls_token, std=0.02)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        rates = torch.linspace(0, drop_path_rate, depth, device="cpu").tolist()
        self.blocks = nn.ModuleList(_Block(embed_dim, num_heads, rate) for rate in rates)

    def forward(self, frames: Tensor) -> dict[str, Tensor]:
        """Map frames ``(N, 3, H, W)``, sides multiples of 16, to ``{"res4": (N, C, h, w)}``."""
        grid = grid_of(frames.shape[-2:])
        patches = self.patch_embed(frames).flatten(2).transpose(1, 2)
        tokens = torch.cat((self.cls_token.expand(len(patches), -1, -1), patches), dim=1) + self._positions(grid)
        for block in self.blocks:
            tokens = run_layer(block, tokens, recompute=self.recompute)
        return {"res4": tokens[:, 1:].transpose(1, 2).unflatten(2, grid)}

    def _positions(self, grid: tuple[int, int]) -> Tensor:
        """Positions of the class token and of a grid of patches, resampled without antialiasing, as published."""
        if grid == self.position_grid:
            return self.pos_embed
        plane = self.pos_embed[:, 1:].transpose(1, 2).unflatten(2, self.position_grid)
        plane = F.interpolate(plane, size=grid, mode="bicubic", align_corners=False)
        return torch.cat((self.pos_embed[:, :1], plane.flatten(2).transpose(1, 2)), dim=1)


class _Block(nn.Module):
    def __init__(self, dim: int, num_heads: int, drop_path_rate: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=_EPS)
        self.attention = ViTAttention(dim, num_heads, has_key_bias=True)
        self.norm2 = nn.LayerNorm(dim, eps=_EPS)
        self.mlp = ViTMLP(dim, 4 * dim)
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = tokens + self.drop_path(self.attention(self.norm1(tokens), None, None))
        return tokens + self.drop_path(self.mlp(self.norm2(tokens)))
