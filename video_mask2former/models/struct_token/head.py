"""The head of StructToken: features of an image to one logit map per class."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from video_mask2former.models.layers import run_layer
from video_mask2former.models.struct_token.layers import CrossSliceLayer, JointLayer, ResidualBlock

Interaction = Literal["cse", "sse", "pwe"]


class StructTokenHead(nn.Module):
    """Learned maps, one per class, that layers fill with what the image shows.

    Args:
        num_classes: K.
        channels: Channels of the features that come in.
        hidden_channels: Channels of the features inside; None for as many as come in.
        interaction: How tokens and features act on each other: ``cse``, cross-slice extraction; ``sse``, self-slice
            extraction; ``pwe``, point-wise extraction.
        num_layers: Number of layers.
        token_size: Height and width of the learned maps: a sixteenth of the training images.
        expansion: Hidden channels of the feed-forward networks per channel.
        drop_path_rate: Stochastic depth of the last layer; falls linearly to 0 at the first.

    Attributes:
        recompute: Whether training recomputes activations in the backward pass to save memory.
    """

    recompute: bool = False

    def __init__(
        self,
        num_classes: int,
        channels: int,
        *,
        hidden_channels: int | None = None,
        interaction: Interaction = "pwe",
        num_layers: int = 4,
        token_size: tuple[int, int] = (32, 32),
        expansion: int = 4,
        drop_path_rate: float = 0.1,
    ) -> None:
        super().__init__()
        if interaction not in ("cse", "sse", "pwe"):
            raise ValueError(f"interaction must be 'cse', 'sse' or 'pwe', got {interaction!r}.")
        self.tokens = nn.Parameter(torch.zeros(1, num_classes, *token_size))
        nn.init.trunc_normal_(self.tokens, std=0.02)
        width = hidden_channels or channels
        self.projection = nn.Conv2d(channels, width, kernel_size=1)
        rates = torch.linspace(0, drop_path_rate, num_layers, device="cpu").tolist()
        self.layers = nn.ModuleList()
        for index, rate in enumerate(rates):
            if interaction == "cse":
                is_last = index == num_layers - 1
                self.layers.append(CrossSliceLayer(num_classes, width, expansion, rate, is_last=is_last))
            else:
                has_attention = interaction == "sse"
                self.layers.append(JointLayer(num_classes, width, expansion, rate, has_attention=has_attention))
        self.residual = ResidualBlock(num_classes)

    def forward(self, features: Tensor, tokens: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Predict the class of each position.

        Args:
            features: ``(N, C, h, w)``.
            tokens: Start from these instead of the learned ones, ``(N, K, h, w)``.

        Returns:
            Logits and the tokens behind them, both ``(N, K, h, w)``.
        """
        features = self.projection(features)
        if tokens is None:
            size = (features.shape[2], features.shape[3])
            tokens = self._resized_tokens(size).expand(len(features), -1, -1, -1)
        for layer in self.layers:
            tokens, features = run_layer(layer, tokens, features, recompute=self.recompute)
        return self.residual(tokens), tokens

    def _resized_tokens(self, size: tuple[int, int]) -> Tensor:
        trained = self.tokens.shape[2:]
        if tuple(trained) == size:
            return self.tokens
        corners = bool(trained[0] % 2 or trained[1] % 2)
        return F.interpolate(self.tokens, size=size, mode="bicubic", align_corners=corners)
