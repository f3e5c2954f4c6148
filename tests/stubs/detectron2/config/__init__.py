"""``CfgNode``, ``configurable`` and the lazy configurations of detectron2.config."""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
from pathlib import Path
from typing import Any

import yaml
from fvcore.common.config import CfgNode as _CfgNode
from omegaconf import DictConfig, OmegaConf

__all__ = ["CfgNode", "LazyCall", "configurable", "get_cfg", "instantiate"]


class CfgNode(_CfgNode):
    """A tree of options; files may build on a ``_BASE_``."""

    def merge_from_file(self, cfg_filename: str, allow_unsafe: bool = True) -> None:
        loaded = type(self)(self.load_yaml_with_base(cfg_filename, allow_unsafe=allow_unsafe))
        assert loaded.get("VERSION", self.VERSION) == self.VERSION, "configurations of older versions are not upgraded"
        self.merge_from_other_cfg(loaded)


def _node(values: Any) -> Any:
    if isinstance(values, dict):
        node = CfgNode()
        for key, value in values.items():
            node[key] = _node(value)
        return node
    if isinstance(values, str) and values.startswith("("):
        return ast.literal_eval(values)
    return values


def get_cfg() -> CfgNode:
    """The defaults."""
    return _node(yaml.safe_load(Path(__file__).with_name("defaults.yaml").read_text()))


def configurable(init_func: Any) -> Any:
    """Lets a class be made from a configuration by its ``from_config``, or from its arguments."""
    assert inspect.isfunction(init_func) and init_func.__name__ == "__init__"

    @functools.wraps(init_func)
    def wrapped(self: Any, *args: Any, **kwargs: Any) -> None:
        from_config = getattr(type(self), "from_config", None)
        if not inspect.ismethod(from_config):
            raise AttributeError("a configurable class must have a classmethod 'from_config'")
        if next(iter(inspect.signature(from_config).parameters)) != "cfg":
            raise TypeError("the first parameter of from_config must be 'cfg'")
        if _is_called_with_cfg(*args, **kwargs):
            init_func(self, **_arguments(from_config, *args, **kwargs))
        else:
            init_func(self, *args, **kwargs)

    return wrapped


def _is_called_with_cfg(*args: Any, **kwargs: Any) -> bool:
    given = args[0] if args else kwargs.get("cfg")
    return isinstance(given, (_CfgNode, DictConfig))


def _arguments(from_config: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
    """Arguments that from_config does not take go to the constructor beside its result."""
    supported = set(inspect.signature(from_config).parameters)
    extra = {name: kwargs.pop(name) for name in list(kwargs) if name not in supported}
    return from_config(*args, **kwargs) | extra


class LazyCall:
    """``LazyCall(target)(**arguments)`` describes a call that :func:`instantiate` makes."""

    def __init__(self, target: Any) -> None:
        self._target = target

    def __call__(self, **kwargs: Any) -> DictConfig:
        target = f"{self._target.__module__}.{self._target.__qualname__}"
        return OmegaConf.create(kwargs | {"_target_": target}, flags={"allow_objects": True})


def instantiate(cfg: Any) -> Any:
    """Make the calls that a node describes, the inner ones first."""
    if isinstance(cfg, DictConfig) and "_target_" in cfg:
        values = {key: instantiate(cfg[key]) for key in cfg if key != "_target_"}
        target = cfg["_target_"]
        if isinstance(target, str):
            module, _, name = target.rpartition(".")
            target = getattr(importlib.import_module(module), name)
        return target(**values)
    return cfg
