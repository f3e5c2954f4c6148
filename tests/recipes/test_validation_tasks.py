"""Measuring while training gives what the evaluate command gives for the same predictions, for every task."""

from __future__ import annotations

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from video_mask2former.config import apply_overrides
from video_mask2former.data.annotations import load_annotations
from video_mask2former.data.evaluation_sets import open_evaluation_set
from video_mask2former.data.evaluation_videos import EvaluationVideos
from video_mask2former.data.panoptic_files import write_segment_ids
from video_mask2former.data.preparation.convert_segment_maps import convert_coco_panoptic
from video_mask2former.evaluation.measurement import measure
from video_mask2former.evaluation.prediction import DatasetPredictor, map_classes, predict_dataset
from video_mask2former.inference import PanopticSegmentation
from video_mask2former.recipes.inference import build_settings
from video_mask2former.recipes.model import build_model
from video_mask2former.recipes.tasks import build_task
from video_mask2former.tasks import EvaluationOptions, fitting_task
from video_mask2former.tasks import panoptic as panoptic_module
from video_mask2former.tasks import semantic as semantic_module
from video_mask2former.tasks.postprocess import PanopticSegment

SIZE = (24, 32)
CATEGORIES = [
    {"id": 4, "name": "cat", "isthing": 1},
    {"id": 9, "name": "grass", "isthing": 0},
    {"id": 12, "name": "dog", "isthing": 1},
]


def label_rows(index: int) -> np.ndarray:
    """Class of each pixel of image ``index``: cat, dog and grass in bands, and nothing above them."""
    labels = np.full(SIZE, 255, np.uint8)
    for label, (start, stop) in {0: (3, 9), 2: (9, 14), 1: (14, 22 + index)}.items():
        labels[start:stop] = label
    return labels


@pytest.fixture
def images(tmp_path):
    """Two images with panoptic annotations, label maps, and the segments of both as instances."""
    entries = []
    for index in range(2):
        labels = label_rows(index)
        ids = np.where(labels == 255, 0, labels.astype(np.int64) + 70_000)
        write_segment_ids(tmp_path / "panoptic" / f"{index}.png", ids)
        (tmp_path / "labels").mkdir(exist_ok=True)
        (tmp_path / "images").mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / "labels" / f"{index}.png"), labels)
        cv2.imwrite(str(tmp_path / "images" / f"{index}.jpg"), np.full((*SIZE, 3), 60 + index, np.uint8))
        segments = [{"id": 70_000 + label, "category_id": CATEGORIES[label]["id"], "iscrowd": 0} for label in range(3)]
        entries.append({"image_id": index + 1, "file_name": f"{index}.png", "segments_info": segments})
    media = [{"id": i + 1, "file_name": f"{i}.jpg", "height": SIZE[0], "width": SIZE[1]} for i in range(2)]
    document = {"images": media, "annotations": entries, "categories": CATEGORIES}
    (tmp_path / "panoptic.json").write_text(json.dumps(document))
    convert_coco_panoptic(tmp_path / "panoptic.json", tmp_path / "panoptic", tmp_path / "segments.json")
    segments = json.loads((tmp_path / "segments.json").read_text())
    for segment in segments["annotations"]:
        segment["area"] = 5000.0  # medium, as COCO goes by what is stated; the masks are small
    (tmp_path / "segments.json").write_text(json.dumps(segments))
    (tmp_path / "classes.txt").write_text("cat\ngrass\ndog\n")
    return tmp_path


def one_pixel_off(output, size) -> np.ndarray:
    """A prediction that is nearly right, of whatever image."""
    return np.roll(np.where(label_rows(0) == 255, 1, label_rows(0)), 1, axis=0)


def panoptic(output, size, things, **thresholds) -> PanopticSegmentation:
    assert sorted(things) == [0, 2]
    labels = one_pixel_off(output, size)
    segments = tuple(
        PanopticSegment(label + 1, label, label in things, 0.9, int((labels == label).sum())) for label in range(3)
    )
    return PanopticSegmentation(torch.from_numpy(labels.astype(np.int32) + 1), segments)


def semantic(output, size, *, resize_scores=False) -> torch.Tensor:
    labels = torch.from_numpy(one_pixel_off(output, size).astype(np.int64))
    return torch.nn.functional.one_hot(labels, 3).permute(2, 0, 1).float()


@pytest.mark.parametrize("task", ["panoptic", "semantic", "instance"])
def test_a_task_measures_what_the_command_measures(task, images, small_config, monkeypatch) -> None:
    monkeypatch.setattr(panoptic_module, "image_panoptic", panoptic)
    monkeypatch.setattr(semantic_module, "image_semantic", semantic)
    names = {"model.class_names": ["cat", "grass", "dog"], "task": task, "inference.short_side": 32}
    config = apply_overrides(small_config, {**names, "inference.mode": "online"})
    model = build_model(config).eval()
    settings = build_settings(config)

    videos = EvaluationVideos(load_annotations(images / "segments.json"), images / "images")
    chosen = fitting_task(build_task(config), videos)
    predictor = DatasetPredictor(model, settings, chosen, videos, map_classes(model, videos))
    evaluator = chosen.evaluator(videos, EvaluationOptions())
    for video in videos:
        prediction, truth = predictor.predict(video), video.ground_truth()
        assert prediction.size == truth.size == SIZE and prediction.video_id == truth.video_id == video.video_id
        evaluator.process(prediction, truth)
    figures = evaluator.evaluate()

    annotations = {"panoptic": "panoptic.json", "semantic": "labels", "instance": "segments.json"}[task]
    data = open_evaluation_set(images / annotations, images / "images", classes=str(images / "classes.txt"))
    same = fitting_task(chosen, data)
    assert same.describe() == chosen.describe()
    results = predict_dataset(model, settings, same, data, images / "out")
    assert figures == pytest.approx(dict(measure(same, data, results, EvaluationOptions()).report.summary), abs=1e-12)
    assert tuple(figures) == chosen.metric_names
    if task == "instance":
        assert figures["ARs"] == -1.0 <= figures["ARm"]
    else:
        assert 0.3 < figures[chosen.metric_names[0]] < 1


def test_parts_of_ranks_merge(images, small_config, monkeypatch) -> None:
    monkeypatch.setattr(panoptic_module, "image_panoptic", panoptic)
    config = apply_overrides(small_config, {"model.class_names": ["cat", "grass", "dog"], "task": "panoptic"})
    model = build_model(config).eval()
    videos = EvaluationVideos(load_annotations(images / "segments.json"), images / "images")
    settings = replace(build_settings(config), short_side=32)
    task = build_task(config)
    predictor = DatasetPredictor(model, settings, task, videos, map_classes(model, videos))
    whole, *parts = (task.evaluator(videos, EvaluationOptions()) for _ in range(3))
    for index, video in enumerate(videos):
        for evaluator in (whole, parts[index]):
            evaluator.process(predictor.predict(video), video.ground_truth())
    parts[0].merge([part.state() for part in parts])
    assert parts[0].evaluate() == whole.evaluate()
