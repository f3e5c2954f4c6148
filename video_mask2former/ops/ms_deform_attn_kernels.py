"""Hands tensors to the compiled kernels of multi-scale deformable attention."""

from __future__ import annotations

import ctypes
import functools
import logging
import sys
import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch
from torch import Tensor

from video_mask2former.kernel_library import extension_status, log_reference_in_use
from video_mask2former.ops.ms_deform_attn_arguments import check_arguments, computed_in
from video_mask2former.ops.ms_deform_attn_reference import ms_deform_attn_backward, ms_deform_attn_forward

# As enum DataType in csrc/ms_deform_attn.h
_CPU_DATA_TYPES = {torch.float32: 0, torch.float64: 1, torch.bfloat16: 2}
_CUDA_DATA_TYPES = {**_CPU_DATA_TYPES, torch.float16: 3}
_MAX_CUDA_LEVELS = 16
_MAX_PIXELS = 2**30  # pixels are counted in 32 bits
_OUT_OF_MEMORY = -1

logger = logging.getLogger(__name__)


class _Arguments(ctypes.Structure):
    """``struct Arguments`` of ``csrc/ms_deform_attn.h``, field by field."""

    _fields_ = (
        ("value", ctypes.c_void_p),
        ("sampling_locations", ctypes.c_void_p),
        ("attention_weights", ctypes.c_void_p),
        ("grad_output", ctypes.c_void_p),
        ("output", ctypes.c_void_p),
        ("grad_value", ctypes.c_void_p),
        ("grad_locations", ctypes.c_void_p),
        ("grad_weights", ctypes.c_void_p),
        ("spatial_shapes", ctypes.POINTER(ctypes.c_int64)),
        ("num_images", ctypes.c_int64),
        ("num_pixels", ctypes.c_int64),
        ("num_heads", ctypes.c_int64),
        ("num_channels", ctypes.c_int64),
        ("num_queries", ctypes.c_int64),
        ("num_levels", ctypes.c_int64),
        ("num_points", ctypes.c_int64),
        ("data_type", ctypes.c_int32),
        ("device", ctypes.c_int32),
        ("stream", ctypes.c_void_p),
        ("parallel_for", ctypes.c_void_p),
        ("num_threads", ctypes.c_int32),
    )


class MSDeformAttnKernels:
    """The library's kernels for one kind of device, as implementations of the torch operators.

    Args:
        library: The opened library.
        device_type: ``cpu`` or ``cuda``.
    """

    def __init__(self, library: ctypes.CDLL, device_type: str) -> None:
        self._library = library
        self._is_cuda = device_type == "cuda"
        self._data_types = _CUDA_DATA_TYPES if self._is_cuda else _CPU_DATA_TYPES
        self._run_forward = getattr(library, f"vm2f_ms_deform_attn_forward_{device_type}")
        self._run_backward = getattr(library, f"vm2f_ms_deform_attn_backward_{device_type}")

    def forward(
        self, value: Tensor, spatial_shapes: Sequence[int], sampling_locations: Tensor, attention_weights: Tensor
    ) -> Tensor:
        """As :func:`ms_deform_attn_forward`."""
        self._check(value, spatial_shapes, sampling_locations, attention_weights)
        if not self._takes(value, spatial_shapes):
            return ms_deform_attn_forward(value, spatial_shapes, sampling_locations, attention_weights)
        inputs = [tensor.contiguous() for tensor in (value, sampling_locations, attention_weights)]
        N, _, M, D = value.shape
        output = value.new_empty(N, sampling_locations.shape[1], M * D)
        if output.numel() > 0:
            arguments = self._arguments(spatial_shapes, *inputs)
            arguments.output = output.data_ptr()
            self._run(self._run_forward, arguments, value.device)
        return output

    def backward(
        self,
        grad_output: Tensor,
        value: Tensor,
        spatial_shapes: Sequence[int],
        sampling_locations: Tensor,
        attention_weights: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """As :func:`ms_deform_attn_backward`."""
        self._check(value, spatial_shapes, sampling_locations, attention_weights)
        N, _, M, D = value.shape
        if grad_output.shape != (N, sampling_locations.shape[1], M * D) or grad_output.dtype != value.dtype:
            raise ValueError(
                f"grad_output must be (N, Lq, M * D) = {(N, sampling_locations.shape[1], M * D)} {value.dtype}, "
                f"got {tuple(grad_output.shape)} {grad_output.dtype}."
            )
        if not self._takes(value, spatial_shapes):
            return ms_deform_attn_backward(grad_output, value, spatial_shapes, sampling_locations, attention_weights)
        if self._is_cuda:
            _alert_not_deterministic()
        grad_output, value, sampling_locations, attention_weights = (
            tensor.contiguous() for tensor in (grad_output, value, sampling_locations, attention_weights)
        )
        if grad_output.numel() == 0:
            return torch.zeros_like(value), torch.zeros_like(sampling_locations), torch.zeros_like(attention_weights)
        # the CUDA kernel adds to it with atomics, the CPU kernel writes it like everything else
        grad_value = torch.zeros_like(value, dtype=computed_in(value)) if self._is_cuda else torch.empty_like(value)
        grad_locations, grad_weights = torch.empty_like(sampling_locations), torch.empty_like(attention_weights)
        arguments = self._arguments(spatial_shapes, value, sampling_locations, attention_weights)
        arguments.grad_output = grad_output.data_ptr()
        arguments.grad_value = grad_value.data_ptr()
        arguments.grad_locations = grad_locations.data_ptr()
        arguments.grad_weights = grad_weights.data_ptr()
        self._run(self._run_backward, arguments, value.device)
        return grad_value.to(value.dtype), grad_locations, grad_weights

    def _check(
        self, value: Tensor, spatial_shapes: Sequence[int], sampling_locations: Tensor, attention_weights: Tensor
    ) -> None:
        """The kernels trust their arguments, so nothing reaches them unchecked."""
        check_arguments(value, spatial_shapes, sampling_locations, attention_weights)
        dtype = computed_in(value)
        if sampling_locations.dtype != dtype or attention_weights.dtype != dtype:
            raise TypeError(
                f"sampling_locations and attention_weights must be {dtype} for {value.dtype} values, got "
                f"{sampling_locations.dtype} and {attention_weights.dtype}. Call video_mask2former.ops.ms_deform_attn."
            )

    def _takes(self, value: Tensor, spatial_shapes: Sequence[int]) -> bool:
        """Whether the kernels can serve; if not, the log says once why plain torch does."""
        reason = None
        if value.dtype not in self._data_types:
            reason = f"the compiled kernels do not take {value.dtype}"
        elif value.shape[1] >= _MAX_PIXELS:
            reason = f"the compiled kernels take fewer than {_MAX_PIXELS} pixels"
        elif self._is_cuda and len(spatial_shapes) > 2 * _MAX_CUDA_LEVELS:
            reason = f"the CUDA kernels take {_MAX_CUDA_LEVELS} levels"
        elif self._is_cuda and not _cuda_kernels_run_on(self._library, value.device.index):
            return False  # said already
        if reason is not None:
            log_reference_in_use(value.device.type, reason)
        return reason is None

    def _arguments(
        self, spatial_shapes: Sequence[int], value: Tensor, sampling_locations: Tensor, attention_weights: Tensor
    ) -> _Arguments:
        N, S, M, D = value.shape
        _, Lq, _, L, P, _ = sampling_locations.shape
        arguments = _Arguments(
            value=value.data_ptr(),
            sampling_locations=sampling_locations.data_ptr(),
            attention_weights=attention_weights.data_ptr(),
            spatial_shapes=(ctypes.c_int64 * len(spatial_shapes))(*spatial_shapes),
            num_images=N,
            num_pixels=S,
            num_heads=M,
            num_channels=D,
            num_queries=Lq,
            num_levels=L,
            num_points=P,
            data_type=self._data_types[value.dtype],
        )
        if self._is_cuda:
            arguments.device = value.device.index
            arguments.stream = torch.cuda.current_stream(value.device).cuda_stream
        else:
            arguments.parallel_for = _torch_parallel_for()
            arguments.num_threads = torch.get_num_threads()
        return arguments

    def _run(self, kernel: Callable[..., int], arguments: _Arguments, device: torch.device) -> None:
        guard: AbstractContextManager[object] = torch.cuda.device(device) if self._is_cuda else nullcontext()
        with guard:
            status = kernel(ctypes.byref(arguments))  # without the interpreter's lock
        if status == _OUT_OF_MEMORY:
            raise MemoryError("ms_deform_attn could not allocate its scratch memory.")
        if status > 0:
            message = self._library.vm2f_cuda_error_string(status).decode()
            raise RuntimeError(f"the CUDA kernel of ms_deform_attn could not be launched: {message}.")
        assert status == 0, f"the kernel library refused a checked call with {status}"


@functools.cache
def _torch_parallel_for() -> int | None:
    """Address of torch's own parallel loop, so that one pool of threads serves all and ``set_num_threads`` counts.

    None in versions of torch that do not offer it; the library then starts threads of its own.
    """
    name = "libtorch_cpu.dylib" if sys.platform == "darwin" else "libtorch_cpu.so"
    try:
        function = ctypes.CDLL(str(Path(torch.__file__).with_name("lib") / name)).torch_parallel_for
    except (OSError, AttributeError):
        return None
    return ctypes.cast(function, ctypes.c_void_p).value


@functools.cache
def _cuda_kernels_run_on(library: ctypes.CDLL, device_index: int) -> bool:
    """Whether driver and GPU can run this build of the kernels; asked once per device, a no is warned about."""
    with torch.cuda.device(device_index):
        status = library.vm2f_cuda_probe(device_index)
    if status == 0:
        return True
    logger.warning(
        "The CUDA kernels were built with CUDA %s and do not run on %s (compute capability %s) under torch %s for "
        "CUDA %s: %s. Plain torch serves; update the driver or install video_mask2former again to rebuild them.",
        extension_status().cuda,
        torch.cuda.get_device_name(device_index),
        ".".join(map(str, torch.cuda.get_device_capability(device_index))),
        torch.__version__,
        torch.version.cuda,
        library.vm2f_cuda_error_string(status).decode(),
    )
    return False


def _alert_not_deterministic() -> None:
    """Do as torch's own operators do under ``torch.use_deterministic_algorithms``."""
    if not torch.are_deterministic_algorithms_enabled():
        return
    message = "the backward of ms_deform_attn has no deterministic CUDA implementation (it adds with atomics)"
    if not torch.is_deterministic_algorithms_warn_only_enabled():
        raise RuntimeError(f"{message}. Use torch.use_deterministic_algorithms(True, warn_only=True) to go on.")
    warnings.warn(f"{message}.", stacklevel=2)
