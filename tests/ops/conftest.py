"""Problems that every implementation of deformable attention is put to, and a C++ compiler where there is one."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor

from video_mask2former import kernel_library
from video_mask2former.rle.kernels import RleKernels

SOURCES = Path(__file__).parents[2] / "video_mask2former" / "ops" / "csrc"


@dataclass(frozen=True)
class Case:
    """Sizes of one problem, in the letters of the operator's docstring."""

    name: str
    shapes: tuple[tuple[int, int], ...]
    N: int = 2
    Lq: int = 7
    M: int = 2
    D: int = 8
    P: int = 3

    @property
    def flat_shapes(self) -> list[int]:
        return [size for pair in self.shapes for size in pair]

    def tensors(self, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        """Random value, locations (a fifth of them outside) and weights."""
        generator = torch.Generator().manual_seed(len(self.name))
        S, L = sum(h * w for h, w in self.shapes), len(self.shapes)
        real = torch.float64 if dtype == torch.float64 else torch.float32
        value = torch.randn(self.N, S, self.M, self.D, generator=generator, dtype=torch.float64)
        locations = torch.rand(self.N, self.Lq, self.M, L, self.P, 2, generator=generator, dtype=torch.float64)
        weights = torch.rand(self.N, self.Lq, self.M, L, self.P, generator=generator, dtype=torch.float64)
        return value.to(device, dtype), (1.2 * locations - 0.1).to(device, real), weights.to(device, real)


CASES = (
    Case("model", ((3, 5), (6, 10), (12, 20)), Lq=30, M=8, D=32, P=4),
    Case("one_level", ((4, 6),), D=16, P=4),
    Case("one_pixel", ((1, 1), (1, 7), (5, 1)), D=4),
    Case("odd_channels", ((3, 4), (2, 2)), M=3, D=13, P=1),
    Case("one_channel", ((3, 4), (2, 2)), M=1, D=1),
    Case("wide_heads", ((3, 4), (2, 2)), M=1, D=200),
    Case("many_queries", ((5, 5), (3, 3)), N=1, Lq=301, M=1, D=24),
    Case("many_levels", tuple((n, n + 1) for n in range(1, 20)), D=4, P=1),
    Case("no_images", ((3, 4),), N=0),
    Case("no_queries", ((3, 4),), Lq=0),
    Case("no_heads", ((3, 4),), M=0),
    Case("no_channels", ((3, 4),), D=0),
    Case("no_points", ((3, 4),), P=0),
    Case("no_levels", ()),
    Case("an_empty_level", ((3, 4), (0, 5), (2, 0), (2, 2))),
    Case("no_pixels", ((0, 3),)),
)


@pytest.fixture(params=CASES, ids=lambda case: case.name)
def case(request: pytest.FixtureRequest) -> Case:
    """Each of the problems."""
    return request.param


@pytest.fixture(scope="session")
def compiler() -> str:
    """A C++ compiler's name."""
    name = next((name for name in ("c++", "g++", "clang++") if shutil.which(name)), None)
    if name is None:
        pytest.skip("no C++ compiler")
    return name


@pytest.fixture(scope="module", params=["built", "sanitized"])
def kernels(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> RleKernels:
    """Those of the package, and the same sources with a compiler that stops at undefined behaviour."""
    if request.param == "built":
        library = kernel_library.loaded()[0]
        if library is None:
            pytest.skip("no compiled kernels")
        return RleKernels(library)
    compiler = request.getfixturevalue("compiler")
    target = tmp_path_factory.mktemp("sanitized") / "rle.so"
    checks = [
        "-fsanitize=undefined",
        "-fno-sanitize-recover=all",
        "-D_GLIBCXX_ASSERTIONS",
        "-Wall",
        "-Wextra",
        "-Werror",
    ]
    sources = [str(SOURCES / name) for name in ("rle.cpp", "mask_logits.cpp")]
    command = [compiler, "-std=c++17", "-O1", *checks, "-pthread", "-fPIC", "-shared", *sources, "-o", str(target)]
    if subprocess.run(command, check=False, capture_output=True).returncode != 0:
        unchecked = [word for word in command if not word.startswith(("-fsanitize", "-fno-sanitize"))]
        subprocess.run(unchecked, check=True)
        pytest.skip("this compiler has no sanitizer")
    return RleKernels(ctypes.CDLL(str(target)))
