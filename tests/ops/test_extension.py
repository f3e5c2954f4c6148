from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import video_mask2former
from video_mask2former.kernel_library import LIBRARY_PATH, load_library
from video_mask2former.ops import extension_status

ROOT = Path(__file__).parents[2]
USE_TWICE = """
import torch
from video_mask2former.ops import extension_status, ms_deform_attn
value, locations, weights = torch.ones(1, 4, 1, 1), torch.full((1, 1, 1, 1, 1, 2), 0.5), torch.ones(1, 1, 1, 1, 1)
for _ in range(2):
    output = ms_deform_attn(value, [(2, 2)], locations, weights)
assert output.item() == 1
print(extension_status())
"""


def test_status_tells_whether_the_library_serves() -> None:
    status = extension_status()
    assert status.path == LIBRARY_PATH
    if LIBRARY_PATH.exists():
        assert status.cpu in ("baseline", "avx2", "avx512")
        assert status.problem is None
        assert f"CPU ({status.cpu})" in str(status)
    else:
        assert status.cpu is None and status.cuda is None
        assert "none" in str(status)


def test_absent_library(tmp_path: Path) -> None:
    library, status = load_library(tmp_path / "_kernels.so")
    assert library is None
    assert status.problem is not None and "not built" in status.problem


def test_library_that_is_none(tmp_path: Path) -> None:
    path = tmp_path / "_kernels.so"
    path.write_bytes(b"no library at all")
    library, status = load_library(path)
    assert library is None
    assert status.problem is not None
    assert str(path) in status.problem and video_mask2former.__version__ in status.problem
    assert "install video_mask2former again" in status.problem


def test_library_of_another_version(compiler: str, tmp_path: Path) -> None:
    source, path = tmp_path / "other.cpp", tmp_path / "_kernels.so"
    source.write_text('extern "C" int vm2f_interface_version() { return 77; }')
    subprocess.run([compiler, "-shared", "-fPIC", source, "-o", path], check=True)
    library, status = load_library(path)
    assert library is None
    assert status.problem is not None
    assert f"interface version 77, video_mask2former {video_mask2former.__version__} needs" in status.problem


@pytest.fixture
def copied_package(tmp_path: Path) -> Path:
    """A copy of the package without its library."""
    ignored = shutil.ignore_patterns("*.so", "__pycache__")
    shutil.copytree(Path(video_mask2former.__file__).parent, tmp_path / "video_mask2former", ignore=ignored)
    return tmp_path


@pytest.mark.parametrize("broken", [False, True], ids=["absent", "broken"])
def test_the_reference_serves_and_says_so_once(broken: bool, copied_package: Path) -> None:
    if broken:
        (copied_package / "video_mask2former" / "ops" / "_kernels.so").write_bytes(b"no library at all")
    environment = {**os.environ, "PYTHONPATH": str(copied_package), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", USE_TWICE]
    result = subprocess.run(command, env=environment, cwd=copied_package, capture_output=True, text=True, check=True)
    assert result.stdout.startswith("compiled kernels: none; ")
    assert result.stderr.count("ms_deform_attn runs in plain torch on cpu") == 1
    assert result.stderr.count("The compiled kernels are not used") == int(broken)


class TestBuild:
    """What setup.py does without building anything, which is what differs from machine to machine."""

    def build(self, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
        if not (ROOT / "setup.py").exists():
            pytest.skip("not a source tree")
        environment = {name: value for name, value in os.environ.items() if name not in ("CXX", "VM2F_BUILD_CUDA")}
        command = [sys.executable, "setup.py", "build_ext", f"--build-lib={folder}", f"--build-temp={folder}"]
        return subprocess.run(
            command, cwd=ROOT, env={**environment, **variables}, capture_output=True, text=True, check=False
        )

    def test_can_be_skipped(self, tmp_path: Path) -> None:
        result = self.build(tmp_path, VM2F_SKIP_EXTENSION="1")
        assert result.returncode == 0, result.stderr
        assert "VM2F_SKIP_EXTENSION=1, so no kernels are built" in result.stdout
        assert not list(tmp_path.rglob("*.so"))

    def test_needs_no_compiler(self, tmp_path: Path) -> None:
        result = self.build(tmp_path, PATH=str(tmp_path))
        assert result.returncode == 0, result.stderr
        assert "no C++ compiler" in result.stdout
        assert not list(tmp_path.rglob("*.so"))

    def test_compiler_that_fails_is_an_error(self, tmp_path: Path) -> None:
        result = self.build(tmp_path, CXX="false", VM2F_BUILD_CUDA="0")
        assert result.returncode != 0
        assert "VM2F_SKIP_EXTENSION=1" in result.stderr

    def test_compiler_that_is_named_must_exist(self, tmp_path: Path) -> None:
        result = self.build(tmp_path, CXX="no-such-compiler")
        assert result.returncode != 0
        assert "CXX names 'no-such-compiler'" in result.stderr

    def test_wish_for_cuda_needs_nvcc(self, compiler: str, tmp_path: Path) -> None:
        if Path("/usr/local/cuda/bin/nvcc").exists() or shutil.which("nvcc"):
            pytest.skip("nvcc is here")
        result = self.build(tmp_path, VM2F_BUILD_CUDA="1")
        assert result.returncode != 0
        assert "there is no nvcc" in result.stderr
