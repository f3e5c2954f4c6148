"""``video-mask2former predict`` for panoptic and semantic segmentation: files for every pixel, zips, streams."""

from __future__ import annotations

import json
import zipfile

import cv2
import numpy as np
import pytest

import video_mask2former as vm2f
from video_mask2former.cli import main
from video_mask2former.config import config_from_mapping, to_yaml
from video_mask2former.convert import write_checkpoint
from video_mask2former.data.label_maps import LabelMapFolder
from video_mask2former.data.panoptic_files import load_panoptic
from video_mask2former.recipes.model import build_model
from video_mask2former.tasks import VideoPanopticTask, VideoSemanticTask

SIZE = (40, 56)
OPTIONS = {
    "model": {
        "num_classes": 3,
        "class_list": None,
        "class_names": ["cat", "dog", "owl"],
        "num_queries": 6,
        "hidden_dim": 32,
        "num_heads": 2,
        "pixel_decoder": {"num_layers": 1, "feedforward_dim": 8, "mask_dim": 16},
        "decoder": {"num_layers": 1, "feedforward_dim": 8},
        "backbone": {"name": "swin", "embed_dim": 8, "depths": [1] * 4, "num_heads": [1, 1, 2, 2], "window_size": 2},
    },
    "task": {"name": "panoptic", "object_mask_threshold": 0.0, "overlap_threshold": 0.0},
    "inference": {"short_side": 40},
}


@pytest.fixture
def model(tmp_path):
    """Arguments that name a small model whose configuration says panoptic segmentation of images."""
    config = config_from_mapping(OPTIONS, "test")
    (tmp_path / "small.yaml").write_text(to_yaml(config))
    weights = tmp_path / "small.safetensors"
    write_checkpoint(weights, build_model(config).state_dict())
    return ["--config", str(tmp_path / "small.yaml"), "--weights", str(weights), "--device", "cpu"]


@pytest.fixture
def frames(tmp_path):
    folder = tmp_path / "clip"
    folder.mkdir()
    for index in range(3):
        picture = np.random.default_rng(index).integers(0, 255, (*SIZE, 3), np.uint8)
        cv2.imwrite(str(folder / f"{index:05d}.jpg"), picture)
    return folder


def test_panoptic_and_semantic_files(model, frames, tmp_path, capsys) -> None:
    out = tmp_path / "out"
    command = ["predict", str(frames), "--output", str(out), *model, "--score-threshold", "0"]
    assert main([*command, "--panoptic", "--semantic"]) == 0
    file = load_panoptic(out / "clip" / "panoptic" / "pred.json", out / "clip" / "panoptic" / "pan_pred")
    answer = file.read("clip", (1, 2, 3))
    maps = LabelMapFolder(out / "clip" / "semantic").read_instances([f"{index:05d}" for index in range(3)], 3)
    assert answer.num_frames == maps.num_frames == 3 and answer.size == maps.size == SIZE
    assert {track.label for track in answer.tracks} == {track.label for track in maps.tracks}
    assert (out / "clip" / "overlay.mp4").is_file() and (out / "clip" / "contact_sheet.png").is_file()
    document = json.loads((out / "clip" / "tracks.json").read_text())
    assert len(document["tracks"]) == len(answer.tracks)
    assert main([*command, "--task", "video_semantic", "--semantic"]) == 0
    labels = LabelMapFolder(out / "clip" / "semantic").read("00001")
    assert labels.max() < 3, "every pixel has a class"
    assert not (out / "clip" / "panoptic").exists()

    assert main([*command, "--task", "instance", "--panoptic"]) == 1
    assert "--task video_panoptic" in capsys.readouterr().err
    assert main([*command, "--task", "panoptics"]) == 1
    assert "must be one of instance, image_instance" in capsys.readouterr().err


def test_python_calls_take_a_task(model, frames) -> None:
    loaded = vm2f.load(model[1], weights=model[3], device="cpu")
    every = {"score_threshold": 0.0, "mode": "clip"}
    result = vm2f.segment_video(loaded, frames, task="video_semantic", **every)
    covered = np.zeros((3, *SIZE), int)
    for track in result.tracks:
        for index, rle in track.segmentations.items():
            covered[index] += vm2f.rle.decode_rle(rle)
    assert (covered == 1).all()
    stream = vm2f.stream_video(loaded, frames, task=VideoSemanticTask(), score_threshold=0.0)
    first = next(stream)
    assert set(first.track_ids) == {label + 1 for label in first.labels}
    state = stream.state_dict()
    with pytest.raises(ValueError, match="saved with task = 'video_semantic'"):
        vm2f.stream_video(loaded, frames, task=VideoPanopticTask(), score_threshold=0.0, state=state)
    assert len(list(vm2f.stream_video(loaded, frames, task="video_semantic", score_threshold=0.0, state=state))) == 2
    with pytest.raises(ValueError, match="unknown task 'panopticum'"):
        vm2f.segment_video(loaded, frames, task="panopticum")


@pytest.mark.parametrize(
    ("task", "members"),
    [("video_panoptic", ["pred.json", "pan_pred/clip/00000.png"]), ("video_semantic", ["clip/00000.png"])],
)
def test_submissions(task, members, tmp_path) -> None:
    results = tmp_path / "results"
    (results / "clip").mkdir(parents=True)
    cv2.imwrite(str(results / "clip" / "00000.png"), np.zeros((3, 3, 3), np.uint8))
    (tmp_path / "results.json").write_text("{}")
    made = vm2f.tasks.TASKS[task]()
    made.pack(made.results_path(tmp_path), tmp_path / "submission.zip")
    with zipfile.ZipFile(tmp_path / "submission.zip") as archive:
        assert archive.namelist() == members
