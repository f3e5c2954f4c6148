"""Whole models in training against the losses and gradients of the published implementations."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from video_mask2former.convert import load_weights
from video_mask2former.convert.detectron2 import GENVIS
from video_mask2former.engine import freeze
from video_mask2former.losses import HungarianMatcher
from video_mask2former.losses.object_criterion import ObjectCriterion
from video_mask2former.recipes.model import build_model
from video_mask2former.recipes.source import read_config
from video_mask2former.structures import ClipTarget

FOLDER = Path(__file__).parents[1] / "data" / "golden"
SIZE = (60, 92)
TABLE = torch.from_numpy(np.random.Generator(np.random.PCG64(777)).random((40000, 2)))

# Boxes of each video: class, y, x, height, width, motion in y and x from frame to frame, and frames it is there
VITA_BOXES = (
    ((3, 4, 5, 20, 30, 2, 4, "1111"), (28, 30, 40, 22, 25, -1, 3, "0110"), (28, 10, 60, 40, 20, 0, -2, "0011")),
    ((38, 8, 8, 44, 50, 1, 1, "1101"), (3, 2, 2, 12, 12, 5, 9, "1111")),
)
GENVIS_BOXES = (
    (
        (3, 4, 5, 20, 30, 2, 4, "11111111"),
        (28, 30, 30, 18, 20, -1, 4, "11000011"),
        (28, 8, 60, 30, 20, 2, -3, "00111100"),
        (38, 25, 3, 25, 25, 1, 5, "00000111"),
    ),
    ((38, 10, 10, 30, 40, 1, 2, "01101111"), (3, 2, 50, 16, 30, 4, -1, "00001111")),
)


def fixed_points(rows: int, count: int, _two: int, **_options: object) -> torch.Tensor:
    """What stands for random points in the recorded runs."""
    return TABLE[:count].expand(rows, -1, -1)


def target(boxes) -> ClipTarget:
    num_frames = len(boxes[0][-1])
    masks = torch.zeros(len(boxes), num_frames, *SIZE, dtype=torch.bool)
    for mask, (_, y, x, height, width, dy, dx, presence) in zip(masks, boxes, strict=True):
        for t in (t for t in range(num_frames) if presence[t] == "1"):
            top, left = y + dy * t, x + dx * t
            mask[t, max(0, top) : max(0, top + height), max(0, left) : max(0, left + width)] = True
    return ClipTarget(torch.tensor([box[0] for box in boxes]), masks)


def clips(seed: int, num_frames: int) -> torch.Tensor:
    blocks = [
        np.random.Generator(np.random.PCG64(seed + video)).random((num_frames, 3, 4, 6)) * 255 for video in (0, 1)
    ]
    frames = np.stack(blocks).repeat(16, axis=3).repeat(16, axis=4)
    return torch.from_numpy(frames[..., : SIZE[0], : SIZE[1]].copy())


def model_in_training(config: str, shapes: str, weights_of):
    model = build_model(read_config(config.split()[0], config.split()[1:])).double()
    all_shapes = json.loads(gzip.decompress((FOLDER / "vita_shapes.json.gz").read_bytes()))
    load_weights(model, weights_of(all_shapes[shapes]))
    return model


def our_names(losses: dict[str, float], prefix: str) -> dict[str, float]:
    """Recorded losses under our names, summed over clips; what has no prefix is of the image model."""
    named: dict[str, float] = {}
    for name, value in losses.items():
        short = re.sub(r"_clip\d+$", "", name)
        ours = short.replace("loss_", "loss_frame_")
        if short.startswith(prefix):
            ours = "loss_" + short.removeprefix(prefix).replace("sim", "similarity")
        named[ours] = named.get(ours, 0.0) + value
    return named


@torch.no_grad()
def test_losses_of_vita_equal_the_published_ones(weights_of, monkeypatch):
    monkeypatch.setattr(torch, "rand", fixed_points)
    recorded = json.loads((FOLDER / "vita_losses.json").read_text())
    config = "vita/ytvis_2019/r50 model.num_queries=20 refiner.num_video_queries=12 refiner.window=3"
    model = model_in_training(config, "vita_r50", weights_of).train()
    losses = ObjectCriterion(40, HungarianMatcher()).double()(model(clips(31, 4)), [target(b) for b in VITA_BOXES])
    expected = our_names(recorded["losses_fixed_points"], "loss_vita_")
    assert {name: float(value) for name, value in losses.items()} == pytest.approx(expected, rel=1e-5)
    assert float(sum(losses.values())) == pytest.approx(recorded["total_fixed_points"], rel=1e-6)


def test_losses_and_gradients_of_genvis_equal_the_published_ones(weights_of, monkeypatch):
    monkeypatch.setattr(torch, "rand", fixed_points)
    recorded = json.loads((FOLDER / "genvis_losses.json").read_text())
    config = "genvis/ytvis_2019/r50_semi model.num_queries=20 tracker.num_video_queries=12 tracker.clip_length=2"
    model = model_in_training(config, "genvis_r50", weights_of)
    freeze(model, ["segmenter"])
    model.train()
    criterion = ObjectCriterion(40, HungarianMatcher()).double()
    losses = criterion(model(clips(51, 8)), [target(boxes) for boxes in GENVIS_BOXES])
    expected = our_names(recorded["losses_fixed_points"], "loss_genvis_")
    assert {name: float(value.detach()) for name, value in losses.items()} == pytest.approx(expected, rel=1e-5)
    torch.stack(list(losses.values())).sum().backward()
    parameters = dict(model.named_parameters())
    for name, norm in recorded["grad_norms_fixed_points"].items():
        (ours,) = GENVIS.to_ours({name: torch.zeros(1)}).weights
        assert float(parameters[ours].grad.norm()) == pytest.approx(norm, rel=1e-4), name
    assert all(parameter.grad is None for name, parameter in parameters.items() if name.startswith("segmenter."))
