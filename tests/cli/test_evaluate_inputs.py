"""What ``video-mask2former evaluate`` takes, and how it says what it cannot take."""

from __future__ import annotations

import json
import zipfile

import cv2
import numpy as np
import pytest

from video_mask2former.cli import main, make_parser
from video_mask2former.data.panoptic_files import write_segment_ids
from video_mask2former.data.synthetic import SceneStyle, write_synthetic_dataset

MODEL = [
    "model.num_classes=4",
    "model.class_names=[disc, square, triangle, star]",
    "model.num_queries=4",
    "model.hidden_dim=32",
    "model.num_heads=2",
    "model.feedforward_dim=8",
    "model.num_decoder_layers=1",
    "model.pixel_decoder={num_layers: 1, feedforward_dim: 8, mask_dim: 16}",
    "inference.short_side=32",
]


@pytest.fixture
def shapes(tmp_path):
    """Two synthetic videos and perfect results."""
    write_synthetic_dataset(tmp_path, 2, SceneStyle(num_frames=3, size=(32, 48)), seed=0)
    document = json.loads((tmp_path / "instances.json").read_text())
    keys = ("video_id", "category_id", "segmentations")
    results = [{**{key: entry[key] for key in keys}, "score": 0.5} for entry in document["annotations"]]
    (tmp_path / "results.json").write_text(json.dumps(results))
    (tmp_path / "hidden.json").write_text(json.dumps({**document, "annotations": None}))
    return tmp_path


def run(folder, *words):
    return main(["evaluate", "--output", str(folder / "out"), "--cases", "0", *map(str, words)])


def test_a_folder_with_results(shapes) -> None:
    assert run(shapes, "--annotations", shapes / "instances.json", "--results", shapes) == 0
    assert json.loads((shapes / "out" / "metrics.json").read_text())["AP"] == 1.0


def test_short_videos_are_those_of_another_file(shapes, capsys) -> None:
    document = json.loads((shapes / "instances.json").read_text())
    (shapes / "short.json").write_text(json.dumps({**document, "videos": document["videos"][:1], "annotations": None}))
    arguments = ["--annotations", shapes / "instances.json", "--results", shapes / "results.json", "--short-videos"]
    assert run(shapes, *arguments, shapes / "short.json") == 0
    assert json.loads((shapes / "out" / "metrics.json").read_text())["short_long_mean"]["AP"] == 1.0
    assert run(shapes, *arguments, shapes / "results.json") == 1
    assert "must hold an object, as every annotation file does" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--annotations", "{shapes}/instances.json", "--results", "{shapes}/cut.zip"], "is not a zip file, or it was"),
        (["--annotations", "{shapes}/hidden.json", "--results", "{shapes}/results.json"], "without annotations"),
        (["--annotations", "{shapes}/instances.json", "--config", "ytvis_2019/r50"], "has no weights to be measured"),
    ],
)
def test_mistakes_are_one_line(shapes, capsys, words, message) -> None:
    with zipfile.ZipFile(shapes / "whole.zip", "w") as archive:
        archive.write(shapes / "results.json", "results.json")
    (shapes / "cut.zip").write_bytes((shapes / "whole.zip").read_bytes()[:-40])
    assert run(shapes, *(word.format(shapes=shapes) for word in words)) == 1
    assert message in capsys.readouterr().err


def test_hidden_annotations_leave_a_submission(shapes, capsys) -> None:
    start = ["train", "--config", "ytvis_2019/efficientnet_lite0", "--device", "cpu", "--output", shapes / "run"]
    data = f"data.train=['{shapes}/JPEGImages::{shapes}/instances.json']"
    short = ["training.max_steps=1", "training.batch_size=1", "training.evaluate=false", "training.amp_dtype=float32"]
    rest = ["model.class_list=null", "data.short_sides=[32]", "data.num_workers=0", "loss.num_points=16"]
    assert main([*map(str, start), data, *MODEL, *short, *rest, "model.backbone.weights=null"]) == 0
    arguments = ["--annotations", shapes / "hidden.json", "--images", shapes / "JPEGImages", "--device", "cpu"]
    assert run(shapes, *arguments, "--config", shapes / "run" / "model_final.pth") == 0
    assert "nothing is measured; wrote" in capsys.readouterr().out
    assert sorted(path.name for path in (shapes / "out").iterdir()) == ["predictions", "results.json", "results.zip"]
    with zipfile.ZipFile(shapes / "out" / "results.zip") as archive:
        assert archive.read("results.json") == (shapes / "out" / "results.json").read_bytes()


def test_catalog_names_are_measured_by_what_the_results_are_of(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    (tmp_path / "ADEChallengeData2016/images/validation").mkdir(parents=True)
    truth, results = tmp_path / "ADEChallengeData2016/annotations/validation", tmp_path / "results"
    for folder, label in ((truth, 3), (results, 2)):  # ADE20K counts from 1
        folder.mkdir(parents=True)
        cv2.imwrite(str(folder / "ADE_val_00000001.png"), np.full((8, 9), label, np.uint8))
    assert run(tmp_path, "--dataset", "ade20k_sem_seg_val", "--results", results) == 0
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics["mIoU"] == metrics["per_class"]["sky"] == 1.0

    folder = tmp_path / "coco/annotations/panoptic_val2017"
    (tmp_path / "coco/val2017").mkdir(parents=True)
    write_segment_ids(folder / "1.png", np.full((8, 9), 5))
    entry = {"image_id": 1, "file_name": "1.png", "segments_info": [{"id": 5, "category_id": 2}]}
    document = {"images": [], "annotations": [entry], "categories": [{"id": 2, "name": "bicycle", "isthing": 1}]}
    folder.with_suffix(".json").write_text(json.dumps(document))
    assert run(tmp_path, "--dataset", "coco_2017_val_panoptic", "--results", folder.with_suffix(".json")) == 0
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["PQ"] == 1.0


def test_missing_images_are_noticed_before_predicting(shapes, capsys) -> None:
    (shapes / "JPEGImages" / "00001" / "00002.jpg").unlink()
    arguments = ["--annotations", shapes / "instances.json", "--images", shapes / "JPEGImages", "--device", "cpu"]
    assert run(shapes, *arguments, "--config", "demo", "--class-agnostic") == 1
    assert "1 of the 6 images of" in capsys.readouterr().err
    assert not (shapes / "out" / "predictions").exists()


@pytest.mark.parametrize("command", ["train", "evaluate"])
def test_options_stand_anywhere(command) -> None:
    words = [command, "a.b=1", "--config", "c", "SOLVER.MAX_ITER", "2", "--output", "o", "d.e=3"]
    args = make_parser().parse_args(words)
    assert (args.config, args.output) == ("c", "o")
    assert args.overrides == ["a.b=1", "SOLVER.MAX_ITER", "2", "d.e=3"]


def test_unknown_flags_are_still_errors(capsys) -> None:
    with pytest.raises(SystemExit):
        make_parser().parse_args(["train", "--config", "c", "--ouput", "o"])
    assert "unrecognized arguments: --ouput" in capsys.readouterr().err
