"""Whether a model fits into the memory, found out before any of it is taken."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import (
    register_module_buffer_registration_hook,
    register_module_module_registration_hook,
    register_module_parameter_registration_hook,
)
from torch.overrides import TorchFunctionMode

_SMALL = 10_000  # numbers, which may as well have values

MAX_MODULES = 5000
"""Of a model: the largest published ones have two thousand."""

# What torch says of sizes that no tensor can have, and of what only has no values on the meta device
_IMPOSSIBLE = ("overflow", "negative dimension", "too large", "Storage size", "not enough memory", "out of range")


class _WithoutValues(TorchFunctionMode):
    """Leaves out values: there are none on the meta device, but asking for them would import torch's compiler."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        options = kwargs or {}
        if func in (Tensor.normal_, Tensor.uniform_) or getattr(func, "__module__", None) == nn.init.__name__:
            return args[0] if args else options["tensor"]
        if func is torch.arange and all(isinstance(bound, int) for bound in args):
            length = len(range(*args))
            place = torch.device("cpu" if length < _SMALL else "meta")
            return torch.empty(length, dtype=options.get("dtype", torch.int64), device=place).zero_()
        return func(*args, **options)


def check_fits_in_memory(build: Callable[[], object], what: str) -> None:
    """Build something on torch's meta device, where tensors have sizes and no memory, and add the sizes up.

    Args:
        build: Makes it. What cannot be built without values, as a custom part may be, is not checked.
        what: What to call it in the error.

    Raises:
        ValueError: If its parameters and buffers are more than the memory that is free, or it has no end of modules.
    """
    free = free_memory()
    try:
        with torch.device("meta"), _WithoutValues(), _budget(free, what):
            build()
    except (RuntimeError, TypeError, OverflowError, MemoryError, NotImplementedError) as error:
        if isinstance(error, (OverflowError, MemoryError)) or any(word in str(error) for word in _IMPOSSIBLE):
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise ValueError(f"{what} cannot be built: a size is beyond any memory ({reason}).") from error


def free_memory() -> int:
    """Bytes that programs can take without swapping; all there is, where the system does not say."""
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return 1024 * int(next(line for line in lines if line.startswith("MemAvailable")).split()[1])
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


@contextlib.contextmanager
def _budget(num_bytes: int, what: str) -> Iterator[None]:
    """Stop the building of modules as soon as they exceed what there is."""
    taken = num_modules = 0

    def count_tensor(module: nn.Module, name: str, tensor: Tensor | None) -> None:
        nonlocal taken
        taken += 0 if tensor is None else tensor.numel() * tensor.element_size()
        if taken > num_bytes:
            raise ValueError(
                f"{what} needs more than the {num_bytes / 2**30:.1f} GiB of memory that are free: "
                f"{type(module).__name__}.{name} alone is {tuple(tensor.shape) if tensor is not None else ()}. "
                "Check its sizes, such as num_queries and hidden_dim."
            )

    def count_module(module: nn.Module, name: str, submodule: nn.Module | None) -> None:
        nonlocal num_modules
        num_modules += 1
        if num_modules > MAX_MODULES:
            raise ValueError(f"{what} has more than {MAX_MODULES} layers. Check numbers of layers and depths.")

    handles = [
        register_module_parameter_registration_hook(count_tensor),
        register_module_buffer_registration_hook(count_tensor),
        register_module_module_registration_hook(count_module),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
