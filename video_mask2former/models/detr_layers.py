"""Transformer layers of DETR (arXiv:2005.12872): post-norm, positions added to queries and keys, dropout."""

from __future__ import annotations

from torch import Tensor, nn

from video_mask2former.models.attention_layers import CrossAttentionLayer, FeedForwardLayer, SelfAttentionLayer


class DetrEncoderLayer(nn.Module):
    """Self-attention over tokens, then a feed-forward network.

    Args:
        hidden_dim: C, a multiple of ``num_heads``.
        num_heads: Attention heads.
        feedforward_dim: Hidden features of the feed-forward network.
        dropout: Chance to drop an attention weight, a hidden feature, or a value of a branch, in training.
    """

    def __init__(self, hidden_dim: int, num_heads: int, feedforward_dim: int, dropout: float) -> None:
        super().__init__()
        self.self_attention = SelfAttentionLayer(hidden_dim, num_heads, dropout)
        self.feed_forward = FeedForwardLayer(hidden_dim, feedforward_dim, dropout)

    def forward(self, tokens: Tensor, positions: Tensor) -> Tensor:
        """Map tokens ``(N, S, C)`` to the same shape; ``positions`` are added to queries and keys, ``(1, S, C)``."""
        return self.feed_forward(self.self_attention(tokens, positions=positions))


class DetrDecoderLayer(nn.Module):
    """Self-attention among the queries, attention to the memory, feed-forward network, in this order.

    Arguments are those of :class:`DetrEncoderLayer`.
    """

    def __init__(self, hidden_dim: int, num_heads: int, feedforward_dim: int, dropout: float) -> None:
        super().__init__()
        self.self_attention = SelfAttentionLayer(hidden_dim, num_heads, dropout)
        self.cross_attention = CrossAttentionLayer(hidden_dim, num_heads, dropout)
        self.feed_forward = FeedForwardLayer(hidden_dim, feedforward_dim, dropout)

    def forward(self, queries: Tensor, query_embed: Tensor, memory: Tensor, positions: Tensor) -> Tensor:
        """Update the queries.

        Args:
            queries: ``(B, Q, C)``.
            query_embed: Learned position of each query, ``(Q, C)``.
            memory: What they attend to, ``(B, S, C)``.
            positions: Of the memory, added to its keys, ``(1, S, C)``.

        Returns:
            ``(B, Q, C)``.
        """
        queries = self.self_attention(queries, positions=query_embed)
        queries = self.cross_attention(queries, memory, query_positions=query_embed, memory_positions=positions)
        return self.feed_forward(queries)
