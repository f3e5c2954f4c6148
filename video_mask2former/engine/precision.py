"""Mixed precision: which type the model computes in, while the losses stay in float32."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")

AutocastType = Literal["float32", "bfloat16", "float16"]


class Precision:
    """Autocast for the model, and the gradient scaler that float16 needs.

    Args:
        dtype: "float32" is no autocast.
        device: Where the model is.
    """

    def __init__(self, dtype: AutocastType, device: torch.device) -> None:
        self._dtype: torch.dtype = getattr(torch, dtype)
        self._device_type = device.type
        self.scaler = torch.amp.GradScaler(device.type, enabled=dtype == "float16")

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """The context of a forward pass."""
        is_mixed = self._dtype != torch.float32
        return torch.autocast(self._device_type, self._dtype if is_mixed else None, enabled=is_mixed)


def to_float32(value: T) -> T:
    """Low-precision tensors anywhere inside dataclasses, mappings and sequences as float32.

    A tensor that occurs in several places, as mask features do, is converted once.
    """
    return _convert(value, {})


def _convert(value: Any, converted: dict[int, Tensor]) -> Any:
    if isinstance(value, Tensor):
        if value.dtype not in (torch.bfloat16, torch.float16):
            return value
        if id(value) not in converted:
            converted[id(value)] = value.float()
        return converted[id(value)]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: _convert(getattr(value, field.name), converted) for field in dataclasses.fields(value)}
        return type(value)(**fields)
    if isinstance(value, Mapping):
        return {key: _convert(item, converted) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_convert(item, converted) for item in value)
    return value
