"""Video consistency: whether predicted classes stay where the annotated ones do (VSPW, CVPR 2021)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from video_mask2former.metrics.average_precision import UNDEFINED
from video_mask2former.metrics.evaluator import check_new
from video_mask2former.metrics.miou import LabelMap


class VideoConsistencyEvaluator:
    """VC of windows of some frames: of the pixels whose annotated class is the same on all frames of a window, the
    share whose predicted class is the same on all of them, too, right or wrong. The mean over all windows.

    As in the authors' program, the last window of a video does not count, and pixels without a class are of one class.

    Args:
        window_lengths: Numbers of frames.
    """

    def __init__(self, window_lengths: Sequence[int] = (8, 16)) -> None:
        if not window_lengths or min(window_lengths) < 2:
            raise ValueError(f"window_lengths must all be at least 2, got {tuple(window_lengths)}.")
        self.window_lengths = tuple(window_lengths)
        # for each length, the sum over windows and their number
        self._samples: dict[int, dict[int, tuple[float, int]]] = {}

    def reset(self) -> None:
        """Forget all videos."""
        self._samples = {}

    def process(self, prediction: LabelMap, ground_truth: LabelMap) -> None:
        """Take one video, ``(T, H, W)``."""
        pairs = zip(prediction.labels, ground_truth.labels, strict=True)
        self.process_frames(ground_truth.sample_id, pairs)

    def process_frames(self, sample_id: int, frames: Iterable[tuple[np.ndarray, np.ndarray]]) -> None:
        """Take one video, in the memory of two frames.

        Args:
            sample_id: The dataset's id of the video.
            frames: Predicted and annotated class of each pixel of each frame, ``(H, W)`` integers.
        """
        check_new(sample_id, self._samples)
        sums = dict.fromkeys(self.window_lengths, 0.0)
        counts = dict.fromkeys(self.window_lengths, 0)
        last: dict[int, float] = {}  # of the windows that end at the last frame; it counts if another frame comes
        before: tuple[np.ndarray, np.ndarray] | None = None
        ages = [np.zeros(0, np.int32)] * 2  # frames for which each pixel has been what it is
        for pair in frames:
            for length, share in last.items():
                sums[length] += share
                counts[length] += 1
            if before is None:
                ages = [np.ones(maps.shape, np.int32) for maps in pair]
            else:
                ages = [np.where(new == old, age + 1, 1) for new, old, age in zip(pair, before, ages, strict=True)]
            before = pair
            last = {}
            for length in self.window_lengths:
                is_constant = ages[1] >= length
                if is_constant.any():
                    last[length] = float((ages[0][is_constant] >= length).mean())
        self._samples[sample_id] = {length: (sums[length], counts[length]) for length in self.window_lengths}

    def state(self) -> dict[int, dict[int, tuple[float, int]]]:
        """What was kept of the videos so far."""
        return dict(self._samples)

    def merge(self, states: Iterable[Mapping[int, dict[int, tuple[float, int]]]]) -> None:
        """Take the videos of several states in place of those so far; a video in two states counts once."""
        self._samples = {sample_id: sums for state in states for sample_id, sums in state.items()}

    def evaluate(self) -> dict[str, float]:
        """``VC8``, ``VC16`` ...; -1 where no video is long enough."""
        figures = {}
        for length in self.window_lengths:
            parts = [sums[length] for _, sums in sorted(self._samples.items())]
            count = sum(number for _, number in parts)
            figures[f"VC{length}"] = sum(total for total, _ in parts) / count if count else UNDEFINED
        return figures
