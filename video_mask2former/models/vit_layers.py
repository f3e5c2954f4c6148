"""Blocks of a vision transformer, with what tells DINOv2 from DINOv3 (arXiv:2304.07193, arXiv:2508.10104)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from video_mask2former.models.layers import token_linear

RotaryTable = tuple[Tensor, Tensor]
"""Cosine and sine of the rotation of each patch, ``(h * w, D)`` each."""


class ViTBlock(nn.Module):
    """Self-attention and a feed-forward network, each normalised before and scaled per channel after.

    Args:
        dim: C.
        num_heads: Attention heads.
        mlp_dim: Hidden features of the feed-forward network.
        norm_eps: Added to the variance in LayerNorm.
        has_key_bias: Whether keys have a bias, as in DINOv2; queries and values always have one.
        has_gate: Whether the feed-forward network is a gated one (SwiGLU), as in the giant DINOv2.
        initial_scale: Initial value of the factors on both branches.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        mlp_dim: int,
        *,
        norm_eps: float,
        has_key_bias: bool,
        has_gate: bool = False,
        initial_scale: float = 1e-5,
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=norm_eps)
        self.attention = ViTAttention(dim, num_heads, has_key_bias=has_key_bias)
        self.scale1 = nn.Parameter(torch.full((dim,), initial_scale))
        self.norm2 = nn.LayerNorm(dim, eps=norm_eps)
        self.mlp = ViTMLP(dim, mlp_dim, has_gate=has_gate)
        self.scale2 = nn.Parameter(torch.full((dim,), initial_scale))

    def forward(self, tokens: Tensor, rotary: RotaryTable | None = None, may_attend: Tensor | None = None) -> Tensor:
        """Update the tokens, ``(N, S, C)``.

        Args:
            tokens: Patches come last; whatever stands before them has no place on the frame.
            rotary: Rotation of the patches, None where positions were added to them.
            may_attend: True where attention is allowed, broadcast to ``(N, heads, S, S)``; None is everywhere.
        """
        tokens = torch.addcmul(tokens, self.scale1, self.attention(self.norm1(tokens), rotary, may_attend))
        return torch.addcmul(tokens, self.scale2, self.mlp(self.norm2(tokens)))


class ViTAttention(nn.Module):
    """Multi-head self-attention by torch's fused kernel.

    Args:
        dim: C, a multiple of ``num_heads``.
        num_heads: Attention heads.
        has_key_bias: Whether keys have a bias.
    """

    def __init__(self, dim: int, num_heads: int, *, has_key_bias: bool) -> None:
        super().__init__()
        if dim % num_heads:
            raise ValueError(f"embed_dim must be a multiple of num_heads, got {dim} and {num_heads}.")
        self.num_heads = num_heads
        self.has_key_bias = has_key_bias
        self.qkv_weight = nn.Parameter(torch.empty(3 * dim, dim))
        # Without a key bias: that of queries and values, one after the other.
        self.qkv_bias = nn.Parameter(torch.zeros((3 if has_key_bias else 2) * dim))
        self.projection = nn.Linear(dim, dim)
        for weight in (*self.qkv_weight.chunk(3), self.projection.weight):
            nn.init.trunc_normal_(weight, std=0.02)
        nn.init.zeros_(self.projection.bias)

    def forward(self, tokens: Tensor, rotary: RotaryTable | None, may_attend: Tensor | None) -> Tensor:
        """Arguments as those of a block; ``(N, S, C)`` to ``(N, S, C)``."""
        qkv = token_linear(tokens, self.qkv_weight, self._bias())
        query, key, value = qkv.unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)  # (N, heads, S, D)
        if rotary is not None:
            query, key = rotate_patches(query, rotary), rotate_patches(key, rotary)
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=may_attend)
        return token_linear(attended.transpose(1, 2).flatten(2), self.projection.weight, self.projection.bias)

    def _bias(self) -> Tensor:
        if self.has_key_bias:
            return self.qkv_bias
        query, value = self.qkv_bias.chunk(2)
        return torch.cat([query, torch.zeros_like(query), value])


class ViTMLP(nn.Module):
    """Linear, exact GELU, linear; or, gated, ``linear2(silu(a) * b)`` with both halves from ``linear1``.

    Args:
        dim: C.
        hidden_dim: Hidden features.
        has_gate: Whether it is the gated kind.
    """

    def __init__(self, dim: int, hidden_dim: int, *, has_gate: bool = False) -> None:
        super().__init__()
        self.has_gate = has_gate
        self.linear1 = nn.Linear(dim, (2 if has_gate else 1) * hidden_dim)
        self.linear2 = nn.Linear(hidden_dim, dim)
        for linear in (self.linear1, self.linear2):
            nn.init.trunc_normal_(linear.weight, std=0.02)
            nn.init.zeros_(linear.bias)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map ``(N, S, C)`` to the same shape."""
        hidden = token_linear(tokens, self.linear1.weight, self.linear1.bias)
        if self.has_gate:
            gate, hidden = hidden.chunk(2, dim=-1)
            hidden = F.silu(gate) * hidden
        else:
            hidden = F.gelu(hidden)
        return token_linear(hidden, self.linear2.weight, self.linear2.bias)


def rotary_table(
    grid: tuple[int, int],
    head_dim: int,
    *,
    coordinate_scale: Tensor | float = 1.0,
    device: torch.device | str | None = None,
) -> RotaryTable:
    """The rotations of DINOv3: an angle for each frequency of y, then of x, the same for both halves of a head.

    Patch centres run from -1 to 1 along each axis, whatever the aspect ratio.

    Args:
        grid: Height and width in patches.
        head_dim: D, a multiple of 4.
        coordinate_scale: Factor on the coordinates, drawn anew for each step of a training.
        device: Where the table is made.

    Returns:
        float32 tables, as the published model computes them.
    """
    if head_dim % 4:
        raise ValueError(f"rotary positions need head dimensions that are multiples of 4, got {head_dim}.")
    axes = [(torch.arange(side, dtype=torch.float32, device=device) + 0.5) / side * 2 - 1 for side in grid]
    coordinates = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).flatten(0, 1) * coordinate_scale
    exponents = torch.arange(head_dim // 4, dtype=torch.float32, device=device) * (4 / head_dim)
    angles = 2 * torch.pi * coordinates[:, :, None] / 100.0**exponents  # (h * w, 2, D / 4)
    angles = angles.flatten(1).tile(2)
    return angles.cos(), angles.sin()


def rotate_patches(x: Tensor, rotary: RotaryTable) -> Tensor:
    """Rotate the last tokens of ``(N, heads, S, D)``, as many as there are patches; those before them stay."""
    cosine, sine = (table.to(x.dtype) for table in rotary)
    num_others = x.shape[2] - cosine.shape[0]
    others, patches = x[:, :, :num_others], x[:, :, num_others:]
    first, second = patches.chunk(2, dim=-1)
    rotated = patches * cosine + torch.cat([-second, first], dim=-1) * sine
    return torch.cat([others, rotated], dim=2)
