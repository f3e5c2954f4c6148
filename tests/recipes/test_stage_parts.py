"""A tracker with weights, a refiner, a loss and a criterion from a file outside of the package, through YAML alone."""

from __future__ import annotations

import sys

import pytest
import torch

import video_mask2former as vm2f
from video_mask2former.config import apply_overrides, to_yaml
from video_mask2former.convert import write_checkpoint
from video_mask2former.recipes.model import build_criterion, build_model, complete_config
from video_mask2former.recipes.source import read_config
from video_mask2former.structures import ClipTarget

MODULE = '''
from dataclasses import replace

import torch
from torch import nn

from video_mask2former.losses import Loss, SetCriterion
from video_mask2former.refinement import Refinement, Refiner
from video_mask2former.tracking import LearnedTracker


class Shift(LearnedTracker):
    """Queries stay what they are; their class logits are shifted by what is learned.

    Args:
        num_classes: K.
        scale: Times the weight.
    """

    def __init__(self, num_classes: int, scale: float = 1.0):
        super().__init__()
        self.scale = scale
        self.shift = nn.Parameter(torch.randn(num_classes + 1))

    def advance(self, output, state=None):
        seen = torch.zeros(1) if state is None else state["seen"]
        state = {"seen": seen + output.frame_class_logits.shape[1]}
        logits = output.frame_class_logits + self.scale * self.shift
        return replace(output, class_logits=logits.mean(dim=1), frame_class_logits=logits), state


class Mean(Refiner):
    """The mean of a query over the video.

    Args:
        num_classes: K.
        embedding_dim: Channels of the queries.
        mask_dim: Channels of the mask features.
        depth: Linear layers.
    """

    def __init__(self, num_classes: int, embedding_dim: int, mask_dim: int, depth: int = 1):
        super().__init__()
        self.layers = nn.Sequential(*(nn.Linear(embedding_dim, embedding_dim) for _ in range(depth)))
        self.classes = nn.Linear(embedding_dim, num_classes + 1)
        self.masks = nn.Linear(embedding_dim, mask_dim)

    def refine(self, history):
        x = self.layers(history.embeddings.mean(dim=1))
        return Refinement(self.classes(x), self.masks(x), x)


class Small(Loss):
    """Mask embeddings are to be small.

    Args:
        weight: Times the mean of their squares.
    """

    def __init__(self, weight: float = 1.0):
        super().__init__()
        self.weight = weight

    def forward(self, output, targets):
        return {"loss_small": self.weight * output.mask_logits.embeddings.square().mean()}


class Doubled(SetCriterion):
    """The usual loss, several times.

    Args:
        times: How often.
    """

    def __init__(self, num_classes: int, matcher, times: float = 2.0):
        super().__init__(num_classes, matcher, num_points=16)
        self.times = times

    def forward(self, output, targets, normalizer=None):
        return {name: self.times * loss for name, loss in super().forward(output, targets, normalizer).items()}
'''
OWN = "vm2f_test_stages"
FRAMES = (1, 3, 3, 32, 64)


@pytest.fixture(autouse=True)
def own_module(tmp_path, monkeypatch):
    (tmp_path / f"{OWN}.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop(OWN, None)


def from_yaml(tmp_path, small_config, text: str):
    """The small model's configuration with what a file of one's own says."""
    (tmp_path / "small.yaml").write_text(to_yaml(small_config))
    (tmp_path / "own.yaml").write_text(f"_base_: small.yaml\n{text}\n")
    return read_config(tmp_path / "own.yaml")


def saved_and_loaded(tmp_path, config):
    """The model, and the same from a checkpoint that carries its weights and its configuration."""
    model = build_model(config).eval()
    write_checkpoint(tmp_path / "own.pth", model.state_dict(), to_yaml(complete_config(config)))
    loaded = vm2f.load(tmp_path / "own.pth", device="cpu")
    frames = torch.randint(0, 256, FRAMES, dtype=torch.uint8)
    with torch.no_grad():
        assert torch.equal(loaded(frames).class_logits, model(frames).class_logits)
    return loaded


def test_a_tracker_with_weights(tmp_path, small_config):
    config = from_yaml(tmp_path, small_config, f"tracker: {{name: '{OWN}:Shift', scale: 3}}")
    model = saved_and_loaded(tmp_path, config)
    assert "tracker.shift" in model.state_dict() and model.tracker.scale == 3.0
    frames = torch.randint(0, 256, FRAMES[1:], dtype=torch.uint8)
    options = {"score_threshold": 0.0, "short_side": 32}
    whole = list(vm2f.stream_video(model, frames, **options))
    stream = vm2f.stream_video(model, frames, **options)
    first = next(stream)
    rest = vm2f.stream_video(model, frames, state=stream.state_dict(), **options)
    assert [first, *rest] == whole and len(whole) == 3


def test_a_refiner(tmp_path, small_config):
    config = from_yaml(tmp_path, small_config, f"refiner: {{name: '{OWN}:Mean', depth: 2}}")
    model = saved_and_loaded(tmp_path, config)
    assert len(model.refiner.layers) == 2 and "refiner.classes.weight" in model.state_dict()
    frames = torch.randint(0, 256, FRAMES[1:], dtype=torch.uint8)
    result = vm2f.segment_video(model, frames, score_threshold=0.0, short_side=32)
    assert result.num_frames == 3
    with pytest.raises(ValueError, match=r"'refiner.dept' .*did you mean 'refiner.depth'"):
        from_yaml(tmp_path, small_config, f"refiner: {{name: '{OWN}:Mean', dept: 2}}")


def losses_of(config):
    torch.manual_seed(0)
    model, criterion = build_model(config), build_criterion(config)
    masks = torch.zeros(1, 3, 32, 64, dtype=torch.bool)
    masks[:, :, 8:24, 8:40] = True
    target = ClipTarget(labels=torch.tensor([1]), masks=masks, point_seed=1)
    losses = criterion(model(torch.zeros(FRAMES)), [target])
    sum(losses.values()).backward()
    return losses


def test_a_loss_beside_the_usual_ones(tmp_path, small_config):
    usual = losses_of(small_config)
    config = from_yaml(tmp_path, small_config, f"losses: [{{name: '{OWN}:Small', weight: 5}}]")
    losses = losses_of(config)
    assert losses.keys() - usual.keys() == {"loss_small"} and losses["loss_small"] > 0
    heavier = losses_of(apply_overrides(config, {"losses": [{"name": f"{OWN}:Small", "weight": 10.0}]}))
    torch.testing.assert_close(heavier["loss_small"], 2 * losses["loss_small"])


def test_another_criterion(tmp_path, small_config):
    once, thrice = (
        losses_of(from_yaml(tmp_path, small_config, f"loss: {{name: '{OWN}:Doubled', times: {times}}}"))
        for times in (1, 3)
    )
    torch.testing.assert_close(thrice["loss_ce"], 3 * once["loss_ce"])
