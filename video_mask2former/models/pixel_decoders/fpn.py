"""Feature pyramid pixel decoder of MaskFormer (arXiv:2107.06278), with a transformer encoder on top where asked.

It works frame by frame: frames are folded into the batch, and nothing here knows of time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from video_mask2former.models.backbones.base import LEVEL_NAMES, FeatureInfo
from video_mask2former.models.detr_layers import DetrEncoderLayer
from video_mask2former.models.layers import ConvNorm, run_layer
from video_mask2former.models.pixel_decoders.base import PixelDecoder
from video_mask2former.models.position_encoding import sine_position_encoding
from video_mask2former.option_values import Count, PositiveInt, Share

Levels = Literal["memory", "pyramid"]


class FPNPixelDecoder(PixelDecoder):
    """Backbone features to mask features at stride 4, by lateral connections from the coarsest level down.

    Args:
        feature_info: Channels and stride of each backbone level.
        hidden_dim: Channels of the pyramid, and of the encoder.
        mask_dim: Channels of the mask features.
        num_encoder_layers: Transformer encoder layers on the coarsest level before it enters the pyramid; 0 is the
            published decoder of semantic models, 6 that of panoptic ones.
        num_heads: Attention heads of the encoder.
        feedforward_dim: Hidden features of the encoder's feed-forward networks.
        dropout: Chance to drop values of the encoder in training.
        levels: What the transformer decoder gets to see. ``memory``, as published: the coarsest level of the backbone,
            or what the encoder made of it. ``pyramid``: the pyramid at strides 32, 16 and 8, which masked attention
            needs.

    """

    def __init__(
        self,
        feature_info: Mapping[str, FeatureInfo],
        *,
        hidden_dim: PositiveInt = 256,
        mask_dim: PositiveInt = 256,
        num_encoder_layers: Count = 0,
        num_heads: PositiveInt = 8,
        feedforward_dim: PositiveInt = 2048,
        dropout: Share = 0.1,
        levels: Levels = "memory",
    ) -> None:
        super().__init__()
        coarsest = LEVEL_NAMES[-1]
        self.hidden_dim = hidden_dim
        self.mask_dim = mask_dim
        self.levels = levels
        has_encoder = num_encoder_layers > 0
        channels = feature_info[coarsest].channels
        self.input_projection = nn.Conv2d(channels, hidden_dim, kernel_size=1) if has_encoder else nn.Identity()
        self.encoder_layers = nn.ModuleList(
            DetrEncoderLayer(hidden_dim, num_heads, feedforward_dim, dropout) for _ in range(num_encoder_layers)
        )
        pyramid_channels = hidden_dim if has_encoder else channels
        self._memory_channels = pyramid_channels if levels == "memory" else hidden_dim
        self.laterals = nn.ModuleDict(
            {name: ConvNorm(feature_info[name].channels, hidden_dim) for name in LEVEL_NAMES[:-1]}
        )
        self.outputs = nn.ModuleDict(
            {
                name: ConvNorm(pyramid_channels if name == coarsest else hidden_dim, hidden_dim, 3, has_relu=True)
                for name in LEVEL_NAMES
            }
        )
        self.mask_projection = nn.Conv2d(hidden_dim, mask_dim, kernel_size=3, padding=1)
        self._reset_parameters()

    @property
    def memory_channels(self) -> int:
        """Channels of the first of the levels."""
        return self._memory_channels

    def _reset_parameters(self) -> None:
        for convolution in (module for module in self.modules() if isinstance(module, nn.Conv2d)):
            nn.init.kaiming_uniform_(convolution.weight, a=1)
            if convolution.bias is not None:
                nn.init.zeros_(convolution.bias)

    def forward(self, features: Mapping[str, Tensor]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Decode the features of ``N`` frames.

        Args:
            features: Backbone level to ``(N, C_level, h, w)``.

        Returns:
            Mask features ``(N, mask_dim, h, w)`` at stride 4, and what the transformer decoder attends to, coarsest
            first, ``(N, memory_channels, h, w)``.
        """
        memory = self._encode(features[LEVEL_NAMES[-1]])
        x = self.outputs[LEVEL_NAMES[-1]](memory)
        pyramid = [x]
        for name in reversed(LEVEL_NAMES[:-1]):
            lateral = self.laterals[name](features[name])
            x = self.outputs[name](lateral + F.interpolate(x, size=lateral.shape[-2:], mode="nearest"))
            pyramid.append(x)
        return self.mask_projection(x), (memory,) if self.levels == "memory" else tuple(pyramid[:-1])

    def _encode(self, coarsest: Tensor) -> Tensor:
        """The coarsest level after the encoder, itself where there is none."""
        if not self.encoder_layers:
            return coarsest
        memory = self.input_projection(coarsest)
        height, width = memory.shape[-2:]
        positions = sine_position_encoding((height, width), self.hidden_dim, device=memory.device)
        positions = positions.flatten(2).transpose(1, 2).to(memory.dtype)  # (1, S, C)
        tokens = memory.flatten(2).transpose(1, 2)  # (N, S, C)
        for layer in self.encoder_layers:
            tokens = run_layer(layer, tokens, positions, recompute=self.recompute)
        return tokens.transpose(1, 2).unflatten(2, (height, width))
