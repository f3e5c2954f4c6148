"""Panoptic and semantic segmentation: predictions of a model or from files, measured against annotations in files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from video_mask2former.evaluation.panoptic_files import PanopticFile
from video_mask2former.metrics import (
    LabelMap,
    PanopticQualityEvaluator,
    Report,
    SemanticIouEvaluator,
)

# lengths of the windows that the authors of VIPSeg average over
VPQ_WINDOWS = (1, 2, 4, 6)


def evaluate_panoptic(annotations: PanopticFile, predictions: PanopticFile) -> Report:
    """PQ of a result file; for videos over whole videos, and over windows of some frames besides (VPQ).

    Raises:
        FileNotFoundError: If a PNG is missing.
        ValueError: If a sample has no prediction, or something does not fit.
    """
    windows = (None, *VPQ_WINDOWS) if annotations.is_video else (None,)
    evaluators = {
        window: PanopticQualityEvaluator(annotations.class_names, annotations.is_thing, num_window_frames=window)
        for window in windows
    }
    keys = list(annotations.samples)
    for sample_id, key in enumerate(keys):
        truth = annotations.read(key, sample_id, annotations.category_ids)
        prediction = predictions.read(key, sample_id, annotations.category_ids)
        for evaluator in evaluators.values():
            evaluator.process(prediction, truth)
    whole = evaluators.pop(None)
    groups = {}
    if evaluators:
        figures = {f"{window} frames": evaluator.evaluate()["PQ"] for window, evaluator in evaluators.items()}
        groups["vpq"] = {**figures, "mean": sum(figures.values()) / len(figures)}
    kind = "per_video" if annotations.is_video else "per_image"
    samples = {kind: {keys[sample_id]: figure for sample_id, figure in whole.per_sample().items()}}
    return Report(whole.evaluate(), whole.per_class(), groups, samples)


@dataclass(frozen=True)
class SemanticFolder:
    """A folder of label maps: PNGs, possibly in subfolders, whose pixel values are classes; 255 is ignored.

    Attributes:
        folder: The folder.
        label_offset: What is taken off the values, 1 for files that count classes from 1; the value 0 is ignored then.
    """

    folder: Path
    label_offset: int = 0

    def names(self) -> list[str]:
        """The label maps, relative to the folder and without suffix, in order.

        Raises:
            FileNotFoundError: If there are none.
        """
        names = sorted(path.relative_to(self.folder).with_suffix("").as_posix() for path in self.folder.rglob("*.png"))
        if not names:
            raise FileNotFoundError(f"{self.folder} holds no PNG with labels.")
        return names

    def read(self, name: str, ignore_label: int) -> np.ndarray:
        """One label map, ``(H, W)`` int64."""
        path = self.folder / f"{name}.png"
        if not path.is_file():
            raise FileNotFoundError(f"no label map {path}; every annotated image needs one.")
        labels = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
        if labels is None or labels.ndim != 2:
            raise ValueError(f"{path} must be a PNG with one channel, whose values are classes.")
        shifted = labels.astype(np.int64) - self.label_offset
        return np.where((shifted < 0) | (labels == ignore_label), ignore_label, shifted)


def evaluate_semantic(
    annotations: SemanticFolder, predictions: SemanticFolder, class_names: Sequence[str], ignore_label: int = 255
) -> Report:
    """mIoU of a folder of label maps.

    Raises:
        FileNotFoundError: If a label map is missing.
        ValueError: If sizes differ, or a value is no class.
    """
    evaluator = SemanticIouEvaluator(class_names, ignore_label=ignore_label)
    names = annotations.names()
    for sample_id, name in enumerate(names):
        prediction, truth = predictions.read(name, ignore_label), annotations.read(name, ignore_label)
        try:
            evaluator.process(LabelMap(sample_id, prediction), LabelMap(sample_id, truth))
        except ValueError as error:
            raise ValueError(f"{name}.png: {error}") from error
    samples = {"per_image": {names[sample_id]: figure for sample_id, figure in evaluator.per_sample().items()}}
    return Report(evaluator.evaluate(), evaluator.per_class(), samples=samples)
