"""Builds the kernel library of ``video_mask2former/ops`` and puts ``configs/`` into the package.

The library is plain C++ and CUDA behind a C interface: building it needs neither torch nor Python headers, and one
build serves every version of both. What is built:

* no C++ compiler: nothing; the package works with plain torch;
* a C++ compiler: the CPU kernels;
* also nvcc, and no torch without CUDA in the environment: the CUDA kernels as well.

A compiler that is there but fails is an error. Environment variables:

    CXX, CXXFLAGS             C++ compiler and further flags
    CUDA_HOME                 where to look for bin/nvcc before the PATH
    VM2F_SKIP_EXTENSION=1     build nothing
    VM2F_BUILD_CUDA=0 or 1    do not build, or insist on, the CUDA kernels
    VM2F_CUDA_ARCHITECTURES   as "80;90", instead of all major ones that nvcc knows
"""

from __future__ import annotations

import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from setuptools import Extension, find_packages, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext

SOURCES = Path("video_mask2former/ops/csrc")
FLAGS = ["-std=c++17", "-O3", "-fPIC", "-fvisibility=hidden", "-Wall", "-Wextra"]
# Lets sums over channels be vectorised; NaN and infinity keep their meaning
CPU_KERNEL_FLAGS = ["-fno-math-errno", "-fno-trapping-math", "-fno-signed-zeros", "-fassociative-math"]
X86_VARIANTS = {
    "avx2": ["-mavx2", "-mfma"],
    "avx512": ["-mavx2", "-mfma", "-mavx512f", "-mavx512bw", "-mavx512cd", "-mavx512dq", "-mavx512vl"],
}
PREFER_WIDE_VECTORS = "-mprefer-vector-width=512"


def find_cxx() -> list[str] | None:
    """The C++ compiler's command, None if there is none. One named in CXX must exist."""
    if os.environ.get("CXX"):
        command = shlex.split(os.environ["CXX"])
        if shutil.which(command[0]) is None:
            sys.exit(f"error: CXX names {command[0]!r}, which is not there. Correct or unset CXX.")
        return command
    for name in ("c++", "g++", "clang++"):
        if shutil.which(name):
            return [name]
    return None


def find_nvcc() -> str | None:
    """The CUDA compiler, None if there is none or the CUDA kernels are not wanted."""
    wish = os.environ.get("VM2F_BUILD_CUDA")
    if wish == "0" or sys.platform != "linux":
        return None
    search = [str(Path(os.environ[name], "bin")) for name in ("CUDA_HOME", "CUDA_PATH") if os.environ.get(name)]
    nvcc = shutil.which("nvcc", path=os.pathsep.join([*search, os.environ.get("PATH", ""), "/usr/local/cuda/bin"]))
    if wish == "1":
        if nvcc is None:
            sys.exit("error: VM2F_BUILD_CUDA=1, but there is no nvcc. Set CUDA_HOME or install the CUDA toolkit.")
        return nvcc
    if nvcc and torch_without_cuda():
        print(
            "notice: the installed torch is without CUDA, so the CUDA kernels are left out (VM2F_BUILD_CUDA=1 insists)"
        )
        return None
    return nvcc


def torch_without_cuda() -> bool:
    """Whether the environment that is installed into has a torch for the CPU only.

    Read from its files, since torch cannot be imported in pip's isolated build environment.
    """
    for key in ("purelib", "platlib"):
        version_file = Path(sysconfig.get_path(key), "torch", "version.py")
        if version_file.exists():
            return re.search(r"^cuda\b[^=]*= *None", version_file.read_text(), re.MULTILINE) is not None
    return False


class BuildKernels(build_ext):
    """Compiles the kernels into a library that is opened with ctypes, not imported."""

    def get_ext_filename(self, fullname: str) -> str:
        """The same name for every Python version."""
        return f"{fullname.replace('.', os.sep)}.so"

    def build_extension(self, ext: Extension) -> None:
        """Compile each part and link them."""
        cxx, nvcc = find_cxx(), find_nvcc()
        assert cxx is not None, "the extension is declared only where there is a compiler"
        self.object_dir = Path(self.build_temp, "kernels")
        self.object_dir.mkdir(parents=True, exist_ok=True)
        compile_cxx = [*cxx, *FLAGS, *shlex.split(os.environ.get("CXXFLAGS", ""))]
        variants = {"baseline": []}
        if sys.platform == "linux" and platform.machine() in ("x86_64", "AMD64"):
            variants |= X86_VARIANTS
        objects = [self.compile(compile_cxx, "library.cpp", "library", x86_defines(variants))]
        objects += [self.compile(compile_cxx, f"{name}.cpp", name, []) for name in ("rle", "mask_logits")]
        for name, flags in variants.items():
            flags = [*CPU_KERNEL_FLAGS, *flags, *wide_vectors(cxx, name), f"-DVM2F_CPU_VARIANT={name}"]
            objects.append(self.compile(compile_cxx, "ms_deform_attn_cpu.cpp", f"cpu_{name}", flags))
        link = [*cxx, "-shared", "-pthread"]
        if nvcc:
            objects.append(self.compile(nvcc_command(nvcc, cxx), "ms_deform_attn_cuda.cu", "cuda", []))
            link = [nvcc, "-ccbin", cxx[0], "-shared", "-cudart", "static"]
        target = Path(self.get_ext_fullpath(ext.name))
        target.parent.mkdir(parents=True, exist_ok=True)
        unfinished = target.with_suffix(".tmp")
        self.run_compiler([*link, *objects, "-o", str(unfinished)])
        os.replace(unfinished, target)  # a process that uses the old library keeps it

    def compile(self, command: list[str], source: str, name: str, flags: list[str]) -> str:
        """Compile one file of csrc; the object's path."""
        target = str(self.object_dir / f"{name}.o")
        self.run_compiler([*command, *flags, "-c", str(SOURCES / source), "-o", target])
        return target

    def run_compiler(self, command: list[str]) -> None:
        """Run one command and stop with advice if it fails."""
        print(shlex.join(command), flush=True)
        if subprocess.run(command, check=False).returncode != 0:
            sys.exit(
                f"error: {command[0]} could not build the kernels of video_mask2former (its messages are above). "
                "Mend the compiler or name another one in CXX; VM2F_BUILD_CUDA=0 leaves out the CUDA kernels, "
                "VM2F_SKIP_EXTENSION=1 all of them (deformable attention then runs in plain torch, many times slower)."
            )


def x86_defines(variants: dict[str, list[str]]) -> list[str]:
    """Tells the library that the x86 variants are there to choose from."""
    return ["-DVM2F_X86_VARIANTS"] if "avx2" in variants else []


def wide_vectors(cxx: list[str], variant: str) -> list[str]:
    """Compilers avoid 512-bit vectors unless asked; old ones do not know the question."""
    if variant != "avx512":
        return []
    probe = [*cxx, PREFER_WIDE_VECTORS, "-x", "c++", "-fsyntax-only", "-"]
    known = subprocess.run(probe, input="", text=True, capture_output=True, check=False).returncode == 0
    return [PREFER_WIDE_VECTORS] if known else []


def nvcc_command(nvcc: str, cxx: list[str]) -> list[str]:
    """Compile CUDA for the wished architectures, with machine code for each and PTX for later ones."""
    command = [nvcc, "-ccbin", cxx[0], "-std=c++17", "-O3", "-Xcompiler", "-fPIC,-fvisibility=hidden", "--threads", "0"]
    architectures = [name for name in os.environ.get("VM2F_CUDA_ARCHITECTURES", "").split(";") if name]
    if not architectures:
        return [*command, "-arch=all-major"]
    for name in architectures:
        command += ["-gencode", f"arch=compute_{name},code=[sm_{name},compute_{name}]"]
    return command


def tell_when_building(text: str) -> None:
    """Say it once: pip runs this file for the metadata too."""
    if {"build", "build_ext", "bdist_wheel", "editable_wheel"}.intersection(sys.argv):
        print(f"notice: {text}")


class TagWheel(bdist_wheel):
    """The library depends on the platform but not on the Python version."""

    def get_tag(self) -> tuple[str, str, str]:
        """``py3-none-PLATFORM``."""
        _, _, plat = super().get_tag()
        return "py3", "none", plat


def kernels() -> list[Extension]:
    """The extension, if it is wanted and can be built here."""
    if os.environ.get("VM2F_SKIP_EXTENSION") == "1":
        tell_when_building("VM2F_SKIP_EXTENSION=1, so no kernels are built")
        return []
    if sys.platform == "win32" or find_cxx() is None:
        tell_when_building("no C++ compiler that can build the kernels, so plain torch will serve")
        return []
    return [Extension("video_mask2former.ops._kernels", sources=[], depends=[str(p) for p in SOURCES.glob("*")])]


setup(
    packages=[*find_packages(include=["video_mask2former*"]), "video_mask2former.configs"],
    package_dir={"video_mask2former.configs": "configs"},
    include_package_data=False,
    package_data={
        "video_mask2former": [
            "py.typed",
            "demo_model/*",
            "recipes/published_weights.yaml",
            "pages/*.html",
            "pages/*.css",
            "pages/*.js",
        ],
        "video_mask2former.configs": ["**/*.yaml"],
    },
    ext_modules=kernels(),
    cmdclass={"build_ext": BuildKernels, "bdist_wheel": TagWheel},
)
