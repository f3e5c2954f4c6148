"""What inference asks of a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from video_mask2former.structures import ClipFeatures, ClipOutput


class SegmentationModel(Protocol):
    """What inference asks of a model; :class:`~video_mask2former.models.Segmenter` has it.

    A model may also say in ``input_sides`` which short side frames should have, and the most that the long side may.
    """

    @property
    def class_names(self) -> Sequence[str]:
        """Name of each class index, empty where unknown."""
        ...

    @property
    def num_classes(self) -> int:
        """K, without "no object"."""
        ...

    def encode(self, frames: Tensor) -> ClipFeatures:
        """The part that looks at each frame by itself, ``(B, T, 3, H, W)`` RGB 0..255."""
        ...

    def decode(self, features: ClipFeatures, initial_queries: Tensor | None = None) -> ClipOutput:
        """The part that looks at whole clips."""
        ...
