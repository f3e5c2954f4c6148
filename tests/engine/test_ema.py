from __future__ import annotations

import pytest
import torch
from torch import nn

from video_mask2former.engine import ExponentialMovingAverage


def test_average_follows_the_formula() -> None:
    model = nn.Linear(1, 1, bias=False)
    model.weight.data.fill_(1.0)
    ema = ExponentialMovingAverage(model, 0.3)
    expected = 1.0
    for number, weight in enumerate([2.0, 4.0, -1.0, 3.0, 0.5]):
        model.weight.data.fill_(weight)
        ema.update()
        decay = min(0.3, (1 + number) / (10 + number))
        expected = decay * expected + (1 - decay) * weight
        assert ema.state_dict()["averages"]["weight"].item() == pytest.approx(expected, rel=1e-6)


def test_model_holds_the_average_inside_the_block_only() -> None:
    model = nn.Linear(2, 2)
    ema = ExponentialMovingAverage(model, 0.9)
    average = model.weight.detach().clone()
    model.weight.data.add_(1.0)
    own = model.weight.detach().clone()

    with pytest.raises(RuntimeError, match="inside"), ema.in_model():
        assert torch.equal(model.weight, average)
        raise RuntimeError("inside")
    assert torch.equal(model.weight, own)


def test_buffers_and_frozen_parameters_are_copied() -> None:
    model = nn.BatchNorm1d(2)
    model.bias.requires_grad_(False)
    ema = ExponentialMovingAverage(model, 0.5)
    for _ in range(2):
        model(torch.rand(8, 2))
        model.bias.data.add_(1.0)
        ema.update()
    averages = ema.state_dict()["averages"]
    assert averages["num_batches_tracked"] == 2
    assert torch.equal(averages["running_mean"], model.running_mean)
    assert torch.equal(averages["bias"], model.bias)


def test_state_goes_on_where_it_was() -> None:
    model = nn.Linear(2, 2)
    first = ExponentialMovingAverage(model, 0.9)
    first.update()
    second = ExponentialMovingAverage(nn.Linear(2, 2), 0.9)
    second.load_state_dict(first.state_dict())
    assert torch.equal(second.state_dict()["averages"]["weight"], model.weight)
    assert second.state_dict()["num_updates"] == 1

    with pytest.raises(ValueError, match=r"2 tensors differ, first \['bias'"):
        ExponentialMovingAverage(nn.Embedding(2, 2), 0.9).load_state_dict(
            {"num_updates": 1, "averages": {"weight": model.weight, "bias": model.bias, "x": model.bias}}
        )


@pytest.mark.parametrize("decay", [0.0, 1.0, -0.1])
def test_decay_out_of_range_is_an_error(decay: float) -> None:
    with pytest.raises(ValueError, match="decay must lie between 0 and 1"):
        ExponentialMovingAverage(nn.Linear(1, 1), decay)
