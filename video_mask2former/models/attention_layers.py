"""Multi-head attention and the post-norm layers of transformers that more than one model is made of.

Decoders, trackers and refiners after DETR (arXiv:2005.12872) are stacks of three layers, each of which adds what it
computes to its input and normalises the sum.
"""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ProjectedMemory(Protocol):
    """Something to attend to that makes its keys and values itself, from the weights of their projections."""

    def keys(self, weight: Tensor, bias: Tensor) -> Tensor:
        """Projected keys, ``(B, T, S, C)``."""
        ...

    def values(self, weight: Tensor, bias: Tensor) -> Tensor:
        """Projected values, ``(B, T, S, C)``."""
        ...


class Attention(nn.Module):
    """Multi-head attention with the parameters of ``nn.MultiheadAttention``, computed by torch's fused kernel.

    Args:
        hidden_dim: C, a multiple of ``num_heads``.
        num_heads: Number of heads.
        dropout: Chance to drop an attention weight in training.
    """

    def __init__(self, hidden_dim: int, num_heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        if hidden_dim % num_heads:
            raise ValueError(f"hidden_dim must be a multiple of num_heads, got {hidden_dim} and {num_heads}.")
        self.num_heads = num_heads
        self.dropout = dropout
        self.in_proj_weight = nn.Parameter(torch.empty(3 * hidden_dim, hidden_dim))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * hidden_dim))
        self.out_proj = nn.Linear(hidden_dim, hidden_dim)
        for weight in (*self.in_proj_weight.chunk(3), self.out_proj.weight):
            nn.init.xavier_uniform_(weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, may_attend: Tensor | None = None) -> Tensor:
        """Attend from ``query (B, Q, C)`` to ``key`` and ``value (B, S, C)``.

        ``may_attend`` is True where attention is allowed, broadcast to ``(B, heads, Q, S)``: the convention of
        ``scaled_dot_product_attention``, the reverse of ``nn.MultiheadAttention``'s. A floating-point mask is added to
        the attention logits.
        """
        weights, biases = self.in_proj_weight.chunk(3), self.in_proj_bias.chunk(3)
        query, key, value = (
            F.linear(x, weight, bias) for x, weight, bias in zip((query, key, value), weights, biases, strict=True)
        )
        return self._attend(query, key, value, may_attend)

    def to_memory(self, query: Tensor, memory: ProjectedMemory, may_attend: Tensor) -> Tensor:
        """Attend from ``query (B, Q, C)`` to the tokens of all frames of a level; ``may_attend`` as in `forward`."""
        weights, biases = self.in_proj_weight.chunk(3), self.in_proj_bias.chunk(3)
        keys = memory.keys(weights[1], biases[1]).flatten(1, 2)
        values = memory.values(weights[2], biases[2]).flatten(1, 2)
        return self._attend(F.linear(query, weights[0], biases[0]), keys, values, may_attend)

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, may_attend: Tensor | None) -> Tensor:
        query, key, value = (x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for x in (query, key, value))
        dropout = self.dropout if self.training else 0.0
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=may_attend, dropout_p=dropout)
        return self.out_proj(attended.transpose(1, 2).flatten(2))


class SelfAttentionLayer(nn.Module):
    """Self-attention among tokens, post-norm.

    Args:
        hidden_dim: C.
        num_heads: Attention heads.
        dropout: Chance to drop an attention weight, or an attended value, in training.
    """

    def __init__(self, hidden_dim: int, num_heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.attention = Attention(hidden_dim, num_heads, dropout)
        self.norm = nn.LayerNorm(hidden_dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, *, positions: Tensor | None = None, may_attend: Tensor | None = None) -> Tensor:
        """Update tokens.

        Args:
            x: ``(B, S, C)``.
            positions: Added to queries and keys, broadcast to ``(B, S, C)``.
            may_attend: As in :meth:`Attention.forward`.

        Returns:
            ``(B, S, C)``.
        """
        placed = x if positions is None else x + positions
        return self.norm(x + self.dropout(self.attention(placed, placed, x, may_attend)))


class CrossAttentionLayer(nn.Module):
    """Attention from queries to a memory, post-norm.

    Args:
        hidden_dim: C.
        num_heads: Attention heads.
        dropout: Chance to drop an attention weight, or an attended value, in training.
    """

    def __init__(self, hidden_dim: int, num_heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.attention = Attention(hidden_dim, num_heads, dropout)
        self.norm = nn.LayerNorm(hidden_dim)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        x: Tensor,
        memory: Tensor,
        *,
        query_positions: Tensor | None = None,
        memory_positions: Tensor | None = None,
        identity: Tensor | None = None,
        may_attend: Tensor | None = None,
    ) -> Tensor:
        """Update queries.

        Args:
            x: ``(B, Q, C)``.
            memory: ``(B, S, C)``.
            query_positions: Added to ``x`` where it asks, broadcast to ``(B, Q, C)``.
            memory_positions: Added to the keys, broadcast to ``(B, S, C)``.
            identity: What the attended values are added to, ``(B, Q, C)``; None is ``x``.
            may_attend: As in :meth:`Attention.forward`.

        Returns:
            ``(B, Q, C)``.
        """
        query = x if query_positions is None else x + query_positions
        key = memory if memory_positions is None else memory + memory_positions
        attended = self.attention(query, key, memory, may_attend)
        return self.norm((x if identity is None else identity) + self.dropout(attended))


class FeedForwardLayer(nn.Module):
    """Two linear layers with ReLU between them, post-norm.

    Args:
        hidden_dim: C.
        feedforward_dim: Features between the two.
        dropout: Chance to drop a feature between the two, or of what comes out, in training.
    """

    def __init__(self, hidden_dim: int, feedforward_dim: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.linear1 = nn.Linear(hidden_dim, feedforward_dim)
        self.linear2 = nn.Linear(feedforward_dim, hidden_dim)
        self.norm = nn.LayerNorm(hidden_dim)
        self.dropout = nn.Dropout(dropout)
        for linear in (self.linear1, self.linear2):
            nn.init.xavier_uniform_(linear.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(..., C)`` to the same shape."""
        return self.norm(x + self.dropout(self.linear2(self.dropout(F.relu(self.linear1(x))))))
