"""Plain vision transformers: DINOv2 with registers and DINOv3, both with patches of 16 pixels.

DINOv2, arXiv:2304.07193, registers, arXiv:2309.16588: learned positions, resampled to the frame at hand. DINOv3,
arXiv:2508.10104: rotary positions. Both give one feature map at stride 16; mask transformers on ViT take the tokens
instead, so that they can put their queries among them.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from video_mask2former.models.backbones.base import Backbone, FeatureInfo
from video_mask2former.models.layers import run_layer
from video_mask2former.models.vit_layers import RotaryTable, ViTBlock, rotary_table
from video_mask2former.ops.vit_resampling import resample_positions
from video_mask2former.option_values import PositiveInt

PATCH_SIZE = 16
NUM_REGISTERS = 4


class VisionTransformer(Backbone):
    """What both have in common: patches, a class token and registers before them, blocks, a last LayerNorm.

    Tokens are ordered ``[class, registers, patches row by row]``.

    Args:
        embed_dim: C.
        depth: Number of blocks.
        num_heads: Attention heads.
        mlp_dim: Hidden features of the feed-forward networks, None for four times ``embed_dim``.
        norm_eps: Added to the variance in LayerNorm.
        has_key_bias: Whether keys have a bias.
        has_gate: Whether the feed-forward networks are gated.

    Attributes:
        num_prefix_tokens: The class token and the registers.
    """

    num_prefix_tokens = 1 + NUM_REGISTERS

    def __init__(
        self,
        embed_dim: int,
        depth: int,
        num_heads: int,
        mlp_dim: int | None,
        *,
        norm_eps: float,
        has_key_bias: bool,
        has_gate: bool = False,
    ) -> None:
        super().__init__()
        self.embed_dim = embed_dim
        self.num_heads = num_heads
        self.feature_info = {"res4": FeatureInfo(embed_dim, PATCH_SIZE)}
        self.patch_embed = nn.Conv2d(3, embed_dim, PATCH_SIZE, stride=PATCH_SIZE)
        self.cls_token = nn.Parameter(0.02 * torch.randn(1, 1, embed_dim))
        self.register_tokens = nn.Parameter(0.02 * torch.randn(1, NUM_REGISTERS, embed_dim))
        self.blocks = nn.ModuleList(
            ViTBlock(
                embed_dim,
                num_heads,
                mlp_dim or 4 * embed_dim,
                norm_eps=norm_eps,
                has_key_bias=has_key_bias,
                has_gate=has_gate,
            )
            for _ in range(depth)
        )
        self.norm = nn.LayerNorm(embed_dim, eps=norm_eps)

    def forward(self, frames: Tensor) -> dict[str, Tensor]:
        """Map normalised frames ``(N, 3, H, W)``, sides multiples of 16, to ``{"res4": (N, C, h, w)}``."""
        grid = grid_of(frames.shape[-2:])
        tokens = self.run_blocks(self.embed(frames), 0, len(self.blocks), self.rotary(grid, self.draw_scale()))
        patches = self.norm(tokens)[:, self.num_prefix_tokens :]
        return {"res4": patches.transpose(1, 2).unflatten(2, grid)}

    def embed(self, frames: Tensor) -> Tensor:
        """Tokens that enter the first block, ``(N, 1 + 4 + h * w, C)``, for frames as in :meth:`forward`."""
        patches = self.place(self.patch_embed(frames).flatten(2).transpose(1, 2), grid_of(frames.shape[-2:]))
        prefix = torch.cat([self.cls_token, self.register_tokens], dim=1)
        return torch.cat([prefix.expand(patches.shape[0], -1, -1), patches], dim=1)

    def run_blocks(self, tokens: Tensor, start: int, stop: int, rotary: RotaryTable | None) -> Tensor:
        """The blocks ``start:stop``, on whatever tokens end in the patches."""
        for block in self.blocks[start:stop]:
            tokens = run_layer(block, tokens, rotary, recompute=self.recompute)
        return tokens

    def place(self, patches: Tensor, grid: tuple[int, int]) -> Tensor:
        """Give patch embeddings ``(N, h * w, C)`` their positions; nothing where positions are rotary."""
        return patches

    def rotary(self, grid: tuple[int, int], coordinate_scale: Tensor | float = 1.0) -> RotaryTable | None:
        """Rotations of a grid of patches; None where positions are added instead."""
        return None

    def draw_scale(self) -> Tensor | float:
        """The factor on the coordinates of rotary positions for one step of training; 1 outside of training."""
        return 1.0


class Dinov2(VisionTransformer):
    """DINOv2 with registers; the defaults are ViT-S.

    Published weights have patches of 14 pixels and positions on a grid of 37 x 37: both are resampled when they are
    loaded, and positions again where frames have another grid than ``image_size``.

    Args:
        embed_dim: Channels of a token.
        depth: Number of blocks.
        num_heads: Attention heads of each block.
        image_size: Side, or height and width, of the frames whose positions are stored; frames may have any size.
        has_gate: Gated feed-forward networks (SwiGLU), as in the giant model.
    """

    def __init__(
        self,
        embed_dim: PositiveInt = 384,
        depth: PositiveInt = 12,
        num_heads: PositiveInt = 6,
        image_size: PositiveInt | tuple[PositiveInt, PositiveInt] = 640,
        has_gate: bool = False,
    ) -> None:
        mlp_dim = _gated_dim(embed_dim) if has_gate else None
        super().__init__(embed_dim, depth, num_heads, mlp_dim, norm_eps=1e-6, has_key_bias=True, has_gate=has_gate)
        size = (image_size, image_size) if isinstance(image_size, int) else image_size
        self.position_grid = grid_of(size)
        self.pos_embed = nn.Parameter(0.02 * torch.randn(1, math.prod(self.position_grid), embed_dim))

    def place(self, patches: Tensor, grid: tuple[int, int]) -> Tensor:
        """Add the positions, resampled to ``grid``."""
        return patches + resample_positions(self.pos_embed, self.position_grid, grid)


class Dinov3(VisionTransformer):
    """DINOv3; the defaults are ViT-S.

    Args:
        embed_dim: Channels of a token.
        depth: Number of blocks.
        num_heads: Attention heads of each block.
        position_jitter: In training, all coordinates of a step are multiplied by one factor, drawn between the inverse
            of this and this; 1 is none.
    """

    def __init__(
        self,
        embed_dim: PositiveInt = 384,
        depth: PositiveInt = 12,
        num_heads: PositiveInt = 6,
        position_jitter: float = 2.0,
    ) -> None:
        super().__init__(embed_dim, depth, num_heads, None, norm_eps=1e-5, has_key_bias=False)
        if position_jitter < 1:
            raise ValueError(f"position_jitter must be at least 1, got {position_jitter}.")
        self.position_jitter = position_jitter

    def rotary(self, grid: tuple[int, int], coordinate_scale: Tensor | float = 1.0) -> RotaryTable:
        """Rotations of a grid of patches."""
        head_dim = self.embed_dim // self.num_heads
        return rotary_table(grid, head_dim, coordinate_scale=coordinate_scale, device=self.cls_token.device)

    def draw_scale(self) -> Tensor | float:
        """Uniform on a logarithmic scale, from torch's generator."""
        if not self.training or self.position_jitter == 1:
            return 1.0
        limit = math.log(self.position_jitter)
        return torch.empty((), device=self.cls_token.device).uniform_(-limit, limit).exp()


def grid_of(size: tuple[int, int] | torch.Size) -> tuple[int, int]:
    """Height and width in patches.

    Raises:
        ValueError: If a side is not a multiple of the patch size.
    """
    height, width = size
    if height % PATCH_SIZE or width % PATCH_SIZE:
        raise ValueError(f"frames must be a multiple of {PATCH_SIZE} pixels high and wide, got {height} x {width}.")
    return height // PATCH_SIZE, width // PATCH_SIZE


def _gated_dim(embed_dim: int) -> int:
    """Hidden features of the gated network that has as many parameters as the plain one, in eights."""
    return (int(4 * embed_dim * 2 / 3) + 7) // 8 * 8
