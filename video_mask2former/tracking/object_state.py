"""The state of objects of another package as plain values and tensors, which can be saved and read back safely."""

from __future__ import annotations

import importlib
from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

_CONTAINERS: dict[str, type] = {"list": list, "tuple": tuple, "set": set, "deque": deque}


def pack_object(value: object, package: str) -> dict[str, Any]:
    """An object and everything it holds: numbers, text, arrays, containers, and objects and classes of one package.

    What several hold is packed once, and is one object again afterwards.

    Raises:
        TypeError: If it holds anything else.
    """
    packer = _Packer(package)
    return {"root": packer.pack(value), "nodes": packer.nodes}


def unpack_object(state: Mapping[str, Any], package: str) -> Any:
    """The object of :func:`pack_object`. No constructor is called, and classes come from the package only.

    Raises:
        ValueError: If the state names a class of another package.
    """
    return _Unpacker(state["nodes"], package).unpack(state["root"])


class _Packer:
    def __init__(self, package: str) -> None:
        self.nodes: list[dict[str, Any]] = []
        self._package = package
        self._index_of: dict[int, int] = {}

    def pack(self, value: Any) -> Any:
        if isinstance(value, np.generic):
            value = value.item()
        if value is None or isinstance(value, (bool, int, float, str)):
            return value
        if id(value) not in self._index_of:
            self._index_of[id(value)] = len(self.nodes)
            self.nodes.append({})
            self.nodes[self._index_of[id(value)]].update(self._node(value))
        return {"node": self._index_of[id(value)]}

    def _node(self, value: Any) -> dict[str, Any]:
        if isinstance(value, np.ndarray):
            return {"kind": "array", "value": torch.from_numpy(value.copy())}
        if isinstance(value, type):
            return {"kind": "class", "value": self._path(value)}
        if type(value) is dict:
            return {"kind": "dict", "value": [[self.pack(key), self.pack(each)] for key, each in value.items()]}
        for name, kind in _CONTAINERS.items():
            if type(value) is kind:
                values: Any = value
                length = {"length": value.maxlen} if isinstance(value, deque) else {}
                return {"kind": name, "value": [self.pack(each) for each in values], **length}
        attributes = {name: self.pack(each) for name, each in vars(value).items()}
        return {"kind": "object", "class": self._path(type(value)), "value": attributes}

    def _path(self, kind: type) -> str:
        if kind.__module__.split(".")[0] != self._package:
            raise TypeError(
                f"only objects of {self._package} can be saved, got one of {kind.__module__}.{kind.__name__}."
            )
        return f"{kind.__module__}:{kind.__qualname__}"


class _Unpacker:
    def __init__(self, nodes: list[dict[str, Any]], package: str) -> None:
        self._nodes = nodes
        self._package = package
        self._made: dict[int, Any] = {}

    def unpack(self, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        index = value["node"]
        if index not in self._made:
            self._made[index] = self._make(index, self._nodes[index])
        return self._made[index]

    def _make(self, index: int, node: Mapping[str, Any]) -> Any:
        kind, content = node["kind"], node["value"]
        if kind == "array":
            return content.numpy().copy()
        if kind == "class":
            return self._find(content)
        if kind == "dict":
            return {self.unpack(key): self.unpack(each) for key, each in content}
        if kind == "object":
            instance = object.__new__(self._find(node["class"]))
            self._made[index] = instance  # what it holds may hold it
            instance.__dict__.update({name: self.unpack(each) for name, each in content.items()})
            return instance
        values = [self.unpack(each) for each in content]
        return deque(values, node["length"]) if kind == "deque" else _CONTAINERS[kind](values)

    def _find(self, path: str) -> Any:
        module, _, name = path.partition(":")
        found = getattr(importlib.import_module(module), name, None) if module.split(".")[0] == self._package else None
        if not isinstance(found, type):
            raise ValueError(f"a saved state of {self._package} cannot hold {path!r}.")
        return found
