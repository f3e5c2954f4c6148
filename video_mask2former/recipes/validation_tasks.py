"""What is measured while training: instances of videos or images, panoptic or semantic segmentation of images."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal, Protocol

import numpy as np

from video_mask2former.config import InferenceSettings
from video_mask2former.data.evaluation_videos import EvaluationVideo, EvaluationVideos
from video_mask2former.evaluation.instance_evaluation import ImageEvaluation, VideoEvaluation
from video_mask2former.evaluation.prediction import DatasetModel, image_decoder
from video_mask2former.evaluation.result_files import annotated_areas, video_of_image
from video_mask2former.evaluation.segment_maps import (
    instances_of_labels,
    instances_of_panoptic,
    label_map_of,
    panoptic_map_of,
    predicted_panoptic_map,
)
from video_mask2former.inference import VideoPredictor, for_classes, image_instances, image_panoptic, image_semantic
from video_mask2former.metrics import Evaluator, LabelMap, PanopticQualityEvaluator, SemanticIouEvaluator
from video_mask2former.metrics.ytvis_ap import SUMMARY_KEYS
from video_mask2former.structures import VideoInstances

METRICS: dict[Literal["instance", "panoptic", "semantic"], tuple[str, ...]] = {
    "instance": SUMMARY_KEYS,
    "panoptic": tuple(f"{name}{part}" for part in ("", "_things", "_stuff") for name in ("PQ", "SQ", "RQ")),
    "semantic": ("mIoU", "fwIoU", "mAcc", "pAcc"),
}
"""What each task is measured by, that which tells the best model first."""

_IGNORED = -1


class Task(Protocol):
    """Predicts the videos of a dataset and measures the predictions."""

    @property
    def evaluator(self) -> Evaluator[Any]:
        """What has been measured so far."""

    def process(self, video: EvaluationVideo) -> tuple[VideoInstances, VideoInstances]:
        """Predict and measure one video or image; returns prediction and ground truth as they are drawn."""


def start_task(config: InferenceSettings, model: DatasetModel, videos: EvaluationVideos) -> Task:
    """The measuring of a dataset by the task of a configuration."""
    if config.task == "panoptic":
        thresholds = {
            "object_mask_threshold": config.object_mask_threshold,
            "overlap_threshold": config.overlap_threshold,
        }
        return _PanopticTask(model, videos, thresholds)
    if config.task == "semantic":
        return _SemanticTask(model, videos)
    return _ImageTask(model, videos) if videos.annotations.is_of_images else _VideoTask(model, videos)


class _VideoTask:
    def __init__(self, model: DatasetModel, videos: EvaluationVideos) -> None:
        self.evaluator = VideoEvaluation(videos.annotations.class_names)
        self._mapping = model.mapping
        self._predictor = VideoPredictor(model.model, model.settings)

    def process(self, video: EvaluationVideo) -> tuple[VideoInstances, VideoInstances]:
        prediction = self._mapping.apply(self._predictor.predict(video.frames()))
        prediction, truth = dataclasses.replace(prediction, video_id=video.video_id), video.ground_truth()
        self.evaluator.process(prediction, truth)
        return prediction, truth


class _ImageTask:
    def __init__(self, model: DatasetModel, images: EvaluationVideos) -> None:
        annotations = images.annotations
        self.evaluator = ImageEvaluation(annotations.class_names, annotated_areas(annotations.path))
        self._mapping = model.mapping
        self._decode = image_decoder(model)
        self._settings = for_classes(model.settings, model.model.class_names, model.model.num_classes)

    def process(self, image: EvaluationVideo) -> tuple[VideoInstances, VideoInstances]:
        frame = image_instances(self._decode(next(image.frames())), image.size, self._settings)
        prediction, truth = self._mapping.apply(video_of_image(frame, image.video_id)), image.ground_truth()
        self.evaluator.process(prediction, truth)
        return prediction, truth


class _PanopticTask:
    """Ground truth are the segments of an instances file, stuff included, as ``convert_segments.py`` writes it."""

    def __init__(self, model: DatasetModel, images: EvaluationVideos, thresholds: dict[str, Any]) -> None:
        annotations = images.annotations
        self.evaluator = PanopticQualityEvaluator(annotations.class_names, annotations.is_thing)
        self._mapping = model.mapping
        self._decode = image_decoder(model)
        self._thresholds = thresholds
        self._things = [
            label
            for label, target in enumerate(model.mapping.labels)
            if target is not None and annotations.is_thing[target]
        ]

    def process(self, image: EvaluationVideo) -> tuple[VideoInstances, VideoInstances]:
        output = self._decode(next(image.frames()))
        segmentation = image_panoptic(output, image.size, self._things, **self._thresholds)
        prediction = predicted_panoptic_map(segmentation, self._mapping, image.video_id)
        truth = image.ground_truth()
        self.evaluator.process(prediction, panoptic_map_of(truth))
        return instances_of_panoptic(prediction), truth


class _SemanticTask:
    """Ground truth are the classes of an instances file; pixels without an instance do not count."""

    def __init__(self, model: DatasetModel, images: EvaluationVideos) -> None:
        class_names = images.annotations.class_names
        self.evaluator = SemanticIouEvaluator(class_names, ignore_label=_IGNORED)
        self._num_classes = len(class_names)
        self._decode = image_decoder(model)
        self._labels = np.array([_IGNORED if label is None else label for label in model.mapping.labels])

    def process(self, image: EvaluationVideo) -> tuple[VideoInstances, VideoInstances]:
        scores = image_semantic(self._decode(next(image.frames())), image.size)
        prediction = LabelMap(image.video_id, self._labels[scores.argmax(0).cpu().numpy()][None])
        truth = image.ground_truth()
        self.evaluator.process(prediction, label_map_of(truth, _IGNORED))
        return instances_of_labels(prediction, self._num_classes), truth
