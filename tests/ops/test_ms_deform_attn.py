from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from video_mask2former.ops import ms_deform_attn

SHAPES = [(3, 4), (2, 2)]


def small_problem(device: torch.device, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """Value, locations and weights on :data:`SHAPES`, with gradients; no location is on an edge between pixels."""
    generator = torch.Generator().manual_seed(3)
    value = torch.randn(2, 16, 2, 4, generator=generator, dtype=dtype)
    locations = torch.rand(2, 5, 2, 2, 3, 2, generator=generator, dtype=dtype) * 1.2 - 0.1
    weights = torch.rand(2, 5, 2, 2, 3, generator=generator, dtype=dtype)
    return [tensor.to(device).requires_grad_() for tensor in (value, locations, weights)]


def test_published_numbers(golden: Callable[[str], dict[str, np.ndarray]], device: torch.device) -> None:
    figures = {name: torch.from_numpy(array).to(device) for name, array in golden("ms_deform_attn").items()}
    inputs = [figures[name].requires_grad_() for name in ("value", "locations", "weights")]
    output = ms_deform_attn(inputs[0], figures["shapes"], inputs[1], inputs[2])
    torch.testing.assert_close(output, figures["output"], rtol=0, atol=1e-12)
    gradients = torch.autograd.grad(output, inputs, figures["grad_output"])
    for gradient, name in zip(gradients, ("grad_value", "grad_locations", "grad_weights"), strict=True):
        torch.testing.assert_close(gradient, figures[name], rtol=0, atol=1e-12)


def test_gradcheck(device: torch.device) -> None:
    value, locations, weights = small_problem(device)
    assert torch.autograd.gradcheck(lambda v, x, w: ms_deform_attn(v, SHAPES, x, w), (value, locations, weights))


def test_no_second_order_gradient() -> None:
    value, locations, weights = small_problem(torch.device("cpu"))
    output = ms_deform_attn(value, SHAPES, locations, weights)
    (gradient,) = torch.autograd.grad(output.square().sum(), locations, create_graph=True)
    with pytest.raises(NotImplementedError, match="only once"):
        gradient.sum().backward()


@pytest.mark.parametrize("operator", ["ms_deform_attn", "ms_deform_attn_backward"])
def test_torch_accepts_the_operator(operator: str, device: torch.device) -> None:
    value, locations, weights = small_problem(device)
    arguments = (value, [3, 4, 2, 2], locations, weights)
    if operator == "ms_deform_attn_backward":
        detached = (value.detach(), [3, 4, 2, 2], locations.detach(), weights.detach())
        arguments = (torch.ones(2, 5, 8, dtype=torch.float64, device=device), *detached)
    torch.library.opcheck(getattr(torch.ops.video_mask2former, operator).default, arguments)


@pytest.mark.parametrize("dynamic", [False, True])
def test_compiles_without_graph_breaks(dynamic: bool, device: torch.device) -> None:
    def attend(value: Tensor, locations: Tensor, weights: Tensor) -> Tensor:
        h, w = value.shape[1] // 8, 4  # sizes that follow from the input, as in the model
        return ms_deform_attn(value, [(h, w), (h, w)], locations, weights).sin()

    compiled = torch.compile(attend, fullgraph=True, dynamic=dynamic, backend="aot_eager")
    for height in (2, 3):
        value, locations, weights = small_problem(device)
        value = torch.randn(2, 8 * height, 2, 4, dtype=torch.float64, device=device, requires_grad=True)
        expected, output = (f(value, locations, weights) for f in (attend, compiled))
        torch.testing.assert_close(output, expected)
        inputs = (value, locations, weights)
        gradients = [torch.autograd.grad(x.sum(), inputs) for x in (output, expected)]
        torch.testing.assert_close(gradients[0], gradients[1])


def test_autocast_leaves_the_precision_to_the_values(device: torch.device) -> None:
    value, locations, weights = small_problem(device, torch.float32)
    half = value.detach().bfloat16().requires_grad_()
    with torch.autocast(device.type, torch.bfloat16):
        assert ms_deform_attn(value, SHAPES, locations, weights).dtype == torch.float32
        output = ms_deform_attn(half, SHAPES, locations, weights.bfloat16())
    assert output.dtype == torch.bfloat16
    exact = ms_deform_attn(half.float(), SHAPES, locations, weights.bfloat16())
    torch.testing.assert_close(output.float(), exact, rtol=2**-8, atol=0)  # rounded once, at the end
    output.float().sum().backward()
    assert half.grad is not None and half.grad.dtype == torch.bfloat16
    assert locations.grad is not None and locations.grad.dtype == torch.float32
    assert weights.grad is not None and weights.grad.dtype == torch.float32


@pytest.mark.parametrize("far", [1.6, -0.7, 1e4, -1e30, float("inf"), float("-inf"), float("nan")])
@pytest.mark.parametrize("axis", [0, 1])
def test_points_far_outside_give_exact_zeros(far: float, axis: int, device: torch.device) -> None:
    value, locations, weights = small_problem(device)
    value = torch.full_like(value, float("inf"), requires_grad=True)  # zero times this would be NaN
    locations = locations.detach().clamp(0.1, 0.9)
    locations[..., axis] = far
    locations.requires_grad_()
    output = ms_deform_attn(value, SHAPES, locations, weights)
    assert torch.equal(output, torch.zeros_like(output))
    for gradient in torch.autograd.grad(output.sum(), (value, locations, weights)):
        assert torch.equal(gradient, torch.zeros_like(gradient))


def test_layout_in_memory_does_not_matter(device: torch.device) -> None:
    inputs = small_problem(device)
    strided = [tensor.detach().transpose(0, -1).contiguous().transpose(0, -1).requires_grad_() for tensor in inputs]
    assert not any(tensor.is_contiguous() for tensor in strided)
    outputs = [ms_deform_attn(value, SHAPES, locations, weights) for value, locations, weights in (inputs, strided)]
    torch.testing.assert_close(outputs[0], outputs[1])
    weight = torch.randn_like(outputs[0]).transpose(0, 1).contiguous().transpose(0, 1)
    gradients = [torch.autograd.grad(output, x, weight) for output, x in zip(outputs, (inputs, strided), strict=True)]
    torch.testing.assert_close(gradients[0], gradients[1])


def test_shapes_as_a_tensor(device: torch.device) -> None:
    value, locations, weights = small_problem(device)
    shapes = torch.tensor(SHAPES, device=device)
    expected = ms_deform_attn(value, SHAPES, locations, weights)
    assert torch.equal(ms_deform_attn(value, shapes, locations, weights), expected)


class TestBadArguments:
    """One clear error for whatever does not fit."""

    def expect(self, error: type[Exception], match: str, **changed: object) -> None:
        value, locations, weights = small_problem(torch.device("cpu"))
        arguments = {"value": value, "spatial_shapes": SHAPES}
        arguments |= {"sampling_locations": locations, "attention_weights": weights} | changed
        with pytest.raises(error, match=match):
            ms_deform_attn(**arguments)

    def test_value(self) -> None:
        self.expect(ValueError, r"value must be \(N, S, M, D\), got \(2, 16, 8\)", value=torch.ones(2, 16, 8))
        self.expect(TypeError, r"value must be of floats, got torch\.int64", value=torch.ones(2, 16, 2, 4).long())

    def test_spatial_shapes(self) -> None:
        self.expect(
            ValueError, r"summing to S = 16 of value, got \[\(3, 4\)\], which sum to 12", spatial_shapes=[(3, 4)]
        )
        self.expect(ValueError, "summing to S = 16", spatial_shapes=[(-3, -4), (2, 2)])
        for wrong in ([(3, 4, 1), (2, 2, 1)], [3, 4, 2, 2], [(3.0, 4.0), (2.0, 2.0)]):
            self.expect(ValueError, r"must be \(h, w\) pairs of ints, got", spatial_shapes=wrong)
        self.expect(ValueError, r"an \(L, 2\) integer tensor", spatial_shapes=torch.tensor([3, 4, 2, 2]))
        self.expect(ValueError, r"an \(L, 2\) integer tensor", spatial_shapes=torch.tensor([[3.0, 4.0], [2.0, 2.0]]))

    @pytest.mark.parametrize(
        "shape", [(1, 5, 2, 2, 3, 2), (2, 5, 3, 2, 3, 2), (2, 5, 2, 1, 3, 2), (2, 5, 2, 2, 3, 3), (2, 5, 2, 2, 3)]
    )
    def test_sampling_locations(self, shape: tuple[int, ...]) -> None:
        self.expect(
            ValueError, r"sampling_locations must be .* \(N, M\) = \(2, 2\)", sampling_locations=torch.ones(shape)
        )

    @pytest.mark.parametrize("shape", [(2, 5, 2, 2, 4), (2, 4, 2, 2, 3), (2, 5, 2, 2, 3, 2)])
    def test_attention_weights(self, shape: tuple[int, ...]) -> None:
        self.expect(ValueError, r"attention_weights must be .* \(2, 5, 2, 2, 3\)", attention_weights=torch.ones(shape))

    def test_devices(self) -> None:
        self.expect(ValueError, "is on meta but value is on cpu", sampling_locations=torch.ones(1, device="meta"))
