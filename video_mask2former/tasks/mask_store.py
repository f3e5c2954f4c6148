"""Masks of tracks as they are found: in memory while they are few, in a temporary file when they are many."""

from __future__ import annotations

import tempfile
import threading
import weakref
from array import array
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from numbers import Integral
from typing import Any, TypeVar

from video_mask2former.rle import Rle

MEMORY_BYTES = 32 * 2**20

Value = TypeVar("Value")


class MaskStore:
    """Append-only store of run-length encoded masks, one per track and frame.

    The result of a long video is what grows with its length; beyond ``memory_bytes`` it goes to a temporary file that
    vanishes with the store. Only an index stays in memory, some 30 bytes a mask.

    Args:
        size: Height and width of every mask.
        memory_bytes: How much is kept in memory before the file is used.
    """

    def __init__(self, size: tuple[int, int], memory_bytes: int = MEMORY_BYTES) -> None:
        self._size = size
        self._file = tempfile.SpooledTemporaryFile(max_size=memory_bytes)  # noqa: SIM115 (lives as long as the store)
        weakref.finalize(self, self._file.close)
        self._end = 0
        self._lock = threading.Lock()
        self._tracks: dict[int, StoredMasks] = {}

    def append(self, track_id: int, frame_index: int, mask: Rle, score: float) -> None:
        """Add the mask of a track on a frame later than all it has."""
        counts = mask["counts"].encode("ascii")
        with self._lock:
            self._file.seek(self._end)
            self._file.write(counts)
        self._tracks.setdefault(track_id, StoredMasks(self)).add(frame_index, self._end, len(counts), score)
        self._end += len(counts)

    def masks(self, track_id: int) -> StoredMasks:
        """The masks of one track; empty for a track that has none."""
        return self._tracks.get(track_id, StoredMasks(self))

    def discard(self, track_id: int) -> None:
        """Forget the masks of a track, if it has any; more may come for it."""
        self._tracks.pop(track_id, None)

    def read(self, offset: int, length: int) -> Rle:
        """One mask, by its place."""
        with self._lock:
            self._file.seek(offset)
            counts = self._file.read(length)
        return Rle(size=[self._size[0], self._size[1]], counts=counts.decode("ascii"))


class _ByFrame(Mapping[int, Value]):
    """Something for each of some frames, which are held in ascending order. Pickles and copies as a plain dict."""

    def __init__(self, frames: array[int]) -> None:
        self._frames = frames

    def position(self, frame_index: int | Integral) -> int:
        """Where a frame is among those held, -1 if it is not."""
        position = bisect_left(self._frames, frame_index)
        return position if position < len(self._frames) and self._frames[position] == frame_index else -1

    def __contains__(self, frame_index: object) -> bool:
        return isinstance(frame_index, Integral) and self.position(frame_index) >= 0

    def __iter__(self) -> Iterator[int]:
        return iter(self._frames)

    def __len__(self) -> int:
        return len(self._frames)

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(self),)


class StoredMasks(_ByFrame[Rle]):
    """The masks of one track, frame index to mask, read from the store when they are asked for."""

    def __init__(self, store: MaskStore) -> None:
        super().__init__(array("q"))
        self._store = store
        self._offsets = array("q")
        self._lengths = array("l")
        self._scores = array("d")

    def add(self, frame_index: int, offset: int, length: int, score: float) -> None:
        """Note where the mask of one more frame is."""
        if self._frames and frame_index <= self._frames[-1]:
            raise ValueError(
                f"masks must come in the order of frames, got frame {frame_index} after {self._frames[-1]}."
            )
        self._frames.append(frame_index)
        self._offsets.append(offset)
        self._lengths.append(length)
        self._scores.append(score)

    def frame_scores(self) -> Mapping[int, float]:
        """Frame index to the confidence on that frame."""
        return _StoredScores(self._frames, self._scores)

    def __getitem__(self, frame_index: int) -> Rle:
        position = self.position(frame_index)
        if position < 0:
            raise KeyError(frame_index)
        return self._store.read(self._offsets[position], self._lengths[position])


class _StoredScores(_ByFrame[float]):
    def __init__(self, frames: array[int], scores: array[float]) -> None:
        super().__init__(frames)
        self._scores = scores

    def __getitem__(self, frame_index: int) -> float:
        position = self.position(frame_index)
        if position < 0:
            raise KeyError(frame_index)
        return self._scores[position]
