"""Masked-attention decoder with a re-identification head: embeddings that tell objects apart from frame to frame."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor, nn

from video_mask2former.models.decoders.masked_attention import MaskedAttentionDecoder
from video_mask2former.models.layers import MLP
from video_mask2former.option_values import PositiveInt
from video_mask2former.structures import ClipFeatures, ClipOutput


class ReidDecoder(MaskedAttentionDecoder):
    """Masked-attention decoder whose query embeddings come from a re-ID head (CTVIS, arXiv:2307.12616).

    Contrastive losses train that head on frames that are decoded one by one.

    Args:
        num_classes: K, without "no object".
        hidden_dim: C.
        mask_dim: Channels of the mask features.
        num_queries: Q.
        num_layers: Decoder layers; there is one prediction more, that of the learned queries themselves.
        num_heads: Attention heads.
        feedforward_dim: Hidden features of the feed-forward networks.
        temporal_position_encoding: True for video models, (x, y, t); False for image models, (x, y).
        reid_dim: Hidden features of the re-ID head.
        reid_layers: Linear layers of the re-ID head; 0 compares the queries themselves.
        embeddings: What trackers compare: those of the re-ID head (``reid``), or the queries and those beside them
            (``both``, DVIS++).

    Attributes:
        embedding_dim: Features of what trackers compare.
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
        temporal_position_encoding: bool = False,
        reid_dim: PositiveInt = 256,
        reid_layers: int = 3,
        embeddings: Literal["reid", "both"] = "reid",
    ) -> None:
        super().__init__(
            num_classes,
            hidden_dim=hidden_dim,
            mask_dim=mask_dim,
            num_queries=num_queries,
            num_layers=num_layers,
            num_heads=num_heads,
            feedforward_dim=feedforward_dim,
            temporal_position_encoding=temporal_position_encoding,
        )
        if reid_layers < 0:
            raise ValueError(f"reid_layers must be at least 0, got {reid_layers}.")
        self.embeddings = embeddings
        self.reid_embed = MLP(hidden_dim, reid_dim, hidden_dim, reid_layers) if reid_layers else nn.Identity()
        self.embedding_dim = 2 * hidden_dim if embeddings == "both" else hidden_dim

    def forward(self, features: ClipFeatures, initial_queries: Tensor | None = None) -> ClipOutput:
        """Decode a batch of clips; see :meth:`MaskedAttentionDecoder.forward`."""
        output = super().forward(features, initial_queries)
        reid = self.reid_embed(output.query_embeddings)
        both = self.embeddings == "both"
        return replace(
            output,
            query_embeddings=torch.cat([output.query_embeddings, reid], dim=2) if both else reid,
            contrast_embeddings=reid[:, None] if features.num_frames == 1 else None,
        )
