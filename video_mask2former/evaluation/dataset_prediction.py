"""Running a model over a dataset of any kind."""

from __future__ import annotations

import logging
from pathlib import Path

from video_mask2former import distributed
from video_mask2former.data.evaluation_videos import EvaluationVideos
from video_mask2former.data.missing_images import check_images
from video_mask2former.evaluation.instance_evaluation import ClassMapping
from video_mask2former.evaluation.measurement import IGNORE_LABEL, GroundTruth
from video_mask2former.evaluation.pixel_prediction import predict_panoptic, predict_semantic
from video_mask2former.evaluation.prediction import DatasetModel, predict_images, predict_videos
from video_mask2former.inference import InferenceSettings
from video_mask2former.models import VideoMask2Former

logger = logging.getLogger(__name__)


def predict_dataset(
    model: VideoMask2Former,
    settings: InferenceSettings,
    truth: GroundTruth,
    output: Path,
    *,
    is_class_agnostic: bool = False,
    object_mask_threshold: float = 0.8,
    overlap_threshold: float = 0.8,
) -> Path:
    """Predict what a dataset annotates, and leave results in a folder; what is there already is not predicted again.

    Args:
        model: In evaluation mode, on the device it shall run on.
        settings: How it is run.
        truth: The dataset; only its images, sizes and classes are looked at.
        output: Folder for the results.
        is_class_agnostic: Keep predictions of classes that the dataset does not have.
        object_mask_threshold: Queries below this class score take no part in a panoptic merge.
        overlap_threshold: Share of its own mask that a segment must keep in a panoptic merge.

    Returns:
        The file or folder of results.

    Raises:
        FileNotFoundError: If an image is missing.
        ValueError: If the folder of images is unknown, or the model and the dataset have no class in common.
    """
    if truth.images is None:
        raise ValueError("predicting needs the images: give their folder with --images.")
    mapping = ClassMapping(model.class_names, model.num_classes, truth.class_names, is_class_agnostic=is_class_agnostic)
    if mapping.unknown:
        logger.warning(
            "%d of the model's %d classes are not in the dataset; what is found of them is left out: %s",
            len(mapping.unknown),
            model.num_classes,
            ", ".join(mapping.unknown),
        )
    runnable = DatasetModel(model, settings, mapping)
    if truth.semantic is not None:
        return predict_semantic(runnable, truth.semantic, truth.images, output, IGNORE_LABEL).folder
    if truth.panoptic is not None:
        thresholds = {"object_mask_threshold": object_mask_threshold, "overlap_threshold": overlap_threshold}
        return predict_panoptic(runnable, truth.panoptic, truth.images, output, **thresholds).path
    assert truth.instances is not None
    if distributed.is_main_process():
        check_images(truth.instances, truth.images, most_missing=0.0)
    videos = EvaluationVideos(truth.instances, truth.images)
    predict = predict_videos if truth.kind == "videos" else predict_images
    return predict(runnable, videos, output)
