from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from video_mask2former.engine import LearningRateSchedule, clip_gradient_norm, freeze, parameter_groups


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(4, 12)
        self.relative_position_bias_table = nn.Parameter(torch.zeros(9, 2))


class EveryKind(nn.Module):
    """One of every kind of parameter the model has, under the model's names."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.ModuleDict({"conv": nn.Conv2d(3, 4, 1), "norm": nn.LayerNorm(4), "attention": Attention()})
        self.backbone.register_parameter("absolute_pos_embed", nn.Parameter(torch.zeros(1, 4)))
        self.pixel_decoder = nn.ModuleDict({"conv": nn.Conv2d(4, 4, 1), "norm": nn.GroupNorm(2, 4)})
        self.pixel_decoder.register_parameter("level_embed", nn.Parameter(torch.zeros(3, 4)))
        self.decoder = nn.ModuleDict({"query_feat": nn.Embedding(5, 4), "attention": nn.MultiheadAttention(4, 2)})
        self.decoder["level_embed"] = nn.Embedding(3, 4)
        self.decoder["batch_norm"] = nn.BatchNorm1d(4)


# name: (in the backbone, decayed), as the published recipe has it
TABLE = {
    "backbone.conv.weight": (True, True),
    "backbone.conv.bias": (True, True),
    "backbone.norm.weight": (True, False),
    "backbone.norm.bias": (True, False),
    "backbone.attention.qkv.weight": (True, True),
    "backbone.attention.qkv.bias": (True, True),
    "backbone.attention.relative_position_bias_table": (True, False),
    "backbone.absolute_pos_embed": (True, False),
    "pixel_decoder.conv.weight": (False, True),
    "pixel_decoder.conv.bias": (False, True),
    "pixel_decoder.norm.weight": (False, False),
    "pixel_decoder.norm.bias": (False, False),
    "pixel_decoder.level_embed": (False, True),
    "decoder.query_feat.weight": (False, False),
    "decoder.attention.in_proj_weight": (False, True),
    "decoder.attention.in_proj_bias": (False, True),
    "decoder.attention.out_proj.weight": (False, True),
    "decoder.attention.out_proj.bias": (False, True),
    "decoder.level_embed.weight": (False, False),
    "decoder.batch_norm.weight": (False, False),
    "decoder.batch_norm.bias": (False, False),
}


def options_by_name(model: nn.Module) -> dict[str, tuple[float, float]]:
    names = {parameter: name for name, parameter in model.named_parameters()}
    groups = parameter_groups(model, learning_rate=1e-4, weight_decay=0.05, backbone_multiplier=0.1)
    found = [(names[p], (group["lr"], group["weight_decay"])) for group in groups for p in group["params"]]
    assert len(found) == len(dict(found)), "no parameter is in two groups"
    return dict(found)


def test_every_parameter_is_in_the_group_of_the_published_recipe() -> None:
    expected = {
        name: (pytest.approx(1e-5 if in_backbone else 1e-4), 0.05 if decayed else 0.0)
        for name, (in_backbone, decayed) in TABLE.items()
    }
    assert options_by_name(EveryKind()) == expected


def test_groups_of_the_whole_model(tiny_model) -> None:
    model = tiny_model()
    options = options_by_name(model)
    assert options.keys() == dict(model.named_parameters()).keys()
    assert options["decoder.query_feat.weight"] == (1e-4, 0.0)
    assert options["pixel_decoder.level_embed"] == (1e-4, 0.05)
    norms = [name for name in options if ".norm" in name or "norm." in name]
    assert norms
    assert all(options[name][1] == 0.0 for name in norms)


def test_shared_and_frozen_parameters_are_counted_right() -> None:
    model = EveryKind()
    model.decoder["tied"] = model.pixel_decoder["conv"]
    assert freeze(model, ["backbone.attention", "backbone.conv"]) == 5
    assert options_by_name(model).keys() == {
        name for name in TABLE if not name.startswith(("backbone.attention.", "backbone.conv."))
    }


def test_freezing_what_is_not_there_names_what_is() -> None:
    with pytest.raises(ValueError, match=r"under 'back'. The model consists of backbone, decoder, pixel_decoder"):
        freeze(EveryKind(), ["back"])


def test_nothing_to_train_is_an_error() -> None:
    model = EveryKind()
    freeze(model, ["backbone", "pixel_decoder", "decoder"])
    with pytest.raises(ValueError, match="nothing to train"):
        parameter_groups(model, learning_rate=1.0, weight_decay=0.0, backbone_multiplier=1.0)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (
            LearningRateSchedule("multistep", 6000, decay_steps=(4000,), warmup_steps=10),
            {0: 1.0, 5: 1.0, 3999: 1.0, 4000: 0.1, 5999: 0.1},
        ),
        (
            LearningRateSchedule("multistep", 10, decay_steps=(4, 8), decay_factor=0.5),
            {3: 1.0, 4: 0.5, 7: 0.5, 8: 0.25},
        ),
        (
            LearningRateSchedule("multistep", 100, warmup_steps=10, warmup_factor=0.1),
            {0: 0.1, 5: 0.55, 9: 0.91, 10: 1.0},
        ),
        (LearningRateSchedule("polynomial", 100), {0: 1.0, 50: 0.5**0.9, 99: 0.01**0.9, 100: 0.0, 120: 0.0}),
        (LearningRateSchedule("cosine", 100), {0: 1.0, 25: 0.5 + 0.5 * math.sqrt(0.5), 50: 0.5, 100: 0.0}),
        (LearningRateSchedule("constant", 100), {0: 1.0, 100: 1.0}),
    ],
)
def test_schedules(schedule: LearningRateSchedule, expected: dict[int, float]) -> None:
    assert {step: schedule.factor(step) for step in expected} == pytest.approx(expected, abs=1e-12)


def test_schedule_keeps_the_ratio_of_groups() -> None:
    groups = parameter_groups(EveryKind(), learning_rate=1e-4, weight_decay=0.05, backbone_multiplier=0.1)
    optimizer = torch.optim.AdamW(groups)
    schedule = LearningRateSchedule("multistep", 10, decay_steps=(2, 4))
    for step in (0, 5, 3):
        schedule.apply(optimizer, step)
    rates = {group["name"]: group["lr"] for group in optimizer.param_groups}
    assert rates == pytest.approx({"head": 1e-5, "head, no decay": 1e-5, "backbone": 1e-6, "backbone, no decay": 1e-6})


def test_falling_decay_steps_are_an_error() -> None:
    with pytest.raises(ValueError, match=r"decay_steps must rise, got \(20, 10\)"):
        LearningRateSchedule("multistep", 100, decay_steps=(20, 10))


def test_gradient_norm_is_that_of_the_whole_model() -> None:
    model = nn.ModuleList([nn.Linear(2, 1, bias=False), nn.Linear(2, 1, bias=False), nn.Linear(1, 1)])
    model[0].weight.grad = torch.tensor([[3.0, 0.0]])
    model[1].weight.grad = torch.tensor([[0.0, 4.0]])

    assert clip_gradient_norm(model, 0.0).item() == 5.0
    assert model[0].weight.grad.tolist() == [[3.0, 0.0]]
    assert clip_gradient_norm(model, 0.01).item() == 5.0
    torch.testing.assert_close(model[0].weight.grad, torch.tensor([[0.006, 0.0]]), rtol=1e-5, atol=0)
    torch.testing.assert_close(model[1].weight.grad, torch.tensor([[0.0, 0.008]]), rtol=1e-5, atol=0)
    model[1].weight.grad[0, 0] = math.nan
    assert math.isnan(clip_gradient_norm(model, 0.01).item())
