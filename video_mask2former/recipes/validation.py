"""Evaluation while training: measures on the test datasets, shared among ranks, with pictures of some predictions."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import cv2
import numpy as np
from torch import nn

from video_mask2former import distributed
from video_mask2former.atomic import atomic_path
from video_mask2former.config import Config, DataConfig
from video_mask2former.data.evaluation_sets import locate_evaluation_set
from video_mask2former.data.evaluation_videos import EvaluationSet
from video_mask2former.engine.logging import picture_folder
from video_mask2former.evaluation.cases import Case, draw_case
from video_mask2former.evaluation.measurement import stuff_of
from video_mask2former.evaluation.prediction import DatasetPredictor, map_classes
from video_mask2former.models import Segmenter
from video_mask2former.progress import tracked
from video_mask2former.recipes.inference import build_settings
from video_mask2former.recipes.tasks import build_task
from video_mask2former.tasks import EvaluationOptions, Task, fitting_task
from video_mask2former.tasks.class_mapping import ClassMapping
from video_mask2former.visualization import MaskAnnotator

logger = logging.getLogger(__name__)

OPTIONS = EvaluationOptions()


@dataclass(frozen=True)
class MeasuredSet:
    """A dataset, what it is measured by, and how the classes of the model become its classes."""

    data: EvaluationSet
    task: Task
    mapping: ClassMapping


class Validation:
    """Maps a model and a step to metrics; called on every rank, each of which predicts its share of the videos.

    With several datasets, a metric is the mean over those where it is defined, and ``name/metric`` that of each.

    Args:
        datasets: What is measured, by name.
        config: The whole configuration.
        output: Folder of the run, where pictures go into a folder for each step.
        num_pictures: Videos of each dataset that are drawn, always the same.
    """

    def __init__(
        self,
        datasets: Mapping[str, MeasuredSet],
        config: Config,
        *,
        output: Path,
        num_pictures: int,
    ) -> None:
        self._datasets = dict(datasets)
        self._config = config
        self._output = output
        self._num_pictures = num_pictures

    @property
    def metric_names(self) -> tuple[str, ...]:
        """What is measured; the first is what tells the best model."""
        names = next(iter(self._datasets.values())).task.metric_names
        if len(self._datasets) == 1:
            return names
        return (*names, *(f"{dataset}/{name}" for dataset in self._datasets for name in names))

    def __call__(self, model: nn.Module, step: int) -> dict[str, float]:
        """Measure a model in evaluation mode."""
        model = cast(Segmenter, model)
        folder = picture_folder(self._output, step)
        figures = {name: self._measure(model, name, folder) for name in self._datasets}
        if len(figures) == 1:
            return next(iter(figures.values()))
        return mean_of_datasets(figures)

    def _measure(self, model: Segmenter, name: str, folder: Path) -> dict[str, float]:
        data, task, mapping = vars(self._datasets[name]).values()
        predictor = DatasetPredictor(model, build_settings(self._config), task, data, mapping)
        evaluator = task.evaluator(data, OPTIONS)
        drawn = set(np.linspace(0, len(data) - 1, min(self._num_pictures, len(data))).round().astype(int).tolist())
        own = range(distributed.rank(), len(data), distributed.world_size())
        for index in tracked(own, name, "video", is_shown=distributed.is_main_process()):
            video = data[index]
            prediction, ground_truth = predictor.predict(video), video.ground_truth()
            evaluator.process(prediction, ground_truth)
            if index in drawn:
                shown, truth = (task.drawn(instances, OPTIONS) for instances in (prediction, ground_truth))
                case = Case(name, 0.0, shown, truth, video.paths, stuff_of(task, data))
                _draw(folder / f"{name}_{video.video_id}.jpg", case, data)
        evaluator.merge(distributed.gather_objects(evaluator.state()))
        return evaluator.evaluate()


def build_validation(config: Config, output: Path, model: Segmenter) -> Validation | None:
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
        data = _find_videos(config.data, name)
        if not data.has_annotations:
            logger.warning(
                "the annotations of %s are hidden: training goes on without evaluating on it. "
                "video-mask2former data split makes a local split of a training set, such as ytvis_2019_local_val.",
                name,
            )
            continue
        if not len(data):
            raise ValueError(f"{data.path} has no videos to evaluate on. {_WITHOUT}")
        try:
            task = fitting_task(build_task(config), data)
        except ValueError as error:
            raise ValueError(f"{error} {_WITHOUT}") from None
        datasets[name] = MeasuredSet(data, task, map_classes(model, data))
    if not datasets:
        return None
    return Validation(
        dict(zip(short_names(list(datasets)), datasets.values(), strict=True)),
        config,
        output=output,
        num_pictures=config.training.sample_pictures,
    )


def mean_of_datasets(figures: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Each metric's mean over the datasets where it is defined (not negative), then those of each dataset."""
    means = {}
    for metric in next(iter(figures.values())):
        values = [own[metric] for own in figures.values() if own.get(metric, -1.0) >= 0]
        means[metric] = sum(values) / len(values) if values else -1.0
    return means | {f"{name}/{metric}": value for name, own in figures.items() for metric, value in own.items()}


def short_names(datasets: Sequence[str]) -> list[str]:
    """Names for metrics and files: one given by its paths has that of its annotation file, or numbered."""
    stems = [Path(name.rpartition("::")[2]).stem for name in datasets]
    numbers = [1 + stems[:index].count(stem) for index, stem in enumerate(stems)]
    return [stem if stems.count(stem) == 1 else f"{stem}_{number}" for stem, number in zip(stems, numbers, strict=True)]


_WITHOUT = "To train without it, set data.test to another dataset, or training.evaluate=false."


def _find_videos(config: DataConfig, name: str) -> EvaluationSet:
    try:
        data = locate_evaluation_set(name, config.root, may_be_hidden=True)
        if data.has_annotations and distributed.is_main_process():
            data.check_images()
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{error} {_WITHOUT}") from error
    return data


def _draw(path: Path, case: Case, data: EvaluationSet) -> None:
    picture = draw_case(case, data.class_names, MaskAnnotator(stuff_labels=case.stuff_labels).annotate)
    encoded = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))[1]
    with atomic_path(path) as temporary:
        temporary.write_bytes(encoded.tobytes())
