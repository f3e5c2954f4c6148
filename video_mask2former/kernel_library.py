"""Finds the library of compiled kernels and says what came of it.

The library is plain C++ behind a C interface that knows nothing of torch or Python (see ``ops/csrc``), so one build
serves every version of both; what must fit is the interface version, and that all functions are there.
"""

from __future__ import annotations

import ctypes
import functools
import logging
from dataclasses import dataclass
from pathlib import Path

from video_mask2former._version import __version__

INTERFACE_VERSION = 1
FUNCTIONS = (
    *("vm2f_interface_version", "vm2f_cpu_variant"),
    *("vm2f_ms_deform_attn_forward_cpu", "vm2f_ms_deform_attn_backward_cpu"),
    *("vm2f_rle_measure", "vm2f_rle_decode", "vm2f_rle_encode", "vm2f_rle_encode_logits"),
)
"""Of the CPU part; a library that lacks one is of another version."""

LIBRARY_PATH = Path(__file__).with_name("ops") / "_kernels.so"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ExtensionStatus:
    """Which compiled kernels there are.

    Attributes:
        path: Where the library is looked for.
        cpu: Instruction set of the CPU kernels on this machine (``baseline``, ``avx2``, ``avx512``), None without them.
        cuda: CUDA version of the CUDA kernels, such as ``13.0``, None without them.
        problem: Why there are none or only some, None if all is well.
    """

    path: Path
    cpu: str | None
    cuda: str | None
    problem: str | None

    def __str__(self) -> str:
        kernels = [f"CPU ({self.cpu})"] if self.cpu else []
        kernels += [f"CUDA {self.cuda}"] if self.cuda else []
        return f"compiled kernels: {' and '.join(kernels) or 'none'}" + (f"; {self.problem}" if self.problem else "")


def load_library(path: Path) -> tuple[ctypes.CDLL | None, ExtensionStatus]:
    """Open the library if it is there and speaks our interface; the status says why not."""
    if not path.exists():
        problem = "they were not built (no C++ compiler when the package was installed, or VM2F_SKIP_EXTENSION was set)"
        return None, ExtensionStatus(path, None, None, problem)
    advice = "install video_mask2former again to rebuild them"
    try:
        library = ctypes.CDLL(str(path))
        version = int(library.vm2f_interface_version())
    except (OSError, AttributeError) as error:
        problem = f"{path} cannot be loaded by video_mask2former {__version__}: {error}; {advice}"
        return None, ExtensionStatus(path, None, None, problem)
    if version != INTERFACE_VERSION:
        needed = f"video_mask2former {__version__} needs {INTERFACE_VERSION}"
        problem = f"{path} has interface version {version}, {needed}; {advice}"
        return None, ExtensionStatus(path, None, None, problem)
    missing = [name for name in FUNCTIONS if not hasattr(library, name)]
    if missing:
        problem = f"{path} is of another version of video_mask2former, it lacks {missing[0]}; {advice}"
        return None, ExtensionStatus(path, None, None, problem)
    library.vm2f_cpu_variant.restype = ctypes.c_char_p
    cpu = library.vm2f_cpu_variant().decode()
    if not hasattr(library, "vm2f_cuda_version"):
        return library, ExtensionStatus(path, cpu, None, None)
    library.vm2f_cuda_error_string.restype = ctypes.c_char_p
    major, minor = divmod(library.vm2f_cuda_version() // 10, 100)
    return library, ExtensionStatus(path, cpu, f"{major}.{minor}", None)


@functools.cache
def loaded() -> tuple[ctypes.CDLL | None, ExtensionStatus]:
    """The package's own library, opened once; a library that is there but of no use is warned about."""
    library, status = load_library(LIBRARY_PATH)
    if library is None and status.path.exists():
        logger.warning("The compiled kernels are not used, plain torch and numpy serve: %s.", status.problem)
    return library, status


def extension_status() -> ExtensionStatus:
    """Which compiled kernels serve, and if some do not, why."""
    return loaded()[1]


@functools.cache
def log_reference_in_use(device_type: str, reason: str | None = None) -> None:
    """Say once per kind of device and reason that the slow implementation serves.

    Args:
        device_type: ``cpu``, ``cuda`` or another.
        reason: Why kernels that are there do not serve; None where there are none.
    """
    status = extension_status()
    reason = reason or status.problem or f"they were built without {device_type} kernels"
    logger.warning(
        "ms_deform_attn runs in plain torch on %s, many times slower than compiled: %s.", device_type, reason
    )
