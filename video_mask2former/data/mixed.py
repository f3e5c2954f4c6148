"""Several datasets trained on together, in given shares."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch.utils.data import Dataset

from video_mask2former.data.clip_dataset import ClipDataset, ClipRequest
from video_mask2former.data.samples import ClipSample


class MixedClips(Dataset[ClipSample]):
    """Datasets one after the other; :class:`SampleOrder` mixes them.

    Args:
        datasets: They must have the same classes in the same order.
    """

    def __init__(self, datasets: Sequence[ClipDataset]) -> None:
        first = datasets[0]
        for dataset in datasets[1:]:
            if dataset.annotations.class_names != first.annotations.class_names:
                raise ValueError(
                    f"datasets that are trained on together must have the same classes in the same order, but those of "
                    f"{first.annotations.path} and {dataset.annotations.path} differ. "
                    "video-mask2former data filter-coco gives a COCO file the classes of a video dataset."
                )
        self.datasets = tuple(datasets)
        self._ends = np.cumsum([len(dataset) for dataset in datasets])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, request: ClipRequest) -> ClipSample:
        which = int(np.searchsorted(self._ends, request.index, side="right"))
        start = int(self._ends[which]) - len(self.datasets[which])
        return self.datasets[which][ClipRequest(request.index - start, request.seed)]

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of videos of each dataset."""
        return tuple(len(dataset) for dataset in self.datasets)


class SampleOrder:
    """An endless order over all samples of some datasets, of which any part can be had without those before.

    Each dataset is gone through in random order, again and again, no sample twice in one pass. Without ratios, an
    epoch is one pass over all; with ratios, it holds each dataset in its share, and is so long that each is gone
    through at least once.

    Args:
        sizes: Number of samples of each dataset.
        ratios: Share of each dataset, in any unit; empty is by size.
        seed: Of the order, and part of the seed of every sample.
    """

    def __init__(self, sizes: Sequence[int], ratios: Sequence[float] = (), *, seed: int) -> None:
        if ratios and len(ratios) != len(sizes):
            raise ValueError(f"there must be one ratio for each of {len(sizes)} datasets, got {len(ratios)}.")
        if any(ratio <= 0 for ratio in ratios):
            raise ValueError(f"ratios must be above 0, got {tuple(ratios)}. Leave out a dataset that is not wanted.")
        self.seed = seed
        self._sizes = tuple(sizes)
        self._counts = _counts_per_epoch(sizes, ratios) if ratios else self._sizes
        self._starts = [0, *np.cumsum(sizes)[:-1].tolist()]
        self._cached: tuple[int, np.ndarray] = (-1, np.zeros(0, np.int64))

    @property
    def epoch_length(self) -> int:
        """Samples of one epoch."""
        return sum(self._counts)

    def __getitem__(self, number: int) -> ClipRequest:
        """The sample that comes ``number``-th, from 0, without end."""
        epoch, place = divmod(number, self.epoch_length)
        if self._cached[0] != epoch:
            self._cached = (epoch, self._epoch(epoch))
        return ClipRequest(int(self._cached[1][place]), (self.seed, number))

    def _epoch(self, epoch: int) -> np.ndarray:
        parts = [
            start + self._stream(which, epoch * count, (epoch + 1) * count)
            for which, (start, count) in enumerate(zip(self._starts, self._counts, strict=True))
        ]
        order = np.concatenate(parts)
        np.random.default_rng((self.seed, epoch, len(parts))).shuffle(order)
        return order

    def _stream(self, which: int, start: int, stop: int) -> np.ndarray:
        """A part of the endless sequence of passes over one dataset."""
        size = self._sizes[which]
        first, last = start // size, (stop - 1) // size
        passes = [
            np.random.default_rng((self.seed, which, index, 1)).permutation(size) for index in range(first, last + 1)
        ]
        return np.concatenate(passes)[start - first * size : stop - first * size]


def _counts_per_epoch(sizes: Sequence[int], ratios: Sequence[float]) -> tuple[int, ...]:
    """How often each dataset occurs in an epoch: the shares, rounded, the least used one gone through once."""
    passes = max(size / ratio for size, ratio in zip(sizes, ratios, strict=True))
    return tuple(max(1, round(ratio * passes)) for ratio in ratios)
