"""Semantic segmentation: mean IoU over the classes, and its relatives."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from video_mask2former.metrics.average_precision import UNDEFINED
from video_mask2former.metrics.evaluator import check_new


@dataclass(frozen=True)
class LabelMap:
    """A class for every pixel of an image or a video.

    Attributes:
        sample_id: The dataset's id of the image or video.
        labels: Class of each pixel, ``(H, W)`` or ``(T, H, W)`` integers.
    """

    sample_id: int
    labels: np.ndarray

    def __post_init__(self) -> None:
        if not np.issubdtype(self.labels.dtype, np.integer):
            raise ValueError(f"labels must be integers, got {self.labels.dtype}. Take the argmax of scores first.")


class SemanticIouEvaluator:
    """mIoU, frequency-weighted IoU, mean and pixel accuracy.

    Args:
        class_names: Classes; labels index them.
        ignore_label: Pixels annotated so do not count; pixels predicted so are wrong whatever is there.
    """

    def __init__(self, class_names: Sequence[str], *, ignore_label: int = 255) -> None:
        if 0 <= ignore_label < len(class_names):
            raise ValueError(f"ignore_label must not be a class, got {ignore_label} of {len(class_names)} classes.")
        self.class_names = tuple(class_names)
        self.ignore_label = ignore_label
        # (annotated * (K + 1) + predicted) and the number of such pixels; only a few of them occur in an image
        self._samples: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def reset(self) -> None:
        """Forget all samples."""
        self._samples = {}

    def process(self, prediction: LabelMap, ground_truth: LabelMap) -> None:
        """Take one image or video.

        Raises:
            ValueError: If the two differ in size, a label is not a class, or it was processed before.
        """
        if prediction.labels.shape != ground_truth.labels.shape:
            raise ValueError(
                f"prediction of sample {ground_truth.sample_id} must have the shape of its ground truth, "
                f"{ground_truth.labels.shape}, got {prediction.labels.shape}. Resize it to the original size."
            )
        height_and_width = ground_truth.labels.shape[-2:]
        pairs = (label_map.labels.reshape(-1, *height_and_width) for label_map in (prediction, ground_truth))
        self.process_frames(ground_truth.sample_id, zip(*pairs, strict=True))

    def process_frames(self, sample_id: int, frames: Iterable[tuple[np.ndarray, np.ndarray]]) -> None:
        """Take one image or video, frame by frame.

        Args:
            sample_id: The dataset's id of the image or video.
            frames: Predicted and annotated class of each pixel of each frame, ``(H, W)`` integers.

        Raises:
            ValueError: If a label is not a class, or the sample was processed before.
        """
        check_new(sample_id, self._samples)
        num_classes = len(self.class_names)
        counts = np.zeros(num_classes * (num_classes + 1), np.int64)
        for prediction, ground_truth in frames:
            predicted = self._checked(prediction, f"prediction of sample {sample_id}")
            annotated = self._checked(ground_truth, f"ground truth of sample {sample_id}")
            is_counted = annotated < num_classes
            pairs = annotated[is_counted] * (num_classes + 1) + predicted[is_counted]
            counts += np.bincount(pairs, minlength=counts.size)
        occurring = np.flatnonzero(counts)
        self._samples[sample_id] = occurring, counts[occurring]

    def state(self) -> dict[int, tuple[np.ndarray, np.ndarray]]:
        """What was kept of the samples so far."""
        return dict(self._samples)

    def merge(self, states: Iterable[Mapping[int, tuple[np.ndarray, np.ndarray]]]) -> None:
        """Take the samples of several states in place of those so far; a sample in two states counts once."""
        self._samples = {sample_id: counts for state in states for sample_id, counts in state.items()}

    def evaluate(self) -> dict[str, float]:
        """mIoU, fwIoU, mAcc, pAcc over the classes that are annotated; -1 where none is."""
        confusion = self._confusion(self._samples.values())
        annotated = confusion.sum(1)
        iou = _iou(confusion)
        is_present = annotated > 0
        if not is_present.any():
            return dict.fromkeys(("mIoU", "fwIoU", "mAcc", "pAcc"), UNDEFINED)
        hits = np.diag(confusion)[is_present]
        share = annotated[is_present] / annotated.sum()
        return {
            "mIoU": float(iou[is_present].mean()),
            "fwIoU": float((iou[is_present] * share).sum()),
            "mAcc": float((hits / annotated[is_present]).mean()),
            "pAcc": float(hits.sum() / annotated.sum()),
        }

    def per_class(self) -> dict[str, float]:
        """IoU of each class, -1 where it is not annotated."""
        confusion = self._confusion(self._samples.values())
        iou = np.where(confusion.sum(1) > 0, _iou(confusion), UNDEFINED)
        return dict(zip(self.class_names, iou.tolist(), strict=True))

    def per_sample(self) -> dict[int, float]:
        """mIoU of each sample over the classes annotated in it, -1 where none is."""
        figures = {}
        for sample_id in sorted(self._samples):
            confusion = self._confusion([self._samples[sample_id]])
            iou = _iou(confusion)[confusion.sum(1) > 0]
            figures[sample_id] = float(iou.mean()) if iou.size else UNDEFINED
        return figures

    def _checked(self, labels: np.ndarray, what: str) -> np.ndarray:
        """The labels as int64, the ignored ones as K."""
        labels = labels.astype(np.int64)
        is_ignored = labels == self.ignore_label
        is_wrong = ~is_ignored & ((labels < 0) | (labels >= len(self.class_names)))
        if is_wrong.any():
            raise ValueError(
                f"{what}: labels must be in [0, {len(self.class_names)}) or {self.ignore_label} (ignored), got "
                f"{labels[is_wrong][0]}."
            )
        return np.where(is_ignored, len(self.class_names), labels)

    def _confusion(self, samples: Iterable[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
        """Pixels annotated as one class and predicted as another (or none, last), ``(K, K + 1)``."""
        num_classes = len(self.class_names)
        confusion = np.zeros(num_classes * (num_classes + 1), np.int64)
        for pairs, counts in samples:
            confusion[pairs] += counts
        return confusion.reshape(num_classes, num_classes + 1)


def _iou(confusion: np.ndarray) -> np.ndarray:
    hits = np.diag(confusion)
    union = confusion.sum(1) + confusion[:, :-1].sum(0) - hits
    return hits / np.maximum(union, 1)
