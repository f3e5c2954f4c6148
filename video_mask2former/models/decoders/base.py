"""What every decoder offers."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from video_mask2former.structures import ClipFeatures, ClipOutput


class Decoder(nn.Module, ABC):
    """Features of clips to one class and one mask for each query.

    A custom decoder takes ``num_classes`` among the arguments of its constructor, and ``mask_dim`` and
    ``hidden_dim``, the channels that the pixel decoder gives, where it needs them.

    Attributes:
        num_classes: K, without "no object".
        num_queries: Q.
        embedding_dim: C of the query embeddings of the output; for trackers and refiners with weights.
        recompute: Whether training recomputes activations in the backward pass to save memory.
    """

    num_classes: int
    num_queries: int
    embedding_dim: int
    recompute: bool = False

    @abstractmethod
    def forward(self, features: ClipFeatures, initial_queries: Tensor | None = None) -> ClipOutput:
        """Decode a batch of clips.

        Args:
            features: Of ``B`` clips of ``T`` frames.
            initial_queries: Start from these, ``(B, Q, C)``, instead of the learned queries.

        Returns:
            The last prediction, with earlier ones as ``auxiliary``.
        """
