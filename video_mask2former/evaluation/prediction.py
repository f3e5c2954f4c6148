"""Running a model over a dataset: spread over processes, and taken up again where it stopped."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from video_mask2former import distributed
from video_mask2former.atomic import atomic_path
from video_mask2former.data.evaluation_videos import EvaluationVideo, EvaluationVideos
from video_mask2former.evaluation.instance_evaluation import ClassMapping
from video_mask2former.evaluation.result_files import video_of_image
from video_mask2former.inference import InferenceSettings, StageClock, VideoPredictor, for_classes, image_instances
from video_mask2former.inference.model_runner import ModelRunner
from video_mask2former.models import VideoMask2Former
from video_mask2former.results import CocoDetectionsWriter, write_youtube_vis
from video_mask2former.results.json_array_file import JsonArrayFile
from video_mask2former.structures import ClipOutput

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


@dataclass(frozen=True)
class DatasetModel:
    """A model and how it is run on a dataset.

    Attributes:
        model: In evaluation mode, on the device it shall run on.
        settings: How it is run.
        mapping: Its classes to those of the dataset.
    """

    model: VideoMask2Former
    settings: InferenceSettings
    mapping: ClassMapping

    def describe(self, dataset: str, **further: Any) -> dict[str, Any]:
        """What identifies predictions: the very weights, the settings and the dataset."""
        digest = hashlib.sha256()
        for name, tensor in self.model.state_dict().items():
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
        settings = {key: value for key, value in self.settings.describe().items() if key not in _NEUTRAL_SETTINGS}
        return {"weights": digest.hexdigest(), "settings": settings, "dataset": dataset, **further}


def predict_videos(model: DatasetModel, videos: EvaluationVideos, output: Path) -> Path:
    """Predict the tracks of every video and write ``results.json`` to ``output``.

    Every process predicts its share; the file is the same however many there are.
    """
    folder = PredictionFolder(output / "predictions", model.describe(str(videos.annotations.path), task="tracks"))
    predictor = VideoPredictor(model.model, model.settings)

    def predict(index: int) -> None:
        video = videos[index]
        prediction = model.mapping.apply(predictor.predict(_Frames(video)))
        named = replace(prediction, video_id=video.video_id)
        write_youtube_vis(folder.path(video.video_id), [named], videos.annotations.category_ids)

    return _predict_and_join(folder, videos, predict, output / "results.json")


def predict_images(model: DatasetModel, images: EvaluationVideos, output: Path) -> Path:
    """Predict the instances of every image and write ``results.json``, in the form of COCO, to ``output``."""
    folder = PredictionFolder(output / "predictions", model.describe(str(images.annotations.path), task="instances"))
    decode = image_decoder(model)
    settings = for_classes(model.settings, model.model.class_names, model.model.num_classes)

    def predict(index: int) -> None:
        image = images[index]
        frame = image_instances(decode(next(image.frames())), image.size, settings)
        prediction = model.mapping.apply(video_of_image(frame, image.video_id))
        category_ids, image_ids = images.annotations.category_ids, {0: image.video_id}
        with CocoDetectionsWriter(folder.path(image.video_id), category_ids, image_ids) as writer:
            writer.write(prediction.at_frame(0))

    return _predict_and_join(folder, images, predict, output / "results.json")


def image_decoder(model: DatasetModel) -> Callable[[np.ndarray], ClipOutput]:
    """A function from an RGB image ``(H, W, 3)`` to the model's output for it."""
    runner = ModelRunner(model.model, model.settings, StageClock())
    return lambda image: runner.decode(runner.encode([image], 1))


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
    # one bar is enough; None shows it on terminals only
    for index in tqdm(todo, desc="predict", disable=None if distributed.is_main_process() else True):
        predict(index)
    distributed.barrier()


def _predict_and_join(
    folder: PredictionFolder, videos: EvaluationVideos, predict: Callable[[int], None], path: Path
) -> Path:
    video_ids = [int(video_id) for video_id in videos.annotations.packed.video_ids]
    predict_missing(folder, video_ids, predict)
    if distributed.is_main_process():
        with JsonArrayFile(path) as array:
            for entry in folder.entries(video_ids):
                array.append(entry)
    distributed.barrier()
    return path


class _Frames:
    """The frames of a video with their number, each read when it is due."""

    def __init__(self, video: EvaluationVideo) -> None:
        self._video = video

    def __len__(self) -> int:
        return self._video.num_frames

    def __iter__(self) -> Iterator[np.ndarray]:
        return self._video.frames()
