"""From the object tokens of all frames to the objects of a video (VITA, arXiv:2206.04403)."""

from __future__ import annotations

from torch import Tensor, nn
from typing_extensions import TypedDict

from video_mask2former.models.object_decoder import ObjectDecoder
from video_mask2former.models.token_encoder import TokenEncoder
from video_mask2former.option_values import Count, PositiveInt


class AggregatorOptions(TypedDict, total=False):
    """The options of :class:`ObjectAggregator` that parts built on it hand on."""

    num_queries: PositiveInt
    embedding_dim: PositiveInt
    pixel_dim: PositiveInt
    hidden_dim: PositiveInt
    num_video_queries: PositiveInt
    num_encoder_layers: PositiveInt
    num_decoder_layers: PositiveInt
    num_heads: PositiveInt
    feedforward_dim: PositiveInt


class ObjectAggregator(nn.Module):
    """Encoder of object tokens, decoder of video queries, and mask features that go with the latter.

    Object tokens are the queries of an image model after its last layer, frame by frame. No pixels are looked at: one
    frame of a video is a few hundred numbers per object query, however large it is.

    Args:
        num_classes: K, without "no object".
        num_queries: Tokens of each frame, N: the queries of the segmenter.
        embedding_dim: Channels of those.
        pixel_dim: Channels of the maps that mask features are made of.
        hidden_dim: C, channels of everything after them.
        num_video_queries: Q, the most objects of a video.
        num_encoder_layers: Layers in which tokens exchange information.
        num_decoder_layers: Layers in which queries gather it.
        num_heads: Attention heads.
        feedforward_dim: Hidden features of the feed-forward networks.
        window: Frames of a window of the encoder; 0: all are one.

    Attributes:
        hidden_dim: As given.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        num_queries: PositiveInt = 100,
        embedding_dim: PositiveInt = 256,
        pixel_dim: PositiveInt = 256,
        hidden_dim: PositiveInt = 256,
        num_video_queries: PositiveInt = 100,
        num_encoder_layers: PositiveInt = 6,
        num_decoder_layers: PositiveInt = 3,
        num_heads: PositiveInt = 8,
        feedforward_dim: PositiveInt = 2048,
        window: Count = 6,
    ) -> None:
        super().__init__()
        self.hidden_dim = hidden_dim
        self.encoder = TokenEncoder(hidden_dim, num_encoder_layers, num_heads, feedforward_dim, window, embedding_dim)
        self.decoder = ObjectDecoder(
            num_classes,
            hidden_dim=hidden_dim,
            mask_dim=hidden_dim,
            num_queries=num_video_queries,
            num_tokens=num_queries,
            num_layers=num_decoder_layers,
            num_heads=num_heads,
            feedforward_dim=feedforward_dim,
        )
        self.mask_projection = nn.Conv2d(pixel_dim, hidden_dim, kernel_size=1)
        nn.init.kaiming_uniform_(self.mask_projection.weight, a=1)
        assert self.mask_projection.bias is not None
        nn.init.zeros_(self.mask_projection.bias)
        # Read by the similarity loss alone
        self.token_similarity = nn.Linear(hidden_dim, hidden_dim)
        self.query_similarity = nn.Linear(hidden_dim, hidden_dim)

    def mask_features(self, pixel_features: Tensor) -> Tensor:
        """Mask features ``(B, T, C, h, w)`` of maps ``(B, T, pixel_dim, h, w)``."""
        return self.mask_projection(pixel_features.flatten(0, 1)).unflatten(0, pixel_features.shape[:2])
