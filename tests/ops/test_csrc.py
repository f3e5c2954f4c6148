"""The CUDA sources where there is no GPU: do they compile, and do they compute the right thing when run on the CPU."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path

import pytest
import torch

from video_mask2former.ops.ms_deform_attn_arguments import computed_in
from video_mask2former.ops.ms_deform_attn_kernels import MSDeformAttnKernels
from video_mask2former.ops.ms_deform_attn_reference import ms_deform_attn_backward, ms_deform_attn_forward

SOURCES = Path(__file__).parents[2] / "video_mask2former" / "ops" / "csrc"
EMULATION = Path(__file__).parent / "csrc" / "emulated_kernels.cpp"
MAX_CUDA_LEVELS = 16


def run(*command: str | Path) -> None:
    completed = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    assert completed.returncode == 0, completed.stderr
    assert "warning" not in completed.stderr, completed.stderr


@pytest.mark.parametrize("architecture", ["sm_80", "sm_90"])
def test_the_cuda_source_compiles(architecture: str, compiler: str, tmp_path: Path) -> None:
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        pytest.skip("no nvcc: the CUDA source is not compiled here")
    options = ["-std=c++17", "-O1", "-ccbin", compiler, "-Xcompiler", "-Wall,-Wextra,-fPIC"]
    source = SOURCES / "ms_deform_attn_cuda.cu"
    run(nvcc, *options, f"-arch={architecture}", "-c", source, "-o", tmp_path / "cuda.o")


@pytest.fixture(scope="module")
def emulated(tmp_path_factory: pytest.TempPathFactory) -> MSDeformAttnKernels:
    """The CUDA kernels compiled for the CPU, their warps run in lockstep."""
    compiler = next((name for name in ("c++", "g++", "clang++") if shutil.which(name)), None)
    if compiler is None:
        pytest.skip("no C++ compiler")
    library = tmp_path_factory.mktemp("emulation") / "emulated.so"
    warnings = ["-Wall", "-Wextra", "-Wno-unknown-pragmas"]
    run(compiler, "-std=c++17", "-O1", *warnings, "-fPIC", "-shared", f"-I{SOURCES}", EMULATION, "-o", library)
    return MSDeformAttnKernels(ctypes.CDLL(str(library)), "cpu")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_the_cuda_kernels_emulated_equal_the_reference(emulated: MSDeformAttnKernels, dtype: torch.dtype, case) -> None:
    if len(case.shapes) > MAX_CUDA_LEVELS:
        pytest.skip("more levels than the CUDA kernels take")
    value, locations, weights = case.tensors(dtype, torch.device("cpu"))
    arguments = (value, case.flat_shapes, locations, weights)
    tolerance = {"rtol": 2**-7 if dtype == torch.bfloat16 else 0, "atol": 1e-10 if dtype == torch.float64 else 1e-3}
    output = emulated.forward(*arguments)
    torch.testing.assert_close(output, ms_deform_attn_forward(*arguments), **tolerance)
    grad_output = torch.randn_like(output)
    gradients = emulated.backward(grad_output, *arguments)
    # Half-precision values are exact in float32, in which the kernels compute all but their results.
    real = computed_in(value)
    expected = ms_deform_attn_backward(grad_output.to(real), value.to(real), *arguments[1:])
    torch.testing.assert_close(gradients, (expected[0].to(dtype), *expected[1:]), **tolerance)
