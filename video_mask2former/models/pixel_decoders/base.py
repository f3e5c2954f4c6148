"""What every pixel decoder offers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

from torch import Tensor, nn


class PixelDecoder(nn.Module, ABC):
    """Backbone features to mask features and the levels that a decoder attends to; frame by frame.

    A custom pixel decoder takes ``feature_info``, the channels and stride of each backbone level, among the
    arguments of its constructor.

    Attributes:
        mask_dim: Channels of the mask features.
        hidden_dim: Channels of the levels.
        recompute: Whether training recomputes activations in the backward pass to save memory.
    """

    mask_dim: int
    hidden_dim: int
    recompute: bool = False

    @property
    def memory_channels(self) -> int:
        """Channels of the first of the levels."""
        return self.hidden_dim

    @property
    def pixel_dim(self) -> int:
        """Channels of the maps of :meth:`with_pixel_features`; of the mask features where there are none."""
        return self.mask_dim

    @abstractmethod
    def forward(self, features: Mapping[str, Tensor]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Decode the features of ``N`` frames.

        Args:
            features: Backbone level to ``(N, C_level, h, w)``.

        Returns:
            Mask features ``(N, mask_dim, h, w)``, and the decoder's levels, coarsest first, each
            ``(N, hidden_dim, h, w)``.
        """

    def with_pixel_features(self, features: Mapping[str, Tensor]) -> tuple[Tensor, tuple[Tensor, ...], Tensor | None]:
        """As :meth:`forward`, and the maps ``(N, C, h, w)`` that the mask features are projected from.

        They are None where mask features are not a projection of others.
        """
        return (*self(features), None)
