"""Evaluation in one call: a model on a dataset, or results that are on the disk."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from video_mask2former.build.dataset_prediction import predict_dataset
from video_mask2former.build.evaluation import EvaluationOptions
from video_mask2former.build.measurement import find_ground_truth, measure
from video_mask2former.evaluation import Report
from video_mask2former.inference import InferenceSettings
from video_mask2former.models import VideoMask2Former


def evaluate_model(
    model: VideoMask2Former,
    annotations: str | os.PathLike[str],
    images: str | os.PathLike[str],
    *,
    settings: InferenceSettings | None = None,
    output: str | os.PathLike[str] | None = None,
    is_class_agnostic: bool = False,
    min_score: float = 0.3,
) -> Report:
    """Run a model on a dataset and measure what it finds.

    ::

        report = vm2f.evaluate_model(model, "valid.json", "frames/")
        report.summary["AP"], report.per_class, report.groups["identity"]["HOTA"]

    Classes of the model and the dataset are matched by name.

    Args:
        model: In evaluation mode, on the device it shall run on.
        annotations: A file in the format of YouTube-VIS, COCO or COCO panoptic.
        images: Folder that its file names are relative to.
        settings: How the model is run; None is :meth:`InferenceSettings.published`, the protocol of published numbers.
        output: Folder that keeps the predictions and ``results.json``. A call that was interrupted goes on from what
            is there; another model or other settings are refused. None keeps nothing.
        is_class_agnostic: Compare masks whatever their class.
        min_score: Predictions below do not count for identities (HOTA, IDF1). AP takes all.

    Returns:
        The figures, as fractions; -1 where there is nothing to measure. ``report.write(path)`` makes a JSON file.

    Raises:
        FileNotFoundError: If the file, the folder or an image does not exist.
        ValueError: If the annotations are wrong or hidden, the model and the dataset have no class in common, or
            ``output`` holds other predictions.
    """
    truth = find_ground_truth(os.fspath(annotations), os.fspath(images))
    chosen = settings or InferenceSettings.published()
    with contextlib.nullcontext(output) if output is not None else tempfile.TemporaryDirectory() as folder:
        results = predict_dataset(model, chosen, truth, Path(folder), is_class_agnostic=is_class_agnostic)
        return measure(truth, results, EvaluationOptions(is_class_agnostic, min_score)).report


def evaluate_results(
    results: str | os.PathLike[str],
    annotations: str | os.PathLike[str],
    *,
    is_class_agnostic: bool = False,
    min_score: float = 0.3,
) -> Report:
    """Measure results that are on the disk.

    Args:
        results: ``results.json`` in the format of the annotations, or a zip that holds it.
        annotations: See :func:`evaluate_model`.
        is_class_agnostic: See :func:`evaluate_model`.
        min_score: See :func:`evaluate_model`.

    Raises:
        FileNotFoundError: If a file does not exist.
        ValueError: If the annotations are hidden, or the results are wrong or do not fit them.
    """
    truth = find_ground_truth(os.fspath(annotations), None)
    return measure(truth, Path(results), EvaluationOptions(is_class_agnostic, min_score)).report
