"""Containers of tensors print shapes and types, not thousands of numbers."""

from __future__ import annotations

from dataclasses import fields

from torch import Tensor


class ShownByShape:
    """A dataclass (made with ``repr=False``) that prints its tensors as ``(1, 100, 41) float32``; None is left out."""

    def __repr__(self) -> str:
        shown = ((field.name, getattr(self, field.name)) for field in fields(self))  # type: ignore[arg-type]
        parts = [f"{name}={shown_by_shape(value)}" for name, value in shown if not _is_empty(value)]
        return f"{type(self).__name__}({', '.join(parts)})"


def shown_by_shape(value: object) -> str:
    """A tensor by its shape, type and device (unless it is the CPU); several alike by their number."""
    if isinstance(value, Tensor):
        place = "" if value.device.type == "cpu" else f" {value.device}"
        return f"{tuple(value.shape)} {str(value.dtype).removeprefix('torch.')}{place}"
    if isinstance(value, tuple) and value and isinstance(value[0], ShownByShape):
        return f"{len(value)} x {type(value[0]).__name__}"
    if isinstance(value, tuple) and value and isinstance(value[0], Tensor):
        return f"({', '.join(map(shown_by_shape, value))})"
    return repr(value)


def _is_empty(value: object) -> bool:
    return value is None or (isinstance(value, tuple) and not value)
