"""Learning rates of mask transformers on ViT, against those of the published EoMT and VidEoMT."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
import torch
from torch import nn

from video_mask2former.convert import vit_keys
from video_mask2former.engine import LearningRateSchedule, freeze, layerwise_parameter_groups
from video_mask2former.models.backbones.vit import Dinov2, Dinov3


@pytest.fixture(scope="module")
def published() -> dict:
    path = Path(__file__).parents[1] / "data" / "golden" / "vit_training.json.gz"
    return json.loads(gzip.decompress(path.read_bytes()))


class Model(nn.Module):
    """A backbone of ViT-S's depth, and the other parameters that the published lists name."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.queries = nn.Embedding(3, 8)
        self.query_updater = nn.Linear(8, 8)


def rates_by_name(model: nn.Module, **options) -> dict[str, torch.Tensor]:
    """Our name to a tensor of the parameter's shape that is filled with its learning rate."""
    names = {parameter: name for name, parameter in model.named_parameters()}
    groups = layerwise_parameter_groups(model, weight_decay=0.05, **options)
    assert all(group["weight_decay"] == 0.05 for group in groups)
    return {
        names[parameter]: torch.full(parameter.shape, group["lr"], dtype=torch.float64)
        for group in groups
        for parameter in group["params"]
    }


@pytest.mark.parametrize(
    ("case", "key_map", "make", "options"),
    [
        ("videomt_dinov2_s", vit_keys.VIDEOMT_DINOV2, Dinov2, {"learning_rate": 1e-4, "layer_decay": 0.6}),
        ("videomt_dinov3_s", vit_keys.VIDEOMT_DINOV3, Dinov3, {"learning_rate": 1e-4, "layer_decay": 0.6}),
        ("eomt_dinov2_s_panoptic_640", vit_keys.EOMT_DINOV2, Dinov2, {"learning_rate": 1e-4, "layer_decay": 0.8}),
        (
            "eomt_dinov3_s_panoptic_640_2x",
            vit_keys.EOMT_DINOV3,
            Dinov3,
            {"learning_rate": 2e-4, "layer_decay": 0.8, "full_rate_blocks": 3},
        ),
        ("eomt_dinov3_s_as_ade20k_semantic", vit_keys.EOMT_DINOV3, Dinov3, {"learning_rate": 2e-4, "layer_decay": 1.0}),
    ],
)
def test_every_parameter_learns_at_the_published_rate(case, key_map, make, options, published):
    rates = rates_by_name(Model(make(8, 12, 2)), **options)
    if case.startswith("eomt"):
        rates = {name: rate for name, rate in rates.items() if "updater" not in name}
    found = {name: rate.flatten().unique() for name, rate in key_map.to_theirs(rates).items()}
    expected = published["rates"][case]["rates"]
    compared = expected.keys() & found.keys()
    assert len(compared) > 15
    for name in compared:
        if case == "videomt_dinov3_s" and ".norm." in name:
            assert found[name].item() == 1e-4  # differs on purpose: see layerwise_parameter_groups
            continue
        assert found[name].tolist() == pytest.approx([expected[name]], rel=1e-12), name


def test_the_backbone_waits_until_the_heads_are_warm(published):
    meta = published["schedule_meta"]
    schedule = LearningRateSchedule(
        "two_part",
        meta["total"],
        power=meta["power"],
        warmup_steps=meta["warmup"][0],
        backbone_warmup_steps=meta["warmup"][1],
    )
    for step, (backbone, other) in published["schedule"].items():
        assert schedule.factor(int(step), of_backbone=True) == pytest.approx(backbone, abs=1e-12)
        assert schedule.factor(int(step)) == pytest.approx(other, abs=1e-12)
    model = Model(Dinov2(8, 2, 2, image_size=32))
    groups = layerwise_parameter_groups(model, learning_rate=1.0, weight_decay=0.05, layer_decay=0.5)
    optimizer = torch.optim.AdamW([dict(group) for group in groups])
    schedule.apply(optimizer, 1000)
    rates = {group["name"]: group["lr"] for group in optimizer.param_groups}
    assert rates["head"] == pytest.approx(schedule.factor(1000))
    assert rates["backbone"] == pytest.approx(0.5)
    assert rates["backbone, rate 0.5 ** 1"] == pytest.approx(0.25)


def test_a_schedule_must_have_steps_after_its_warmup():
    with pytest.raises(ValueError, match="steps after its 150 of warm-up, got 150"):
        LearningRateSchedule("two_part", 150, warmup_steps=50, backbone_warmup_steps=100)


def test_a_frozen_backbone_has_no_decay():
    model = Model(Dinov2(8, 2, 2, image_size=32))
    freeze(model, ["backbone"])
    assert set(rates_by_name(model, learning_rate=1.0, layer_decay=1.0)) == {
        "queries.weight",
        "query_updater.weight",
        "query_updater.bias",
    }
    with pytest.raises(ValueError, match=r"no trained blocks"):
        rates_by_name(model, learning_rate=1.0, layer_decay=0.6)
    freeze(model, ["queries", "query_updater"])
    with pytest.raises(ValueError, match="nothing to train"):
        rates_by_name(model, learning_rate=1.0, layer_decay=0.6)


def test_a_backbone_may_wait_without_a_warm_up_of_its_own():
    schedule = LearningRateSchedule(kind="two_part", max_steps=10, warmup_steps=4)
    assert [schedule.factor(step, of_backbone=True) for step in (0, 3, 4, 10)] == [0, 0, 1, 0]
    assert schedule.factor(2) == 0.5
