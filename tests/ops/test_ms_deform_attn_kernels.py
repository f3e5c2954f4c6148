"""The compiled kernels against the reference, and what only they do."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from video_mask2former.kernel_library import log_reference_in_use
from video_mask2former.ops import extension_status, ms_deform_attn_kernels
from video_mask2former.ops.ms_deform_attn_arguments import computed_in
from video_mask2former.ops.ms_deform_attn_reference import ms_deform_attn_backward, ms_deform_attn_forward

OPERATORS = torch.ops.video_mask2former
TOLERANCES = {torch.float64: 1e-11, torch.float32: 1e-4, torch.bfloat16: 2e-2, torch.float16: 2e-3}


@pytest.fixture
def needs_kernels(device: torch.device) -> None:
    if getattr(extension_status(), device.type) is None:
        pytest.skip(f"no compiled kernels for {device.type}")


def assert_near(actual: Tensor, expected: Tensor, dtype: torch.dtype) -> None:
    assert actual.dtype == expected.dtype
    scale = max(1.0, expected.abs().max().item()) if expected.numel() else 1.0
    torch.testing.assert_close(actual, expected, rtol=0, atol=TOLERANCES[dtype] * scale)


@pytest.mark.usefixtures("needs_kernels")
@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
def test_forward_and_backward_equal_the_reference(case, dtype: torch.dtype, device: torch.device) -> None:
    value, locations, weights = case.tensors(dtype, device)
    arguments = (value, case.flat_shapes, locations, weights)
    output = OPERATORS.ms_deform_attn(*arguments)
    assert output.shape == (case.N, case.Lq, case.M * case.D)
    assert_near(output, ms_deform_attn_forward(*arguments), dtype)
    grad_output = torch.randn(output.shape, dtype=computed_in(value), device=device).to(dtype)
    gradients = OPERATORS.ms_deform_attn_backward(grad_output, *arguments)
    # half-precision values are exact in float32, and the kernels round nothing but their results
    real = computed_in(value)
    expected = ms_deform_attn_backward(grad_output.to(real), value.to(real), *arguments[1:])
    assert_near(gradients[0], expected[0].to(dtype), dtype)
    assert_near(gradients[1], expected[1], real)
    assert_near(gradients[2], expected[2], real)


@pytest.mark.usefixtures("needs_kernels")
def test_the_kernels_are_what_serves(device: torch.device, monkeypatch: pytest.MonkeyPatch, case) -> None:
    def refuse(*arguments: object) -> None:
        raise AssertionError("the reference was called")

    monkeypatch.setattr(ms_deform_attn_kernels, "ms_deform_attn_forward", refuse)
    monkeypatch.setattr(ms_deform_attn_kernels, "ms_deform_attn_backward", refuse)
    if device.type == "cuda" and case.name == "many_levels":
        pytest.skip("more levels than the CUDA kernels take")
    value, locations, weights = case.tensors(torch.float32, device)
    output = OPERATORS.ms_deform_attn(value, case.flat_shapes, locations, weights)
    OPERATORS.ms_deform_attn_backward(torch.ones_like(output), value, case.flat_shapes, locations, weights)


@pytest.mark.parametrize("device", ["cpu"], indirect=True)
@pytest.mark.usefixtures("needs_kernels")
def test_what_the_kernels_do_not_take_is_said_once(device: torch.device, caplog: pytest.LogCaptureFixture) -> None:
    log_reference_in_use.cache_clear()
    value, locations = torch.ones(1, 12, 1, 2).half(), torch.ones(1, 3, 1, 1, 1, 2)
    for _ in range(2):
        OPERATORS.ms_deform_attn(value, [3, 4], locations, torch.ones(1, 3, 1, 1, 1))
    assert caplog.text.count("the compiled kernels do not take torch.float16") == 1


@pytest.mark.usefixtures("needs_kernels")
@pytest.mark.parametrize("torch_threads", [True, False], ids=["torch_threads", "own_threads"])
def test_the_number_of_threads_changes_no_bit(torch_threads: bool, case, monkeypatch: pytest.MonkeyPatch) -> None:
    if not torch_threads:
        monkeypatch.setattr(ms_deform_attn_kernels, "_torch_parallel_for", lambda: None)
    value, locations, weights = case.tensors(torch.float32, torch.device("cpu"))
    before, results = torch.get_num_threads(), []
    try:
        for num_threads in (1, 2, 5):
            torch.set_num_threads(num_threads)
            output = OPERATORS.ms_deform_attn(value, case.flat_shapes, locations, weights)
            grad_output = torch.ones_like(output)
            gradients = OPERATORS.ms_deform_attn_backward(grad_output, value, case.flat_shapes, locations, weights)
            results.append((output, *gradients))
    finally:
        torch.set_num_threads(before)
    for result in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(result, results[0], strict=True))


@pytest.mark.usefixtures("needs_kernels")
def test_values_at_any_address(device: torch.device) -> None:
    """Views that start off the alignment of whole vectors."""
    storage = torch.randn(1 + 12 * 2 * 8, device=device)
    value = storage[1:].view(1, 12, 2, 8)
    locations, weights = torch.rand(1, 5, 2, 1, 3, 2, device=device), torch.rand(1, 5, 2, 1, 3, device=device)
    arguments = (value, [3, 4], locations, weights)
    output = OPERATORS.ms_deform_attn(*arguments)
    torch.testing.assert_close(output, ms_deform_attn_forward(*arguments))
    gradients = OPERATORS.ms_deform_attn_backward(output, *arguments)
    torch.testing.assert_close(gradients, ms_deform_attn_backward(output, *arguments), rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures("needs_kernels")
def test_nan_and_infinite_values_stay_where_they_are_sampled(device: torch.device) -> None:
    value = torch.zeros(1, 12, 1, 32, device=device)
    value[0, 0], value[0, 11] = float("nan"), float("inf")
    centres = torch.tensor([[0.5 / 4, 0.5 / 3], [1.5 / 4, 2.5 / 3], [3.5 / 4, 2.5 / 3]], device=device)
    locations, weights = centres.reshape(1, 3, 1, 1, 1, 2), torch.ones(1, 3, 1, 1, 1, device=device)
    for dtype in (torch.float32, torch.bfloat16):
        output = OPERATORS.ms_deform_attn(value.to(dtype), [3, 4], locations, weights)[0]
        assert output[0].isnan().all()
        assert (output[1] == 0).all()
        assert not output[2].isfinite().any()


@pytest.mark.usefixtures("needs_kernels")
def test_the_kernels_check_what_they_are_given(device: torch.device) -> None:
    value, locations = torch.ones(1, 12, 1, 2, device=device), torch.ones(1, 3, 1, 1, 1, 2, device=device)
    weights = torch.ones(1, 3, 1, 1, 1, device=device)
    with pytest.raises(ValueError, match="summing to S"):
        OPERATORS.ms_deform_attn(value, [3, 5], locations, weights)
    with pytest.raises(TypeError, match=r"must be torch\.float32"):
        OPERATORS.ms_deform_attn(value, [3, 4], locations.double(), weights)
    with pytest.raises(ValueError, match="grad_output must be"):
        OPERATORS.ms_deform_attn_backward(torch.ones(1, 3, 3, device=device), value, [3, 4], locations, weights)


@pytest.mark.cuda
@pytest.mark.parametrize("device", ["cuda"], indirect=True)
@pytest.mark.usefixtures("needs_kernels")
class TestCuda:
    """What only a GPU can show."""

    def test_the_current_stream_is_used(self, device: torch.device) -> None:
        value, locations = torch.randn(4, 5040, 8, 32, device=device), torch.rand(4, 5040, 8, 3, 4, 2, device=device)
        weights = torch.rand(4, 5040, 8, 3, 4, device=device)
        shapes = [12, 20, 24, 40, 48, 80]
        expected = OPERATORS.ms_deform_attn(value, shapes, locations, weights)
        torch.cuda.synchronize()
        stream = torch.cuda.Stream()
        with torch.cuda.stream(stream):
            late = torch.zeros_like(value)
            torch.cuda._sleep(100_000_000)
            late.copy_(value)  # read too early on any other stream
            output = OPERATORS.ms_deform_attn(late, shapes, locations, weights)
        stream.synchronize()
        assert torch.equal(output, expected)

    def test_runs_in_a_cuda_graph(self, device: torch.device) -> None:
        value, locations = torch.randn(1, 12, 2, 8, device=device), torch.rand(1, 5, 2, 1, 3, 2, device=device)
        weights = torch.rand(1, 5, 2, 1, 3, device=device)
        OPERATORS.ms_deform_attn(value, [3, 4], locations, weights)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            output = OPERATORS.ms_deform_attn(value, [3, 4], locations, weights)
        value.normal_()
        graph.replay()
        torch.testing.assert_close(output, ms_deform_attn_forward(value, [3, 4], locations, weights))

    def test_every_device(self, device: torch.device) -> None:
        for index in range(torch.cuda.device_count()):
            value = torch.ones(1, 4, 1, 4, device=f"cuda:{index}")
            locations = torch.full((1, 1, 1, 1, 1, 2), 0.5, device=value.device)
            weights = torch.ones(1, 1, 1, 1, 1, device=value.device)
            assert torch.equal(OPERATORS.ms_deform_attn(value, [2, 2], locations, weights).cpu(), torch.ones(1, 1, 4))

    def test_deterministic_mode_is_honoured(self, device: torch.device) -> None:
        value, locations = torch.ones(1, 4, 1, 4, device=device), torch.ones(1, 1, 1, 1, 1, 2, device=device)
        weights = torch.ones(1, 1, 1, 1, 1, device=device)
        torch.use_deterministic_algorithms(True)
        try:
            with pytest.raises(RuntimeError, match="no deterministic CUDA implementation"):
                OPERATORS.ms_deform_attn_backward(torch.ones(1, 1, 4, device=device), value, [2, 2], locations, weights)
        finally:
            torch.use_deterministic_algorithms(False)
