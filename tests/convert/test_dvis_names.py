"""Every name of the published DVIS, DVIS++ and CTVIS checkpoints has a place, and comes back as it was."""

from __future__ import annotations

import pytest
import torch
from published_weights import published_shapes

from video_mask2former.convert.detectron2 import MASK2FORMER
from video_mask2former.refinement import TemporalRefiner
from video_mask2former.tracking.referring_tracker import DVISPlusTracker, DVISTracker

MODELS = [
    "ctvis_r50",
    "dvis_v1_r50_offline",
    "dvis_plus_r50_online",
    "dvis_plus_r50_offline",
    "dvis_plus_swinl_offline",
]


def on_meta(model: str) -> dict[str, torch.Tensor]:
    return {name: torch.empty(shape, device="meta") for name, shape in published_shapes(model).items()}


@pytest.mark.parametrize("model", MODELS)
def test_names_go_both_ways(model):
    theirs = on_meta(model)
    converted = MASK2FORMER.to_ours(theirs)
    assert not converted.unknown
    back = MASK2FORMER.to_theirs(converted.weights)
    assert back.keys() == theirs.keys() - converted.ignored.keys()
    assert all(back[name].shape == theirs[name].shape for name in back)


def test_of_the_models_on_vit_adapters_the_backbone_alone_has_no_place():
    theirs = on_meta("dvis_plus_vitl_offline")
    converted = MASK2FORMER.to_ours(theirs)
    of_adapter = ("backbone.vit_module.", "backbone.spm.", "backbone.interactions.", "backbone.up.")
    placed = {key for key in theirs if not key.startswith("backbone.")}
    assert converted.unknown and all(key.startswith("backbone.") for key in converted.unknown)
    assert {key for key in theirs if key.startswith(of_adapter)} <= set(converted.unknown)
    assert not placed & set(converted.unknown)


@pytest.mark.parametrize(
    ("model", "tracker", "width"),
    [
        ("dvis_v1_r50_offline", DVISTracker, 256),
        ("dvis_plus_r50_offline", DVISPlusTracker, 512),
        ("dvis_plus_swinl_offline", DVISPlusTracker, 512),
        ("dvis_plus_vitl_offline", DVISPlusTracker, 512),
    ],
)
def test_trackers_and_refiners_have_the_published_shapes(model, tracker, width):
    weights = MASK2FORMER.to_ours(on_meta(model)).weights
    with torch.device("meta"):
        parts = {"tracker": tracker(40, embedding_dim=width), "refiner": TemporalRefiner(40, embedding_dim=width)}
    own = {f"{name}.{key}": value.shape for name, part in parts.items() for key, value in part.state_dict().items()}
    assert {key: value.shape for key, value in weights.items() if key.startswith(("tracker.", "refiner."))} == own
