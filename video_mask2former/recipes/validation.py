"""Evaluation while training: measures on the test datasets, shared among ranks, with pictures of some predictions."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import cv2
import numpy as np
from torch import nn
from tqdm import tqdm

from video_mask2former import distributed
from video_mask2former.atomic import atomic_path
from video_mask2former.config import Config, DataConfig, InferenceSettings
from video_mask2former.data.evaluation_videos import EvaluationVideo, EvaluationVideos
from video_mask2former.data.missing_images import check_images
from video_mask2former.evaluation.evaluation_page import Case, draw_case
from video_mask2former.evaluation.instance_evaluation import ClassMapping
from video_mask2former.evaluation.prediction import DatasetModel
from video_mask2former.models import VideoMask2Former
from video_mask2former.recipes.data import build_evaluation_videos
from video_mask2former.recipes.inference import build_settings
from video_mask2former.recipes.validation_tasks import METRICS, start_task
from video_mask2former.structures import VideoInstances
from video_mask2former.visualization import MaskAnnotator

logger = logging.getLogger(__name__)

DRAWN_SCORE = 0.3  # predictions below it are measured, but not drawn


class Validation:
    """Maps a model and a step to metrics; called on every rank, each of which predicts its share of the videos.

    With several datasets, a metric is the mean over those where it is defined, and ``name/metric`` that of each.

    Args:
        datasets: The annotated videos by name, and how the classes of the model become theirs.
        config: How the model is run.
        picture_folder: Where pictures go, in a folder for each step.
        num_pictures: Videos of each dataset that are drawn, always the same.
    """

    def __init__(
        self,
        datasets: Mapping[str, tuple[EvaluationVideos, ClassMapping]],
        config: InferenceSettings,
        *,
        picture_folder: Path,
        num_pictures: int,
    ) -> None:
        self._datasets = dict(datasets)
        self._config = config
        self._picture_folder = picture_folder
        self._num_pictures = num_pictures

    @property
    def metric_names(self) -> tuple[str, ...]:
        """What is measured; the first is what tells the best model."""
        names = METRICS[self._config.task]
        if len(self._datasets) == 1:
            return names
        return (*names, *(f"{dataset}/{name}" for dataset in self._datasets for name in names))

    def __call__(self, model: nn.Module, step: int) -> dict[str, float]:
        """Measure a model in evaluation mode."""
        model = cast(VideoMask2Former, model)
        folder = self._picture_folder / f"step_{step:07d}"
        figures = {name: self._measure(model, name, folder) for name in self._datasets}
        if len(figures) == 1:
            return next(iter(figures.values()))
        return mean_of_datasets(figures)

    def _measure(self, model: VideoMask2Former, name: str, folder: Path) -> dict[str, float]:
        videos, mapping = self._datasets[name]
        task = start_task(self._config, DatasetModel(model, build_settings(self._config), mapping), videos)
        drawn = set(np.linspace(0, len(videos) - 1, min(self._num_pictures, len(videos))).round().astype(int).tolist())
        own = range(distributed.rank(), len(videos), distributed.world_size())
        for index in tqdm(own, desc=name, unit="video", leave=False, disable=_bar_is_disabled()):
            prediction, ground_truth = task.process(videos[index])
            if index in drawn:
                _draw(folder / f"{name}_{videos[index].video_id}.jpg", videos[index], prediction, ground_truth)
        task.evaluator.merge(distributed.gather_objects(task.evaluator.state()))
        return task.evaluator.evaluate()


def build_validation(config: Config, output: Path, model: VideoMask2Former) -> Validation | None:
    """The evaluation on ``data.test``, None (which the log tells) where there is nothing to measure.

    What could go wrong with it is found here, before hours of training.

    Args:
        config: The whole configuration.
        output: Folder of the run.
        model: What will be measured; only its classes are looked at.

    Raises:
        FileNotFoundError: If a dataset or an image of it is not there.
        ValueError: If a dataset is wrong, empty, or has no class of the model.
    """
    datasets = {}
    for name in config.data.test:
        videos = _find_videos(config.data, name)
        if not videos.annotations.has_annotations:
            logger.warning(
                "the annotations of %s are hidden: training goes on without evaluating on it. "
                "datasets/ytvis/make_split.py makes a local split of a training set, such as ytvis_2019_local_val.",
                name,
            )
            continue
        if not len(videos):
            raise ValueError(f"{videos.annotations.path} has no videos to evaluate on. {_WITHOUT}")
        if config.inference.task != "instance" and not videos.annotations.is_of_images:
            raise ValueError(f"{config.inference.task} models are measured on images, {name} has videos. {_WITHOUT}")
        datasets[name] = (videos, _map_classes(model, videos, name))
    if not datasets:
        return None
    return Validation(
        dict(zip(short_names(list(datasets)), datasets.values(), strict=True)),
        config.inference,
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


def short_names(datasets: Sequence[str]) -> list[str]:
    """Names for metrics and files: one given by its paths has that of its annotation file, or numbered."""
    stems = [Path(name.rpartition("::")[2]).stem for name in datasets]
    numbers = [1 + stems[:index].count(stem) for index, stem in enumerate(stems)]
    return [stem if stems.count(stem) == 1 else f"{stem}_{number}" for stem, number in zip(stems, numbers, strict=True)]


_WITHOUT = "To train without it, set data.test to another dataset, or training.evaluate=false."


def _find_videos(config: DataConfig, name: str) -> EvaluationVideos:
    try:
        videos = build_evaluation_videos(config, name)
        if videos.annotations.has_annotations and distributed.is_main_process():
            check_images(videos.annotations, videos.image_folder, most_missing=0.0)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{error} {_WITHOUT}") from error
    return videos


def _map_classes(model: VideoMask2Former, videos: EvaluationVideos, name: str) -> ClassMapping:
    mapping = ClassMapping(model.class_names, model.num_classes, videos.annotations.class_names)
    if mapping.unknown:
        logger.warning(
            "%d of the model's %d classes are not in %s, and what is found of them is left out: %s",
            len(mapping.unknown),
            model.num_classes,
            name,
            ", ".join(mapping.unknown),
        )
    return mapping


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
