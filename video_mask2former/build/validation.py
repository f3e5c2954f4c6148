"""Evaluation while training: video AP on the test datasets, shared among ranks, with pictures of some predictions."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import cast

import cv2
import numpy as np
from torch import nn
from tqdm import tqdm

from video_mask2former import distributed
from video_mask2former.atomic import atomic_path
from video_mask2former.build.data import build_evaluation_videos
from video_mask2former.build.evaluation import ClassMapping, ImageEvaluation, VideoEvaluation
from video_mask2former.build.evaluation_page import Case, draw_case
from video_mask2former.build.inference import build_settings
from video_mask2former.build.prediction import DatasetModel, image_decoder
from video_mask2former.build.result_files import video_of_image
from video_mask2former.config import Config
from video_mask2former.data.evaluation_videos import EvaluationVideo, EvaluationVideos
from video_mask2former.inference import InferenceSettings, VideoPredictor, image_instances
from video_mask2former.models import VideoMask2Former
from video_mask2former.structures import VideoInstances
from video_mask2former.visualization import MaskAnnotator

logger = logging.getLogger(__name__)

Predict = Callable[[EvaluationVideo], VideoInstances]

DRAWN_SCORE = 0.3  # predictions below it are measured, but not drawn


class Validation:
    """Maps a model and a step to metrics; called on every rank, each of which predicts its share of the videos.

    With several datasets, a metric is the mean over those where it is defined, and ``name/metric`` that of each.

    Args:
        datasets: The annotated videos by name.
        settings: How the model is run.
        picture_folder: Where pictures go, in a folder for each step.
        num_pictures: Videos of each dataset that are drawn, always the same.
    """

    def __init__(
        self,
        datasets: Mapping[str, EvaluationVideos],
        settings: InferenceSettings,
        *,
        picture_folder: Path,
        num_pictures: int,
    ) -> None:
        self._datasets = dict(datasets)
        self._settings = settings
        self._picture_folder = picture_folder
        self._num_pictures = num_pictures

    def __call__(self, model: nn.Module, step: int) -> dict[str, float]:
        """Measure a model in evaluation mode."""
        model = cast(VideoMask2Former, model)
        folder = self._picture_folder / f"step_{step:07d}"
        figures = {name: self._measure(model, name, folder) for name in self._datasets}
        if len(figures) == 1:
            return next(iter(figures.values()))
        return mean_of_datasets(figures)

    def _measure(self, model: VideoMask2Former, name: str, folder: Path) -> dict[str, float]:
        videos = self._datasets[name]
        class_names = videos.annotations.class_names
        are_images = all(videos.annotations.num_frames(index) == 1 for index in range(len(videos)))
        evaluation = ImageEvaluation(class_names) if are_images else VideoEvaluation(class_names)
        mapping = ClassMapping(model.class_names, model.num_classes, class_names)
        predict = _image_prediction if are_images else _video_prediction
        predict_one = predict(DatasetModel(model, self._settings, mapping))
        drawn = set(np.linspace(0, len(videos) - 1, min(self._num_pictures, len(videos))).round().astype(int).tolist())
        own = range(distributed.rank(), len(videos), distributed.world_size())
        for index in tqdm(own, desc=name, unit="video", leave=False, disable=_bar_is_disabled()):
            prediction, ground_truth = predict_one(videos[index]), videos[index].ground_truth()
            evaluation.process(prediction, ground_truth)
            if index in drawn:
                _draw(folder / f"{name}_{videos[index].video_id}.jpg", videos[index], prediction, ground_truth)
        evaluation.merge(distributed.gather_objects(evaluation.state()))
        return evaluation.evaluate()


def build_validation(config: Config, output: Path) -> Validation | None:
    """The evaluation on ``data.test``, None (which the log tells) where there is nothing to measure.

    Raises:
        FileNotFoundError: If a dataset is not there.
        ValueError: If a dataset is wrong.
    """
    if config.inference.task != "instance":
        logger.warning(
            "training goes on without evaluation: %s models are measured by video-mask2former evaluate.",
            config.inference.task,
        )
        return None
    datasets = {}
    for name in config.data.test:
        try:
            videos = build_evaluation_videos(config.data, name)
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f"{error} To train without it, set data.test to another dataset, or training.evaluate=false."
            ) from error
        if not videos.annotations.has_annotations:
            logger.warning(
                "the annotations of %s are hidden: training goes on without evaluating on it. "
                "datasets/ytvis/make_split.py makes a local split of a training set, such as ytvis_2019_local_val.",
                name,
            )
            continue
        datasets[name] = videos
    if not datasets:
        return None
    return Validation(
        dict(zip(short_names(list(datasets)), datasets.values(), strict=True)),
        build_settings(config.inference),
        picture_folder=output / "pictures",
        num_pictures=config.training.sample_pictures,
    )


def mean_of_datasets(figures: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Each metric's mean over the datasets where it is defined (not negative), then those of each dataset."""
    means = {}
    for metric in next(iter(figures.values())):
        values = [of_dataset[metric] for of_dataset in figures.values() if of_dataset[metric] >= 0]
        means[metric] = sum(values) / len(values) if values else -1.0
    return means | {f"{name}/{metric}": value for name, own in figures.items() for metric, value in own.items()}


def _video_prediction(model: DatasetModel) -> Predict:
    predictor = VideoPredictor(model.model, model.settings)

    def predict(video: EvaluationVideo) -> VideoInstances:
        prediction = model.mapping.apply(predictor.predict(video.frames()))
        return dataclasses.replace(prediction, video_id=video.video_id)

    return predict


def _image_prediction(model: DatasetModel) -> Predict:
    decode = image_decoder(model)
    rules = model.settings.selection_rules(tuple(model.model.class_names), model.model.num_classes)

    def predict(image: EvaluationVideo) -> VideoInstances:
        frame = image_instances(decode(next(image.frames())), image.size, rules)
        return model.mapping.apply(video_of_image(frame, image.video_id))

    return predict


def short_names(datasets: Sequence[str]) -> list[str]:
    """Names for metrics and files: one given by its paths has that of its annotation file, or numbered."""
    stems = [Path(name.rpartition("::")[2]).stem for name in datasets]
    numbers = [1 + stems[:index].count(stem) for index, stem in enumerate(stems)]
    return [stem if stems.count(stem) == 1 else f"{stem}_{number}" for stem, number in zip(stems, numbers, strict=True)]


def _draw(path: Path, video: EvaluationVideo, prediction: VideoInstances, ground_truth: VideoInstances) -> None:
    tracks = tuple(track for track in prediction.tracks if track.score >= DRAWN_SCORE)
    shown = dataclasses.replace(prediction, tracks=tracks)
    case = Case(path.stem, 0.0, shown, ground_truth, video.paths)
    picture = draw_case(case, video.class_names, MaskAnnotator().annotate)
    encoded = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))[1]
    with atomic_path(path) as temporary:
        temporary.write_bytes(encoded.tobytes())


def _bar_is_disabled() -> bool | None:
    return None if distributed.is_main_process() else True
