"""Mask logits of a long clip whose features are not in memory, but read a few frames at a time."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from video_mask2former.mask_logits import MaskLogits

ReadFeatures = Callable[[int, int], Tensor]
"""Mask features of the frames ``start:stop``, ``(1, T, C, h, w)``, where the embeddings are and of their type."""


class SpooledMaskLogits(MaskLogits):
    """Mask logits of a batch of one clip, whose features are read from elsewhere.

    :meth:`frames` holds the features of those frames alone, and so does everything that a task does frame by frame.
    Whatever asks for :attr:`features` themselves reads those of the whole clip.

    Args:
        embeddings: ``(1, Q, C)`` or ``(1, T, Q, C)``.
        frames: T, h and w of the features.
        read: Reads some of them.
    """

    embeddings: Tensor
    _frames: tuple[int, int, int]
    _read: ReadFeatures

    def __init__(self, embeddings: Tensor, frames: tuple[int, int, int], read: ReadFeatures) -> None:
        if embeddings.ndim not in (3, 4) or (embeddings.ndim == 4 and embeddings.shape[1] != frames[0]):
            raise ValueError(f"embeddings must be (1, Q, C) or (1, {frames[0]}, Q, C), got {tuple(embeddings.shape)}.")
        for name, value in (("embeddings", embeddings), ("_frames", frames), ("_read", read)):
            object.__setattr__(self, name, value)  # the base class is frozen

    def __repr__(self) -> str:
        return f"SpooledMaskLogits({self.shape})"

    @property
    def features(self) -> Tensor:
        """Those of the whole clip."""
        return self._read(0, self._frames[0])

    @property
    def shape(self) -> tuple[int, int, int, int, int]:
        """``(1, Q, T, h, w)`` of the dense form."""
        return 1, self.num_queries, *self._frames

    def frames(self, start: int, stop: int) -> MaskLogits:
        """The frames ``start:stop``, in memory."""
        embeddings = self.embeddings[:, start:stop] if self.is_per_frame else self.embeddings
        return MaskLogits(embeddings, self._read(start, stop))

    def select(self, query_indices: Tensor) -> MaskLogits:
        """Some of the queries, ``(N,)``, in the order given."""
        if query_indices.ndim != 1:
            return super().select(query_indices)
        return SpooledMaskLogits(self.embeddings[..., query_indices, :], self._frames, self._read)
