"""Video queries that gather one object each from the object tokens of all frames (VITA, arXiv:2206.04403)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from video_mask2former.models.attention_layers import (
    Attention,
    CrossAttentionLayer,
    FeedForwardLayer,
    SelfAttentionLayer,
)
from video_mask2former.models.layers import MLP

# Frames whose keys and values are held at once where no gradient is wanted
FRAMES_PER_CHUNK = 32


@dataclass(frozen=True)
class ObjectPrediction:
    """What one decoder layer says of the objects of a video.

    Attributes:
        class_logits: ``(B, Q, K + 1)``, "no object" last.
        mask_embeddings: ``(B, Q, C)``, to be multiplied with mask features of any frame.
        embeddings: The LayerNormed queries that the heads read, ``(B, Q, C)``.
        queries: The same before that LayerNorm.
    """

    class_logits: Tensor
    mask_embeddings: Tensor
    embeddings: Tensor
    queries: Tensor


class ObjectDecoder(nn.Module):
    """Queries to one class and one mask embedding each, from object tokens alone.

    Tokens differ by the frame query they come from, the same on every frame; nothing says which frame they are
    of.

    Args:
        num_classes: K, without "no object".
        hidden_dim: C.
        mask_dim: Channels of the mask features.
        num_queries: Q.
        num_tokens: Tokens of each frame, N.
        num_layers: Decoder layers.
        num_heads: Attention heads.
        feedforward_dim: Hidden features of the feed-forward networks.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        hidden_dim: int = 256,
        mask_dim: int = 256,
        num_queries: int = 100,
        num_tokens: int = 100,
        num_layers: int = 3,
        num_heads: int = 8,
        feedforward_dim: int = 2048,
    ) -> None:
        super().__init__()
        self.query_feat = nn.Embedding(num_queries, hidden_dim)
        self.query_embed = nn.Embedding(num_queries, hidden_dim)
        self.token_embed = nn.Embedding(num_tokens, hidden_dim)
        self.layers = nn.ModuleList(
            ObjectDecoderLayer(hidden_dim, num_heads, feedforward_dim) for _ in range(num_layers)
        )
        self.norm = nn.LayerNorm(hidden_dim)
        self.class_embed = nn.Linear(hidden_dim, num_classes + 1)
        self.mask_embed = MLP(hidden_dim, hidden_dim, mask_dim, num_layers=3)

    def forward(self, tokens: Tensor, queries: Tensor | None = None) -> list[ObjectPrediction]:
        """Gather the objects.

        Args:
            tokens: From the encoder, ``(B, T, N, C)``.
            queries: Start from these, ``(B, Q, C)``; None: the learned ones.

        Returns:
            The prediction of each layer in training; in evaluation that of the last one.
        """
        if tokens.shape[2] != self.token_embed.num_embeddings:
            raise ValueError(
                f"expected {self.token_embed.num_embeddings} tokens on each frame, got {tokens.shape[2]}. "
                "num_tokens must be the number of queries of the segmenter."
            )
        if queries is None:
            queries = self.query_feat.weight.expand(tokens.shape[0], -1, -1)
        predictions = []
        for index, layer in enumerate(self.layers):
            queries = layer(queries, self.query_embed.weight, tokens, self.token_embed.weight)
            if self.training or index + 1 == len(self.layers):
                predictions.append(self._predict(queries))
        return predictions

    def _predict(self, queries: Tensor) -> ObjectPrediction:
        embeddings = self.norm(queries)
        return ObjectPrediction(self.class_embed(embeddings), self.mask_embed(embeddings), embeddings, queries)


class ObjectDecoderLayer(nn.Module):
    """Cross-attention to the tokens of all frames, self-attention, feed-forward network, in this order.

    Args:
        hidden_dim: C.
        num_heads: Attention heads.
        feedforward_dim: Hidden features of the feed-forward network.
    """

    def __init__(self, hidden_dim: int, num_heads: int, feedforward_dim: int) -> None:
        super().__init__()
        self.cross_attention = CrossAttentionLayer(hidden_dim, num_heads)
        self.self_attention = SelfAttentionLayer(hidden_dim, num_heads)
        self.feed_forward = FeedForwardLayer(hidden_dim, feedforward_dim)

    def forward(self, queries: Tensor, query_embed: Tensor, tokens: Tensor, token_embed: Tensor) -> Tensor:
        """Update the queries.

        Args:
            queries: ``(B, Q, C)``.
            query_embed: Learned position of each query, ``(Q, C)``.
            tokens: ``(B, T, N, C)``.
            token_embed: Learned position of each token of a frame, ``(N, C)``.

        Returns:
            ``(B, Q, C)``.
        """
        cross = self.cross_attention
        if torch.is_grad_enabled() or tokens.shape[1] <= FRAMES_PER_CHUNK:
            positions = token_embed.repeat(tokens.shape[1], 1)
            queries = cross(queries, tokens.flatten(1, 2), query_positions=query_embed, memory_positions=positions)
        else:
            placed = queries + query_embed
            queries = cross.norm(queries + _attend_in_chunks(cross.attention, placed, tokens, token_embed))
        return self.feed_forward(self.self_attention(queries, positions=query_embed))


def _attend_in_chunks(attention: Attention, queries: Tensor, tokens: Tensor, token_embed: Tensor) -> Tensor:
    """``attention(queries, tokens + token_embed, tokens)`` over all frames, with keys and values of a few at a time.

    The softmax is taken over all frames: its sums are rescaled wherever a chunk holds a new maximum.
    """
    heads = attention.num_heads
    (query_weight, key_weight, value_weight), biases = (
        attention.in_proj_weight.chunk(3),
        attention.in_proj_bias.chunk(3),
    )

    def split(x: Tensor) -> Tensor:
        return x.unflatten(-1, (heads, -1)).transpose(1, 2)  # (B, heads, S, C / heads)

    query = split(F.linear(queries, query_weight, biases[0]))
    query = query * query.shape[-1] ** -0.5
    precise = torch.promote_types(query.dtype, torch.float32)  # sums over thousands of frames pass half precision
    highest = query.new_full((*query.shape[:3], 1), -torch.inf, dtype=precise)
    total, weighted = torch.zeros_like(highest), torch.zeros_like(query, dtype=precise)
    for part in tokens.split(FRAMES_PER_CHUNK, dim=1):
        key = split(F.linear((part + token_embed).flatten(1, 2), key_weight, biases[1]))
        value = split(F.linear(part.flatten(1, 2), value_weight, biases[2]))
        logits = (query @ key.transpose(2, 3)).to(precise)
        new_highest = torch.maximum(highest, logits.amax(dim=3, keepdim=True))
        rescale, weights = (highest - new_highest).exp(), (logits - new_highest).exp()
        total = total * rescale + weights.sum(dim=3, keepdim=True)
        weighted = weighted * rescale + weights @ value.to(precise)
        highest = new_highest
    return attention.out_proj((weighted / total).to(query.dtype).transpose(1, 2).flatten(2))
