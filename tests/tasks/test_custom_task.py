"""A task from a file outside of the package, through YAML alone: on every command, in training and in Python."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest

import video_mask2former as vm2f
from video_mask2former.cli import main
from video_mask2former.config import config_from_mapping, to_yaml
from video_mask2former.convert import write_checkpoint
from video_mask2former.data.synthetic import SceneStyle, write_synthetic_dataset
from video_mask2former.recipes.model import build_model, complete_config
from video_mask2former.recipes.tasks import build_task
from video_mask2former.recipes.validation import build_validation
from video_mask2former.results import read_youtube_vis
from video_mask2former.rle import decode_rle

MODULE = '''
from dataclasses import replace
from typing import Annotated

import numpy as np

from video_mask2former.option_values import Range
from video_mask2former.rle import encode_masks, rle_box
from video_mask2former.tasks import VideoInstanceTask


class Boxes(VideoInstanceTask):
    """Objects as boxes.

    Args:
        margin: Pixels around each.
    """

    name = "boxes"
    metric_names = ("AP50", *VideoInstanceTask.metric_names)

    def __init__(self, margin: Annotated[int, Range(at_least=0)] = 0):
        self.margin = margin

    def clip_tracks(self, output, frame_indices, size, rules):
        tracks = super().clip_tracks(output, frame_indices, size, rules)
        return tuple(replace(t, segmentations={i: self.box(m) for i, m in t.segmentations.items()}) for t in tracks)

    def box(self, rle):
        x, y, width, height = (int(value) for value in rle_box(rle))
        mask = np.zeros(rle["size"], bool)
        top, left = max(0, y - self.margin), max(0, x - self.margin)
        mask[top : y + height + self.margin, left : x + width + self.margin] = True
        return encode_masks(mask[None])[0]
'''
OWN = "vm2f_test_task"
TASK = {"name": f"{OWN}:Boxes", "margin": 2}


@pytest.fixture(autouse=True)
def own_module(tmp_path, monkeypatch):
    (tmp_path / f"{OWN}.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop(OWN, None)


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "data"
    write_synthetic_dataset(folder, 1, SceneStyle(num_frames=3, size=(32, 48), num_objects=(2, 2)), seed=0)
    return folder


def config_of(data, task):
    model = {"num_classes": 4, "class_list": None, "class_names": ["disc", "square", "triangle", "star"]}
    small = {"num_queries": 4, "hidden_dim": 32, "num_heads": 2, "pixel_decoder": {"num_layers": 1, "mask_dim": 16}}
    small |= {"decoder": {"num_layers": 1, "feedforward_dim": 8}}
    backbone = {"name": "swin", "embed_dim": 8, "depths": [1] * 4, "num_heads": [1, 1, 2, 2], "window_size": 2}
    test = [f"{data}/JPEGImages::{data}/instances.json"]
    values = {"model": {**model, **small, "backbone": backbone}, "task": task, "inference": {"short_side": 32}}
    return config_from_mapping({**values, "data": {"test": test}}, "test")


def is_box(rle) -> bool:
    mask = decode_rle(rle)
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()


def test_works_everywhere(data, tmp_path) -> None:
    config = config_of(data, TASK)
    model = build_model(config)
    checkpoint = tmp_path / "own.pth"
    write_checkpoint(checkpoint, model.state_dict(), to_yaml(complete_config(config)))
    assert build_task(config).describe() == {"name": "boxes", "margin": 2}

    validation = build_validation(config, tmp_path, model.eval())
    assert validation is not None and validation.metric_names[0] == "AP50"
    figures = validation(model, 0)

    out = tmp_path / "out"
    files = ["--annotations", data / "instances.json", "--images", data / "JPEGImages", "--device", "cpu"]
    assert main(["evaluate", "--config", str(checkpoint), *map(str, files), "--output", str(out), "--cases", "1"]) == 0
    measured = json.loads((out / "metrics.json").read_text())
    assert {name: measured[name] for name in figures} == figures
    [video] = read_youtube_vis(out / "results.json").values()
    assert all(is_box(rle) for track in video.tracks for rle in track.segmentations.values())

    frames = str(data / "JPEGImages" / "00000")
    words = ["--published", "--weights", str(checkpoint), "--device", "cpu", "--output", str(tmp_path / "pred")]
    assert main(["predict", frames, *words]) == 0
    [video] = read_youtube_vis(tmp_path / "pred" / "00000" / "results.json").values()
    masks = [rle for track in video.tracks for rle in track.segmentations.values()]
    assert masks and all(map(is_box, masks))

    report = vm2f.evaluate_model(checkpoint, data / "instances.json", data / "JPEGImages")
    assert {name: report.summary[name] for name in figures} == figures


def test_wrong_options_and_classes_are_named(data) -> None:
    for task, message in (
        ({**TASK, "margins": 1}, "margin"),
        ({**TASK, "margin": -1}, "at least 0"),
        ({"name": "json:JSONDecoder"}, "Task"),
        ({"name": f"{OWN}:Circles"}, "Circles"),
    ):
        with pytest.raises((ValueError, ImportError), match=message):
            build_task(config_of(data, task))
