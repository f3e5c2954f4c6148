"""Running a model over a dataset: spread over processes, and taken up again where it stopped."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from video_mask2former import distributed
from video_mask2former.atomic import atomic_path
from video_mask2former.config import InferenceSettings
from video_mask2former.data.evaluation_videos import EvaluationSet, EvaluationVideo
from video_mask2former.inference import SegmentationModel, VideoPredictor
from video_mask2former.progress import tracked
from video_mask2former.structures import VideoInstances
from video_mask2former.tasks import Task
from video_mask2former.tasks.class_mapping import ClassMapping

logger = logging.getLogger(__name__)

_DESCRIPTION = "made_by.json"
# settings that change memory and speed, not results; datasets are images, which no video decoder reads
_NEUTRAL_SETTINGS = ("chunk_size", "feature_device", "video_backend")


class PredictionFolder:
    """A folder with one file of predictions for each sample; a sample that has its file is done.

    Args:
        folder: Made if it is not there.
        description: What the predictions come from. A folder that was begun with another description is refused.

    Raises:
        ValueError: If the folder holds predictions made otherwise.
    """

    def __init__(self, folder: Path, description: dict[str, Any]) -> None:
        self.folder = folder
        problem = None
        if distributed.is_main_process():
            problem = self._begin(json.dumps(description, indent=1, sort_keys=True))
        problem = distributed.broadcast_object(problem)
        if problem is not None:
            raise ValueError(problem)

    def path(self, sample_id: int) -> Path:
        """File of a sample; it appears when the sample is done."""
        return self.folder / f"{sample_id}.json"

    def entries(self, sample_ids: Iterable[int]) -> Iterator[dict[str, Any]]:
        """What is in the files of some samples, each of which is a JSON array."""
        for sample_id in sample_ids:
            yield from json.loads(self.path(sample_id).read_bytes())

    def _begin(self, description: str) -> str | None:
        path = self.folder / _DESCRIPTION
        if not path.is_file():
            with atomic_path(path) as temporary:
                temporary.write_text(description, encoding="utf-8")
        elif path.read_text(encoding="utf-8") != description:
            return (
                f"{self.folder} holds predictions of another model, other settings or another dataset (see {path}). "
                "Choose another --output, or delete the folder."
            )
        return None


class DatasetPredictor:
    """A model with everything that running it on a dataset takes.

    Args:
        model: In evaluation mode, on the device it shall run on.
        settings: How it is run.
        task: What is made of its masks; it must fit the dataset.
        data: The dataset; only its images, sizes and classes are looked at.
        mapping: Classes of the model to those of the dataset.
    """

    def __init__(
        self,
        model: SegmentationModel,
        settings: InferenceSettings,
        task: Task,
        data: EvaluationSet,
        mapping: ClassMapping,
    ) -> None:
        self._model, self._settings, self._task, self._data = model, settings, task, data
        self._mapping = mapping
        is_thing = [label is not None and data.is_thing[label] for label in mapping.labels]
        self._predictor = VideoPredictor(model, settings, task, is_thing=is_thing)

    def predict(self, video: EvaluationVideo) -> VideoInstances:
        """The answer for one video, with the labels of the dataset."""
        return replace(self._mapping.apply(self._predictor.predict(video)), video_id=video.video_id)

    def describe(self) -> dict[str, Any]:
        """What identifies predictions: the very weights, the settings, the task and the dataset."""
        settings = {key: value for key, value in self._settings.describe().items() if key not in _NEUTRAL_SETTINGS}
        return {
            "weights": _digest(self._model),
            "settings": settings,
            "dataset": str(self._data.path),
            "task": self._task.describe(),
        }


def _digest(model: SegmentationModel) -> str:
    """What tells a model from others: its weights, or what it says itself where they are out of sight."""
    if not isinstance(model, torch.nn.Module):
        own: Callable[[], str] | None = getattr(model, "digest", None)
        return type(model).__qualname__ if own is None else own()
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def predict_dataset(
    model: SegmentationModel,
    settings: InferenceSettings,
    task: Task,
    data: EvaluationSet,
    output: Path,
    *,
    is_class_agnostic: bool = False,
) -> Path:
    """Predict every video of a dataset, and leave results in a folder; what is there already is not predicted again.

    Every process predicts its share; the files are the same however many there are.

    Args:
        model: In evaluation mode, on the device it shall run on.
        settings: How it is run.
        task: What is made of its masks.
        data: The dataset; only its images, sizes and classes are looked at.
        output: Folder for the results.
        is_class_agnostic: Keep predictions of classes that the dataset does not have.

    Returns:
        The file or folder of results.

    Raises:
        FileNotFoundError: If an image is missing.
        ValueError: If the folder of images is unknown, or the model and the dataset have no class in common.
    """
    if data.image_folder is None:
        raise ValueError("predicting needs the images: give their folder with --images.")
    mapping = map_classes(model, data, is_class_agnostic=is_class_agnostic)
    if distributed.is_main_process():
        data.check_images()
    predictor = DatasetPredictor(model, settings, task, data, mapping)
    folder = PredictionFolder(output / "predictions", predictor.describe())
    video_ids = [video.video_id for video in data]

    def predict(index: int) -> None:
        video = data[index]
        task.write(predictor.predict(video), video, data, folder.path(video.video_id))

    predict_missing(folder, video_ids, predict)
    results = task.results_path(output)
    if distributed.is_main_process():
        task.join(folder.entries(video_ids), output)
    distributed.barrier()
    return results


def map_classes(model: SegmentationModel, data: EvaluationSet, *, is_class_agnostic: bool = False) -> ClassMapping:
    """Classes of a model to those of a dataset; the log names those that the dataset does not have.

    Raises:
        ValueError: If they have no class in common.
    """
    mapping = ClassMapping(model.class_names, model.num_classes, data.class_names, is_class_agnostic=is_class_agnostic)
    if mapping.unknown:
        logger.warning(
            "%d of the model's %d classes are not in %s, and what is found of them is left out: %s",
            len(mapping.unknown),
            model.num_classes,
            data.path,
            ", ".join(mapping.unknown),
        )
    return mapping


def predict_missing(folder: PredictionFolder, sample_ids: Sequence[int], predict: Callable[[int], None]) -> None:
    """Predict this process's share of what is not done yet, and wait for the others.

    Args:
        folder: Where ``predict`` leaves a file for each sample.
        sample_ids: Ids of all samples.
        predict: Called with positions in ``sample_ids``.
    """
    own = range(distributed.rank(), len(sample_ids), distributed.world_size())
    todo = [index for index in own if not folder.path(sample_ids[index]).is_file()]
    if len(todo) < len(own):
        logger.info("%d of %d predictions are there already", len(own) - len(todo), len(own))
    for index in tracked(todo, "predict", "sample", is_shown=distributed.is_main_process()):  # one bar is enough
        predict(index)
    distributed.barrier()
