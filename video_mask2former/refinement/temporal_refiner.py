"""The temporal refiner of DVIS (arXiv:2306.03413) and DVIS++ (arXiv:2312.13305): every track over the whole video."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from video_mask2former.models.attention_layers import CrossAttentionLayer, FeedForwardLayer, SelfAttentionLayer
from video_mask2former.models.layers import MLP
from video_mask2former.option_values import PositiveInt
from video_mask2former.refinement.base import QueryHistory, Refinement, Refiner

# Queries that go through a layer at once where no gradient is wanted
TOKENS_PER_CHUNK = 8192


class RefinerLayer(nn.Module):
    """Attention of a track over time, convolutions over time, attention between the tracks of a frame, attention to
    the segmenter's queries of that frame, feed-forward network; post-norm.

    Args:
        hidden_dim: C.
        num_heads: Attention heads.
        feedforward_dim: Hidden features of the feed-forward network.
    """

    def __init__(self, hidden_dim: int, num_heads: int, feedforward_dim: int) -> None:
        super().__init__()
        self.time_attention = SelfAttentionLayer(hidden_dim, num_heads)
        self.conv1 = nn.Conv1d(hidden_dim, hidden_dim, 5, padding=2, padding_mode="replicate")
        self.conv2 = nn.Conv1d(hidden_dim, hidden_dim, 3, padding=1, padding_mode="replicate")
        self.conv_norm = nn.LayerNorm(hidden_dim)
        self.object_attention = SelfAttentionLayer(hidden_dim, num_heads)
        self.cross_attention = CrossAttentionLayer(hidden_dim, num_heads)
        self.feed_forward = FeedForwardLayer(hidden_dim, feedforward_dim)

    def forward(self, x: Tensor, memory: Tensor) -> Tensor:
        """Update the tracks.

        Args:
            x: ``(B, T, Q, C)``; changed in place where no gradient is wanted.
            memory: The segmenter's queries of each frame, ``(B, T, Q', C)``.

        Returns:
            ``(B, T, Q, C)``.
        """
        if torch.is_grad_enabled():
            return self._over_queries(self._over_time(x), memory)
        # the same in chunks and in place: of long videos nothing larger than the queries themselves is made
        for part in _chunks(x.shape[2], x.shape[0] * x.shape[1]):
            x[:, :, part] = self._over_time(x[:, :, part])
        for part in _chunks(x.shape[1], x.shape[0] * x.shape[2]):
            x[:, part] = self._over_queries(x[:, part], memory[:, part])
        return x

    def _over_time(self, x: Tensor) -> Tensor:
        """Each track by itself."""
        batch, _, num_queries, _ = x.shape
        tracks = x.transpose(1, 2).flatten(0, 1)  # (B * Q, T, C)
        tracks = self.time_attention(tracks)
        smoothed = self.conv2(F.relu(self.conv1(tracks.transpose(1, 2)))).transpose(1, 2)
        tracks = self.conv_norm(tracks + smoothed)
        return tracks.unflatten(0, (batch, num_queries)).transpose(1, 2)

    def _over_queries(self, x: Tensor, memory: Tensor) -> Tensor:
        """Each frame by itself."""
        batch, num_frames = x.shape[:2]
        frames = self.object_attention(x.flatten(0, 1))  # (B * T, Q, C)
        frames = self.cross_attention(frames, memory.flatten(0, 1))
        return self.feed_forward(frames).unflatten(0, (batch, num_frames))


def _chunks(count: int, tokens_each: int) -> Iterator[slice]:
    """Parts of ``count`` that hold about ``TOKENS_PER_CHUNK`` tokens."""
    step = max(1, TOKENS_PER_CHUNK // tokens_each)
    return (slice(start, start + step) for start in range(0, count, step))


class TemporalRefiner(Refiner):
    """Improves the tracks of a referring tracker once the whole video has been seen.

    A track has one class for the whole video, that of its queries weighted by how much each frame tells, and a mask
    embedding per frame.

    Args:
        num_classes: K, without "no object".
        embedding_dim: C of the tracker's queries.
        mask_dim: Channels of the mask features.
        num_layers: L.
        num_heads: Attention heads.
        feedforward_dim: Hidden features of the feed-forward networks.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        embedding_dim: PositiveInt = 512,
        mask_dim: PositiveInt = 256,
        num_layers: PositiveInt = 6,
        num_heads: PositiveInt = 8,
        feedforward_dim: PositiveInt = 2048,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.layers = nn.ModuleList(RefinerLayer(embedding_dim, num_heads, feedforward_dim) for _ in range(num_layers))
        self.norm = nn.LayerNorm(embedding_dim)
        self.class_embed = nn.Linear(embedding_dim, num_classes + 1)
        self.mask_dim = mask_dim
        self.mask_embed = MLP(embedding_dim, embedding_dim, mask_dim, num_layers=3)
        self.activation = nn.Linear(embedding_dim, 1)

    def refine(self, history: QueryHistory) -> Refinement:
        """Look at whole videos; auxiliary predictions of all layers but the last in training."""
        may_use = torch.is_grad_enabled() or history.is_scratch
        x = history.embeddings if may_use else history.embeddings.clone()
        predictions = []
        for index, layer in enumerate(self.layers, start=1):
            x = layer(x, history.memory)
            if self.training or index == len(self.layers):
                predictions.append(self._predict(x if torch.is_grad_enabled() or not self.training else x.clone()))
        last = predictions[-1]
        return Refinement(last.class_logits, last.mask_embeddings, last.embeddings, tuple(predictions[:-1]))

    def _predict(self, queries: Tensor) -> Refinement:
        if torch.is_grad_enabled():
            normed = self.norm(queries)  # (B, T, Q, C)
            mask_embeddings = self.mask_embed(normed)
        else:
            normed = queries
            mask_embeddings = queries.new_empty(*queries.shape[:3], self.mask_dim)  # joined parts would be there twice
            for part in _chunks(queries.shape[1], queries.shape[0] * queries.shape[2]):
                normed[:, part] = self.norm(queries[:, part])
                mask_embeddings[:, part] = self.mask_embed(normed[:, part])
        weights = self.activation(normed).softmax(dim=1)  # (B, T, Q, 1)
        if torch.is_grad_enabled():
            class_features = (weights * normed).sum(dim=1)
        else:
            class_features = normed.new_zeros(normed.shape[0], *normed.shape[2:])
            for part in _chunks(queries.shape[1], queries.shape[0] * queries.shape[2]):
                class_features += (weights[:, part] * normed[:, part]).sum(dim=1)
        return Refinement(self.class_embed(class_features), mask_embeddings, normed)
