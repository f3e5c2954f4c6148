"""The features of a video's frames on the disk, from which masks are made when its objects are known."""

from __future__ import annotations

import tempfile
import weakref

import numpy as np
import torch
from torch import Tensor


class FeatureSpool:
    """Append-only store of features in a temporary file that vanishes with it; nothing of them stays in memory.

    Args:
        dtype: What they are kept in; None: as they come.
    """

    def __init__(self, dtype: torch.dtype | None = None) -> None:
        self._dtype = dtype
        self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 (lives as long as the spool)
        weakref.finalize(self, self._file.close)
        self._shape: tuple[int, ...] | None = None  # of one frame
        self._num_frames = 0

    def __len__(self) -> int:
        return self._num_frames

    def append(self, features: Tensor) -> None:
        """Add the next frames of one video, ``(1, T, ...)``.

        Raises:
            ValueError: If they have another shape than those before.
            OSError: If the disk is full.
        """
        shape = tuple(features.shape[2:])
        if features.shape[0] != 1 or self._shape not in (None, shape):
            expected = "..." if self._shape is None else ", ".join(map(str, self._shape))
            raise ValueError(f"features must be (1, T, {expected}), got {tuple(features.shape)}.")
        self._shape = shape
        self._dtype = self._dtype or features.dtype
        values = features[0].detach().to("cpu", self._dtype).contiguous()
        self._file.seek(0, 2)
        data = values.view(torch.uint8).numpy().data.cast("B")
        while data:
            data = data[self._file.write(data) :]
        self._num_frames += features.shape[1]

    def read(self, start: int = 0, stop: int | None = None) -> Tensor:
        """The frames ``start:stop``, ``(1, T, ...)``, on the CPU; all of them take no more than their own memory."""
        assert self._shape is not None and self._dtype is not None
        stop = self._num_frames if stop is None else min(stop, self._num_frames)
        frames = torch.empty(stop - start, *self._shape, dtype=self._dtype)
        self._file.seek(start * int(np.prod(self._shape)) * self._dtype.itemsize)
        data = frames.view(torch.uint8).numpy().data.cast("B")
        while data:
            data = data[self._file.readinto(data) :]
        return frames[None]
