"""What masks are made of, made a second time instead of being kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from video_mask2former.structures import ClipFeatures

Encode = Callable[[list[np.ndarray], int], ClipFeatures]


class FeaturesAgain:
    """Features of the frames of a video, encoded again in the order in which they are asked for.

    Asking for frames before those of the last call starts at the beginning again.

    Args:
        frames: Reads the frames of the video from the beginning.
        encode: Encodes some frames.
        source_features: What masks are made of, of those.
        num_frames: Frames encoded at once.
    """

    def __init__(
        self,
        frames: Callable[[], Iterator[np.ndarray]],
        encode: Encode,
        source_features: Callable[[ClipFeatures], Tensor],
        num_frames: int,
    ) -> None:
        self._read_frames = frames
        self._encode = encode
        self._source_features = source_features
        self._num_frames = num_frames
        self._images: Iterator[np.ndarray] | None = None
        self._start = 0  # of the features that are held
        self._held: Tensor | None = None

    def read(self, start: int, stop: int) -> Tensor:
        """The frames ``start:stop``, ``(1, T, C, h, w)``."""
        if self._images is None or start < self._start:
            self._images, self._start, self._held = self._read_frames(), 0, None
        parts = []
        position = start
        while position < stop:
            held_until = self._start + (0 if self._held is None else self._held.shape[1])
            if position >= held_until:
                self._advance(held_until)
                continue
            assert self._held is not None
            upto = min(stop, held_until)
            parts.append(self._held[:, position - self._start : upto - self._start])
            position = upto
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)

    def _advance(self, start: int) -> None:
        """Hold the frames from ``start`` on."""
        assert self._images is not None
        images = list(islice(self._images, self._num_frames))
        if not images:
            raise ValueError(f"the video has no frame {start} when it is read a second time; has its file changed?")
        self._held, self._start = self._source_features(self._encode(images, len(images))), start
