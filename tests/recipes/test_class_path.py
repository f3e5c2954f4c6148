"""Backbones and trackers of users' own, which configurations name as ``module:Class``."""

from __future__ import annotations

import sys

import pytest
import torch

import video_mask2former as vm2f
from video_mask2former.config import Config, apply_overrides, to_yaml
from video_mask2former.convert import write_checkpoint
from video_mask2former.inference.trackers import make_tracker
from video_mask2former.recipes.inference import build_settings
from video_mask2former.recipes.model import build_model, check_parts
from video_mask2former.tracking import QueryTracker

MODULE = '''
import torch
from video_mask2former.models import Backbone, FeatureInfo
from video_mask2former.tracking import QueryTracker


class Patches(Backbone):
    """One convolution for each level."""

    def __init__(self):
        super().__init__()
        self.feature_info = {f"res{2 + i}": FeatureInfo(8, 4 * 2**i) for i in range(4)}
        self.levels = torch.nn.ModuleDict(
            {name: torch.nn.Conv2d(3, 8, info.stride, info.stride) for name, info in self.feature_info.items()}
        )

    def forward(self, frames):
        return {name: level(frames) for name, level in self.levels.items()}


class MyTracker(QueryTracker):
    pass


def not_a_class():
    raise AssertionError("it is not to be called")


class NotABackbone:
    def __init__(self):
        raise AssertionError("it is not to be made")
'''


@pytest.fixture(autouse=True)
def own_module(tmp_path, monkeypatch):
    (tmp_path / "vm2f_test_plugin.py").write_text(MODULE)
    (tmp_path / "vm2f_test_broken.py").write_text("import a_module_that_is_not_there\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for name in ("vm2f_test_plugin", "vm2f_test_broken"):
        sys.modules.pop(name, None)


def test_a_backbone_of_ones_own_is_built_saved_and_loaded(small_config, tmp_path):
    config = apply_overrides(small_config, ["model.backbone.name=vm2f_test_plugin:Patches"])
    model = build_model(config)
    assert type(model.backbone).__name__ == "Patches"
    write_checkpoint(tmp_path / "own.pth", model.state_dict(), to_yaml(config))
    loaded = vm2f.load(tmp_path / "own.pth")
    frames = torch.randint(0, 256, (1, 2, 3, 40, 64), dtype=torch.uint8)
    torch.testing.assert_close(loaded(frames).class_logits, model.eval()(frames).class_logits)


def test_a_tracker_of_ones_own_reaches_the_settings():
    settings = build_settings(apply_overrides(Config(), ["tracker=vm2f_test_plugin:MyTracker"]))
    tracker = make_tracker(settings)
    assert isinstance(tracker, QueryTracker) and type(tracker).__name__ == "MyTracker"
    assert settings.tracker_name == "vm2f_test_plugin:MyTracker"


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("vm2f_no_such_module:Net", ImportError, "no module 'vm2f_no_such_module'. Install it, or .* PYTHONPATH"),
        ("vm2f_test_plugin.deeper:Net", ImportError, "no module 'vm2f_test_plugin.deeper'"),
        ("vm2f_test_broken:Net", ImportError, "a_module_that_is_not_there"),
        ("vm2f_test_plugin:Missing", ValueError, "must be a class, but vm2f_test_plugin has None under that name"),
        ("vm2f_test_plugin:not_a_class", ValueError, "must be a class, but"),
        ("vm2f_test_plugin:NotABackbone", ValueError, r"must be a video_mask2former.models.backbones.base.Backbone"),
    ],
)
def test_what_is_no_backbone_is_refused_before_it_is_called(small_config, name, error, message):
    config = apply_overrides(small_config, [f"model.backbone.name={name}"])
    with pytest.raises(error, match=message):
        build_model(config)


def test_what_is_no_tracker_is_refused():
    with pytest.raises(ValueError, match=r"must be a video_mask2former.tracking.base.Tracker"):
        build_settings(apply_overrides(Config(), ["tracker=vm2f_test_plugin:Patches"]))


@pytest.mark.parametrize("name", ["resnett", "my_module", "my_module:", ":Net", "my-module:Net", "a:b:c"])
@pytest.mark.parametrize("option", ["model.backbone.name", "tracker"])
def test_other_names_are_errors_of_the_configuration(option, name):
    with pytest.raises(ValueError, match=r"must be one of .*, or a custom .* as module:Class, got"):
        check_parts(apply_overrides(Config(), [f"{option}='{name}'"]), "here")
