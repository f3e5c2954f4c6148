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
        dtype: What they are kept in.
    """

    def __init__(self, dtype: torch.dtype = torch.float16) -> None:
        self._dtype = dtype
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 (lives as long as the spool)
        weakref.finalize(self, self._file.close)
        self._shape: tuple[int, ...] | None = None  # of one frame
        self._num_frames = 0

    def __len__(self) -> int:
        return self._num_frames

    def append(self, features: Tensor) -> None:
        """Add the next frames of one video, ``(1, T, C, h, w)``.

        Raises:
            ValueError: If they have another shape than those before.
            OSError: If the disk is full.
        """
        shape = tuple(features.shape[2:])
        if features.shape[0] != 1 or self._shape not in (None, shape):
            raise ValueError(f"features must be (1, T, {self._shape or 'C, h, w'}), got {tuple(features.shape)}.")
        self._shape = shape
        values = features[0].detach().to("cpu", self._dtype).contiguous()
        self._file.seek(0, 2)
        self._file.write(values.view(torch.uint8).numpy().data)
        self._num_frames += features.shape[1]

    def read(self, start: int, stop: int) -> Tensor:
        """The frames ``start:stop``, ``(1, T, C, h, w)``, on the CPU."""
        assert self._shape is not None
        frame_bytes = int(np.prod(self._shape)) * self._dtype.itemsize
        self._file.seek(start * frame_bytes)
        data = bytearray(self._file.read((min(stop, self._num_frames) - start) * frame_bytes))
        return torch.frombuffer(data, dtype=self._dtype).view(1, -1, *self._shape)
