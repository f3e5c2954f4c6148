"""The masks of a track in one piece of text: a fraction of the memory of a dictionary for each, quick to measure."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np

from video_mask2former.rle.reference import Rle, check_one_size


class PackedRles(Mapping[int, Rle]):
    """Frame index to mask, as :class:`~video_mask2former.structures.Track` wants it.

    Attributes:
        size: Height and width of every mask.
        frames: Frame index of each mask.
        text: The counts of each mask, a line feed after each.

    Args:
        size: Height and width of every mask.
        frames: Frame index of each mask, each once.
        counts: Their counts; they are not read, so they may be malformed.

    Raises:
        ValueError: If counts hold characters that would be taken for something else.
    """

    def __init__(self, size: tuple[int, int], frames: Iterable[int], counts: Sequence[str]) -> None:
        self.size = size
        self.frames = array("q", frames)
        self.text = "\n".join([*counts, ""]).encode("ascii")
        self._ends: np.ndarray | None = None
        self._measures: tuple[np.ndarray, np.ndarray] | None = None
        if len(self._offsets()) != len(self.frames) or len(counts) != len(self.frames):
            raise ValueError(f"there must be counts of one line for each of {len(self.frames)} frames.")

    @classmethod
    def of(cls, segmentations: Mapping[int, Rle]) -> PackedRles:
        """The same masks, packed.

        Raises:
            ValueError: If they are not of one size.
        """
        if isinstance(segmentations, PackedRles):
            return segmentations
        rles = list(segmentations.values())
        check_one_size(rles, ())
        height, width = rles[0]["size"] if rles else (0, 0)
        return cls((height, width), segmentations, [rle["counts"] for rle in rles])

    def __len__(self) -> int:
        return len(self.frames)

    def __iter__(self) -> Iterator[int]:
        return iter(self.frames)

    def __contains__(self, frame_index: object) -> bool:
        return frame_index in self.frames

    def __getitem__(self, frame_index: int) -> Rle:
        try:
            position = self.frames.index(frame_index)
        except ValueError:
            raise KeyError(frame_index) from None
        ends = self._offsets()
        start = int(ends[position - 1]) + 1 if position else 0
        return Rle(size=[*self.size], counts=self.text[start : int(ends[position])].decode("ascii"))

    def __repr__(self) -> str:
        return f"PackedRles({len(self)} masks of {self.size[0]} x {self.size[1]})"

    def select(self, is_kept: np.ndarray) -> PackedRles:
        """Some of the masks, by their place, ``(N,)`` bool."""
        if is_kept.all():
            return self
        frames = np.asarray(self.frames)[is_kept].tolist()
        return PackedRles(self.size, frames, [self[frame]["counts"] for frame in frames])

    def measures(self, measure: Callable[[PackedRles], tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
        """What ``measure`` says of the masks, which is asked once: areas ``(N,)`` and boxes ``(N, 4)``."""
        if self._measures is None:
            areas, boxes = measure(self)
            self._measures = areas.astype(np.int32), boxes.astype(np.int32)
        return self._measures

    def _offsets(self) -> np.ndarray:
        """Where the counts of each mask end."""
        if self._ends is None:
            self._ends = np.flatnonzero(np.frombuffer(self.text, np.uint8) == ord("\n"))
        return self._ends
