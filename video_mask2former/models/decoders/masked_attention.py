"""Masked-attention transformer decoder over clips (Mask2Former, arXiv:2112.01527; for video, arXiv:2112.10764).

The tokens of one clip are the positions of all its frames together. Each query predicts one object of the clip and
attends only where the mask it predicted one layer earlier is foreground.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from video_mask2former.mask_logits import MaskLogits
from video_mask2former.models.attention_layers import Attention
from video_mask2former.models.decoders.base import Decoder
from video_mask2former.models.layers import MLP, check_heads, run_layer
from video_mask2former.models.position_encoding import sine_position_encoding, sine_time_encoding
from video_mask2former.option_values import PositiveInt
from video_mask2former.structures import ClipFeatures, ClipOutput

NUM_LEVELS = 3


class MaskedAttentionDecoder(Decoder):
    """Queries to one class and one mask embedding each.

    Args:
        num_classes: K, without "no object".
        hidden_dim: C.
        mask_dim: Channels of the mask features.
        num_queries: Q.
        num_layers: Decoder layers; there is one prediction more, that of the learned queries themselves.
        num_heads: Attention heads.
        feedforward_dim: Hidden features of the feed-forward networks.
        temporal_position_encoding: True for video models, (x, y, t); False for image models, (x, y).
    """

    def __init__(
        self,
        num_classes: int,
        *,
        hidden_dim: PositiveInt = 256,
        mask_dim: PositiveInt = 256,
        num_queries: PositiveInt = 100,
        num_layers: PositiveInt = 9,
        num_heads: PositiveInt = 8,
        feedforward_dim: PositiveInt = 2048,
        temporal_position_encoding: bool = True,
    ) -> None:
        super().__init__()
        check_heads(hidden_dim, num_heads)
        self.num_classes, self.num_queries = num_classes, num_queries
        self.hidden_dim = self.embedding_dim = hidden_dim
        self.temporal_position_encoding = temporal_position_encoding
        self.query_feat = nn.Embedding(num_queries, hidden_dim)
        self.query_embed = nn.Embedding(num_queries, hidden_dim)
        self.level_embed = nn.Embedding(NUM_LEVELS, hidden_dim)
        self.layers = nn.ModuleList(DecoderLayer(hidden_dim, num_heads, feedforward_dim) for _ in range(num_layers))
        self.norm = nn.LayerNorm(hidden_dim)
        self.class_embed = nn.Linear(hidden_dim, num_classes + 1)
        self.mask_embed = MLP(hidden_dim, hidden_dim, mask_dim, num_layers=3)

    def forward(self, features: ClipFeatures, initial_queries: Tensor | None = None) -> ClipOutput:
        """Decode a batch of clips.

        Args:
            features: Of ``B`` clips of ``T`` frames.
            initial_queries: Start from these, ``(B, Q, C)``, instead of the learned queries.

        Returns:
            The last layer's prediction, with the earlier ones as ``auxiliary``.

        Raises:
            ValueError: If ``initial_queries`` has another shape.
        """
        queries = self.query_feat.weight.expand(features.pixels.shape[0], -1, -1)
        if initial_queries is not None:
            if initial_queries.shape != queries.shape:
                raise ValueError(
                    f"initial_queries must be (B, Q, C) = {tuple(queries.shape)}, got {tuple(initial_queries.shape)}."
                )
            queries = initial_queries
        return self._decode(features, QueryStart(queries, self.query_embed.weight))

    def _decode(self, features: ClipFeatures, start: QueryStart) -> ClipOutput:
        """All predictions, from what the queries start as."""
        memory = self._memory(features)
        level_masks = _level_mask_features(features)
        queries = start.queries
        outputs = [self._predict(queries, features, start)]
        for index, layer in enumerate(self.layers):
            level = index % NUM_LEVELS
            may_attend = attention_mask(outputs[-1].mask_logits.embeddings, level_masks[level])
            queries = run_layer(layer, queries, start.positions, memory[level], may_attend, recompute=self.recompute)
            outputs.append(self._predict(queries, features, start))
        return self._with_auxiliary(outputs)

    def _memory(self, features: ClipFeatures) -> list[LevelMemory]:
        """What the queries attend to at each level."""
        memory = []
        for level, embed in zip(features.levels, self.level_embed.weight, strict=True):
            size = (level.shape[3], level.shape[4])
            plane = sine_position_encoding(size, self.hidden_dim, device=level.device)
            time = None
            if self.temporal_position_encoding:
                time = sine_time_encoding(features.num_frames, self.hidden_dim, device=level.device)
                time = time[:, None].to(embed.dtype)  # (T, 1, C)
            plane = plane[0].flatten(1).T.to(embed.dtype)  # (h * w, C)
            # In one piece of memory, or every projection of every layer would make and keep a copy of its own.
            tokens = level.flatten(3).transpose(2, 3).contiguous()
            memory.append(LevelMemory(tokens, embed, plane, time))
        return memory

    def _predict(self, queries: Tensor, features: ClipFeatures, start: QueryStart) -> ClipOutput:
        """Class and mask embedding of each query."""
        embeddings = self.norm(queries)
        mask_embeddings = self._mask_embeddings(embeddings, start)
        return ClipOutput(
            class_logits=self.class_embed(embeddings),
            mask_logits=MaskLogits(mask_embeddings.to(features.pixels.dtype), features.pixels),
            query_embeddings=embeddings,
            queries=queries,
            frame_size=features.frame_size,
            padded_size=features.padded_size,
        )

    def _mask_embeddings(self, embeddings: Tensor, start: QueryStart) -> Tensor:
        """Mask embedding of each LayerNormed query, ``(B, Q, mask_dim)``; ``start`` is for decoders built on this."""
        mask_embeddings: Tensor = self.mask_embed(embeddings)
        return mask_embeddings

    @staticmethod
    def _with_auxiliary(outputs: list[ClipOutput]) -> ClipOutput:
        last = outputs[-1]
        return ClipOutput(
            last.class_logits,
            last.mask_logits,
            last.query_embeddings,
            last.queries,
            last.frame_size,
            last.padded_size,
            auxiliary=tuple(outputs[:-1]),
        )


@dataclass(frozen=True)
class QueryStart:
    """What the queries of a batch of clips start as.

    Attributes:
        queries: ``(B, Q, C)``.
        positions: Added to the queries wherever they attend, ``(Q, C)`` or ``(B, Q, C)``.
        centres: Where each query was born, where it was born at a pixel, ``(B, Q, 2)``.
    """

    queries: Tensor
    positions: Tensor
    centres: Tensor | None = None


@dataclass(frozen=True)
class LevelMemory:
    """One level of a batch of clips as the queries attend to it: keys from tokens + embed + positions, values from
    tokens + embed.

    The sums are never made: projections are linear, so embedding and positions are projected by themselves and added
    to the projected tokens. Positions are the same in every clip, and the sum of one part that is the same on every
    frame and one that is the same everywhere on a frame, so that nothing of the size of the tokens is made or kept.

    Attributes:
        tokens: ``(B, T, h * w, C)``.
        embed: Learned embedding of the level, ``(C,)``.
        plane: (x, y) encoding, ``(h * w, C)``.
        time: t encoding, ``(T, 1, C)``, None in image models.
    """

    tokens: Tensor
    embed: Tensor
    plane: Tensor
    time: Tensor | None

    def keys(self, weight: Tensor, bias: Tensor) -> Tensor:
        """Projected keys, ``(B, T, h * w, C)``."""
        keys = _add(F.linear(self.tokens, weight, bias), F.linear(self.plane + self.embed, weight))
        return keys if self.time is None else _add(keys, F.linear(self.time, weight))

    def values(self, weight: Tensor, bias: Tensor) -> Tensor:
        """Projected values, ``(B, T, h * w, C)``."""
        return _add(F.linear(self.tokens, weight, bias), F.linear(self.embed, weight))


class DecoderLayer(nn.Module):
    """Masked cross-attention, self-attention, feed-forward network, in this order; post-norm, no dropout.

    Args:
        hidden_dim: C.
        num_heads: Attention heads.
        feedforward_dim: Hidden features of the feed-forward network.
    """

    def __init__(self, hidden_dim: int, num_heads: int, feedforward_dim: int) -> None:
        super().__init__()
        self.cross_attention = Attention(hidden_dim, num_heads)
        self.cross_attention_norm = nn.LayerNorm(hidden_dim)
        self.self_attention = Attention(hidden_dim, num_heads)
        self.self_attention_norm = nn.LayerNorm(hidden_dim)
        self.linear1 = nn.Linear(hidden_dim, feedforward_dim)
        self.linear2 = nn.Linear(feedforward_dim, hidden_dim)
        self.ffn_norm = nn.LayerNorm(hidden_dim)
        for linear in (self.linear1, self.linear2):
            nn.init.xavier_uniform_(linear.weight)

    def forward(self, queries: Tensor, query_embed: Tensor, memory: LevelMemory, may_attend: Tensor) -> Tensor:
        """Update the queries.

        Args:
            queries: ``(B, Q, C)``.
            query_embed: Position of each query, ``(Q, C)`` or ``(B, Q, C)``.
            memory: One level.
            may_attend: True where a query may attend, ``(B, Q, T * h * w)`` bool.

        Returns:
            ``(B, Q, C)``.
        """
        attended = self.cross_attention.to_memory(queries + query_embed, memory, may_attend[:, None])
        queries = self.cross_attention_norm(queries + attended)
        placed = queries + query_embed
        queries = self.self_attention_norm(queries + self.self_attention(placed, placed, queries))
        return self.ffn_norm(queries + self.linear2(F.relu(self.linear1(queries))))


def _add(x: Tensor, y: Tensor) -> Tensor:
    """``x + y``, in the memory of ``x`` where no gradient needs it."""
    return x + y if torch.is_grad_enabled() else x.add_(y)


@torch.no_grad()
def attention_mask(mask_embeddings: Tensor, level_mask_features: Tensor) -> Tensor:
    """Where each query may attend: its predicted foreground, or everywhere if that is empty.

    A logit below 0 is a probability below one half. No gradient flows through.

    Args:
        mask_embeddings: ``(B, Q, C)``.
        level_mask_features: Mask features resized to the level, ``(B, C, T * h * w)``.

    Returns:
        True where a query may attend, ``(B, Q, T * h * w)`` bool.
    """
    with torch.autocast(mask_embeddings.device.type, enabled=False):  # in the precision of the features that come in
        is_foreground = torch.bmm(mask_embeddings, level_mask_features) >= 0
    return is_foreground | ~is_foreground.any(dim=-1, keepdim=True)


@torch.no_grad()
def _level_mask_features(features: ClipFeatures) -> list[Tensor]:
    """Mask features resized to each level, once for all layers and queries, ``(B, C, T * h * w)`` each.

    Resizing the features and then multiplying equals resizing the product: see :class:`MaskLogits`.
    """
    batch, num_frames = features.pixels.shape[:2]
    folded = features.pixels.flatten(0, 1)
    resized = []
    for level in features.levels:
        small = F.interpolate(folded, size=level.shape[-2:], mode="bilinear", align_corners=False)
        small = small.unflatten(0, (batch, num_frames)).transpose(1, 2)
        resized.append(small.flatten(2))
    return resized
