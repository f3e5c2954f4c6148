"""Transformer decoder of MaskFormer (arXiv:2107.06278), which is that of DETR, over images and over clips.

The tokens of one clip are the positions of all its frames together, at the coarsest level. Each query predicts one
object of the clip.
"""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor, nn

from video_mask2former.mask_logits import MaskLogits
from video_mask2former.models.decoders.base import Decoder
from video_mask2former.models.detr_layers import DetrDecoderLayer
from video_mask2former.models.layers import MLP, run_layer
from video_mask2former.models.position_encoding import sine_position_encoding
from video_mask2former.option_values import PositiveInt, Share
from video_mask2former.structures import ClipFeatures, ClipOutput


class DetrDecoder(Decoder):
    """Queries to one class and one mask embedding each; they start at zero and differ by their learned positions.

    Args:
        num_classes: K, without "no object".
        memory_channels: Channels of the level that the queries attend to, the coarsest; where they are not
            ``hidden_dim``, a projection comes first.
        hidden_dim: C.
        mask_dim: Channels of the mask features.
        num_queries: Q.
        num_layers: Decoder layers; each makes a prediction.
        num_heads: Attention heads.
        feedforward_dim: Hidden features of the feed-forward networks.
        dropout: Chance to drop values in training.
        temporal_position_encoding: True for clips, (x, y, t); False for images, (x, y), as published.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        memory_channels: PositiveInt = 256,
        hidden_dim: PositiveInt = 256,
        mask_dim: PositiveInt = 256,
        num_queries: PositiveInt = 100,
        num_layers: PositiveInt = 6,
        num_heads: PositiveInt = 8,
        feedforward_dim: PositiveInt = 2048,
        dropout: Share = 0.1,
        temporal_position_encoding: bool = False,
    ) -> None:
        super().__init__()
        if num_layers < 1:
            raise ValueError(f"num_layers must be at least 1, since a layer makes the prediction; got {num_layers}.")
        self.num_classes = num_classes
        self.num_queries = num_queries
        self.hidden_dim = hidden_dim
        self.temporal_position_encoding = temporal_position_encoding
        self.query_embed = nn.Embedding(num_queries, hidden_dim)
        self.input_projection: nn.Module = nn.Identity()
        if memory_channels != hidden_dim:
            projection = nn.Conv2d(memory_channels, hidden_dim, kernel_size=1)
            nn.init.kaiming_uniform_(projection.weight, a=1)
            nn.init.zeros_(projection.bias)  # type: ignore[arg-type]  # it has one
            self.input_projection = projection
        self.layers = nn.ModuleList(
            DetrDecoderLayer(hidden_dim, num_heads, feedforward_dim, dropout) for _ in range(num_layers)
        )
        self.norm = nn.LayerNorm(hidden_dim)
        self.class_embed = nn.Linear(hidden_dim, num_classes + 1)
        self.mask_embed = MLP(hidden_dim, hidden_dim, mask_dim, num_layers=3)

    def forward(self, features: ClipFeatures, initial_queries: Tensor | None = None) -> ClipOutput:
        """Decode a batch of clips.

        Args:
            features: Of ``B`` clips of ``T`` frames; of their levels the first one counts.
            initial_queries: Start from these, ``(B, Q, C)``, instead of zeros.

        Returns:
            The last layer's prediction, with those of the layers before as ``auxiliary``.

        Raises:
            ValueError: If ``initial_queries`` has another shape.
        """
        level = features.levels[0]
        query_embed = self.query_embed.weight
        queries = query_embed.new_zeros(level.shape[0], *query_embed.shape)
        if initial_queries is not None:
            if initial_queries.shape != queries.shape:
                raise ValueError(
                    f"initial_queries must be (B, Q, C) = {tuple(queries.shape)}, got {tuple(initial_queries.shape)}."
                )
            queries = initial_queries
        memory, positions = self._memory(level)
        outputs = []
        for layer in self.layers:
            queries = run_layer(layer, queries, query_embed, memory, positions, recompute=self.recompute)
            outputs.append(self._predict(queries, features))
        return replace(outputs[-1], auxiliary=tuple(outputs[:-1]))

    def _memory(self, level: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens of all frames ``(B, T * h * w, C)`` and their positions ``(1, T * h * w, C)``."""
        batch, num_frames, _, height, width = level.shape
        maps = self.input_projection(level.flatten(0, 1)).unflatten(0, (batch, num_frames))
        tokens = maps.flatten(3).transpose(2, 3).flatten(1, 2)
        time = num_frames if self.temporal_position_encoding else None
        positions = sine_position_encoding((height, width), self.hidden_dim, num_frames=time, device=level.device)
        positions = positions.expand(num_frames, -1, -1, -1).flatten(2).transpose(1, 2).flatten(0, 1)
        return tokens, positions[None].to(tokens.dtype)

    def _predict(self, queries: Tensor, features: ClipFeatures) -> ClipOutput:
        """Class and mask embedding of each query."""
        embeddings = self.norm(queries)
        mask_embeddings = self.mask_embed(embeddings)
        return ClipOutput(
            class_logits=self.class_embed(embeddings),
            mask_logits=MaskLogits(mask_embeddings.to(features.pixels.dtype), features.pixels),
            query_embeddings=embeddings,
            queries=queries,
            frame_size=features.frame_size,
            padded_size=features.padded_size,
        )
