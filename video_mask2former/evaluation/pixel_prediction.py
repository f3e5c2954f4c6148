"""Running an image model over a dataset for panoptic and semantic segmentation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from video_mask2former import distributed
from video_mask2former.atomic import atomic_path
from video_mask2former.data.image_files import read_image
from video_mask2former.evaluation.panoptic_files import PanopticFile, load_panoptic, write_segment_ids
from video_mask2former.evaluation.pixel_cases import image_path
from video_mask2former.evaluation.pixel_evaluation import SemanticFolder
from video_mask2former.evaluation.prediction import DatasetModel, PredictionFolder, image_decoder, predict_missing
from video_mask2former.evaluation.segment_maps import predicted_panoptic_map
from video_mask2former.inference import image_panoptic, image_semantic


def predict_panoptic(
    model: DatasetModel,
    annotations: PanopticFile,
    images: Path,
    output: Path,
    *,
    object_mask_threshold: float,
    overlap_threshold: float,
) -> PanopticFile:
    """Predict every image of a panoptic dataset; writes ``results.json`` and the PNGs beside it in ``results/``.

    Raises:
        FileNotFoundError: If an image is missing.
        ValueError: If the dataset is one of videos.
    """
    if annotations.is_video:
        raise ValueError(
            f"{annotations.path} annotates videos, and panoptic prediction is for images. Measure results made "
            "elsewhere with --results."
        )
    thresholds: dict[str, Any] = {
        "object_mask_threshold": object_mask_threshold,
        "overlap_threshold": overlap_threshold,
    }
    description = model.describe(str(annotations.path), task="panoptic", **thresholds)
    folder = PredictionFolder(output / "predictions", description)
    decode = image_decoder(model)
    samples = list(annotations.samples.values())
    things = [
        label
        for label, target in enumerate(model.mapping.labels)
        if target is not None and annotations.is_thing[target]
    ]

    def predict(index: int) -> None:
        [frame] = samples[index].frames
        image = read_image(images / frame.image_path)
        segmentation = image_panoptic(decode(image), _size(image), things, **thresholds)
        prediction = predicted_panoptic_map(segmentation, model.mapping, index)
        name = f"{Path(frame.file_name).stem}.png"
        write_segment_ids(output / "results" / name, prediction.segment_ids[0])
        areas = {segment.segment_id: segment.area for segment in segmentation.segments}
        segments = [
            {"id": segment_id, "category_id": annotations.category_ids[label], "area": areas[segment_id]}
            for segment_id, label in prediction.labels.items()
        ]
        entry = {"image_id": samples[index].id, "file_name": name, "segments_info": segments}
        with atomic_path(folder.path(index)) as temporary:
            temporary.write_text(json.dumps([entry]), encoding="utf-8")

    predict_missing(folder, range(len(samples)), predict)
    path = output / "results.json"
    if distributed.is_main_process():
        entries = list(folder.entries(range(len(samples))))
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps({"annotations": entries}), encoding="utf-8")
    distributed.barrier()
    return load_panoptic(path)


def predict_semantic(
    model: DatasetModel, annotations: SemanticFolder, images: Path, output: Path, ignore_label: int = 255
) -> SemanticFolder:
    """Predict every annotated image; writes label maps to ``results/``, each pixel the class of the highest score.

    Raises:
        FileNotFoundError: If an image is missing.
    """
    folder = PredictionFolder(output / "predictions", model.describe(str(annotations.folder), task="semantic"))
    decode = image_decoder(model)
    names = annotations.names()
    target = np.array([ignore_label if label is None else label for label in model.mapping.labels])
    kind = np.uint8 if target.max() < 256 else np.uint16

    def predict(index: int) -> None:
        image = read_image(image_path(images, names[index]))
        labels = image_semantic(decode(image), _size(image)).argmax(0).cpu().numpy()
        with atomic_path(output / "results" / f"{names[index]}.png") as temporary:
            temporary.write_bytes(cv2.imencode(".png", target[labels].astype(kind))[1].tobytes())
        with atomic_path(folder.path(index)) as temporary:
            temporary.write_text("[]", encoding="utf-8")

    predict_missing(folder, range(len(names)), predict)
    return SemanticFolder(output / "results")


def _size(image: np.ndarray) -> tuple[int, int]:
    return image.shape[0], image.shape[1]
