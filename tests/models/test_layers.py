"""Layers that have a fast form, against the plain one."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from video_mask2former.models.layers import MLP, token_linear


@pytest.fixture(params=[1, 2])
def num_threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_token_linear_equals_linear_in_values_and_gradients(num_threads, dtype):
    tokens = torch.randn(2, 30, 16, dtype=dtype, requires_grad=True)
    weight = torch.randn(24, 16, dtype=dtype, requires_grad=True)
    bias = torch.randn(24, dtype=dtype, requires_grad=True)
    result, expected = token_linear(tokens, weight, bias), F.linear(tokens, weight, bias)
    tolerance = {"rtol": 1e-4, "atol": 1e-4} if dtype == torch.float32 else {}
    torch.testing.assert_close(result, expected, **tolerance)
    direction = torch.randn_like(expected)
    gradients = [torch.autograd.grad(y, (tokens, weight, bias), direction) for y in (result, expected)]
    torch.testing.assert_close(*gradients, **tolerance)


def test_token_linear_of_no_tokens(num_threads):
    assert token_linear(torch.zeros(2, 0, 16), torch.zeros(24, 16), torch.zeros(24)).shape == (2, 0, 24)


def test_mlp_is_its_linear_layers():
    mlp = MLP(4, 8, 3, num_layers=3)
    x = torch.randn(5, 4)
    first, second, third = mlp.layers
    torch.testing.assert_close(mlp(x), third(torch.relu(second(torch.relu(first(x))))))
