"""Instances and what they are made of."""

from __future__ import annotations

from enum import IntEnum, unique
from typing import Any

import numpy as np
import torch


@unique
class BoxMode(IntEnum):
    """Forms of boxes."""

    XYXY_ABS = 0
    XYWH_ABS = 1


class Boxes:
    """Boxes ``(N, 4)``, x and y of two corners."""

    def __init__(self, tensor: torch.Tensor) -> None:
        tensor = torch.as_tensor(tensor, dtype=torch.float32)
        if tensor.numel() == 0:
            tensor = tensor.reshape((-1, 4))
        assert tensor.dim() == 2 and tensor.size(-1) == 4, tensor.size()
        self.tensor = tensor

    def to(self, device: torch.device) -> Boxes:
        return Boxes(self.tensor.to(device=device))

    def area(self) -> torch.Tensor:
        return (self.tensor[:, 2] - self.tensor[:, 0]) * (self.tensor[:, 3] - self.tensor[:, 1])

    def __getitem__(self, item: Any) -> Boxes:
        return Boxes(self.tensor[item].view(-1, 4))

    def __len__(self) -> int:
        return self.tensor.shape[0]


class BitMasks:
    """Masks ``(N, H, W)`` bool."""

    def __init__(self, tensor: torch.Tensor | np.ndarray) -> None:
        tensor = torch.as_tensor(tensor, dtype=torch.bool)
        assert tensor.dim() == 3, tensor.size()
        self.image_size = tensor.shape[1:]
        self.tensor = tensor

    def to(self, *args: Any, **kwargs: Any) -> BitMasks:
        return BitMasks(self.tensor.to(*args, **kwargs))

    def __getitem__(self, item: Any) -> BitMasks:
        chosen = self.tensor[item]
        return BitMasks(chosen[None] if isinstance(item, int) else chosen)

    def __len__(self) -> int:
        return self.tensor.shape[0]

    def nonempty(self) -> torch.Tensor:
        return self.tensor.flatten(1).any(dim=1)


class Instances:
    """The instances of one image, a field for each thing that is known of them; all fields have one length."""

    def __init__(self, image_size: tuple[int, int], **kwargs: Any) -> None:
        self._image_size = image_size
        self._fields: dict[str, Any] = {}
        for name, value in kwargs.items():
            self.set(name, value)

    @property
    def image_size(self) -> tuple[int, int]:
        return self._image_size

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            super().__setattr__(name, value)
        else:
            self.set(name, value)

    def __getattr__(self, name: str) -> Any:
        if name == "_fields" or name not in self._fields:
            raise AttributeError(f"Cannot find field '{name}' in the given Instances!")
        return self._fields[name]

    def set(self, name: str, value: Any) -> None:
        if self._fields:
            assert len(self) == len(value), f"Adding a field of length {len(value)} to {len(self)} Instances"
        self._fields[name] = value

    def has(self, name: str) -> bool:
        return name in self._fields

    def get(self, name: str) -> Any:
        return self._fields[name]

    def get_fields(self) -> dict[str, Any]:
        return self._fields

    def to(self, *args: Any, **kwargs: Any) -> Instances:
        moved = Instances(self._image_size)
        for name, value in self._fields.items():
            moved.set(name, value.to(*args, **kwargs) if hasattr(value, "to") else value)
        return moved

    def __getitem__(self, item: Any) -> Instances:
        chosen = Instances(self._image_size)
        for name, value in self._fields.items():
            chosen.set(name, value[item])
        return chosen

    def __len__(self) -> int:
        for value in self._fields.values():
            return len(value)
        raise NotImplementedError("Empty Instances does not support __len__!")
