"""Configurations and checkpoints that version 0.1.0 wrote: the same options, the same numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from video_mask2former.api import load_with_config
from video_mask2former.config import Config, apply_overrides
from video_mask2former.inference.trackers import make_tracker
from video_mask2former.recipes.inference import build_settings
from video_mask2former.recipes.model import complete_config
from video_mask2former.recipes.source import read_config
from video_mask2former.tracking import OverlapTracker

FOLDER = Path(__file__).parents[1] / "data" / "version_0_1_0"


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_whole_configuration_is_what_the_shipped_one_is(path):
    name = path.stem.replace("-", "/")
    old, new = (complete_config(read_config(source)) for source in (path, name))
    if name != "demo/efficientnet_lite0":  # the model in the box changes from version to version
        assert old == new


def test_a_checkpoint_gives_the_same_numbers():
    model, config = load_with_config(FOLDER / "model.safetensors", device="cpu", dtype=torch.float64)
    frames = np.random.Generator(np.random.PCG64(7)).integers(0, 256, (1, 2, 3, 40, 64), dtype=np.uint8)
    with torch.no_grad():
        output = model(torch.from_numpy(frames))
    expected = np.load(FOLDER / "output.npz")
    np.testing.assert_allclose(output.class_logits, expected["class_logits"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(output.mask_logits.dense(), expected["mask_logits"], rtol=0, atol=1e-5)
    settings = build_settings(config)
    assert isinstance(make_tracker(settings), OverlapTracker)
    assert (settings.mode, settings.window, settings.overlap, settings.score_threshold) == ("online", 3, 1, 0.25)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (["model.num_decoder_layers=3"], ["model.decoder.num_layers=3"]),
        (["model.feedforward_dim=64"], ["model.decoder.feedforward_dim=64"]),
        (["model.temporal_position_encoding=false"], ["model.decoder.temporal_position_encoding=false"]),
        (["model.backbone.resnet.depth=101"], ["model.backbone={name: resnet, depth: 101}"]),
        (
            ["model.backbone.name=swin", "model.backbone.swin={embed_dim: 64, drop_path: 0.1}"],
            ["model.backbone={name: swin, embed_dim: 64, drop_path_rate: 0.1}"],
        ),
        (["inference.tracker=minvis"], ["tracker=minvis"]),
        (["inference.tracker=null"], []),
        (["inference.task=semantic"], ["task=semantic"]),
        (
            ["inference.task=panoptic", "inference.overlap_threshold=0.5"],
            ["task={name: panoptic, overlap_threshold: 0.5}"],
        ),
        (["inference.object_mask_threshold=0.5"], []),
    ],
)
def test_old_names_of_options_are_understood(old, new):
    assert apply_overrides(Config(), old) == apply_overrides(Config(), new)
