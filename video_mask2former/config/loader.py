"""Reading and writing configurations: strict YAML with ``_base_``, and dotted overrides."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import yaml

from video_mask2former.config.experiment import Config
from video_mask2former.config.schema import construct, parse_section, to_mapping
from video_mask2former.config.version_0_1 import choose_options, upgrade
from video_mask2former.documents import MAX_DEPTH, parse_yaml, read_layers
from video_mask2former.messages import shortened

BASE_KEY = "_base_"
_CLASS_OPTIONS = ("num_classes", "class_list", "class_names")

Overrides: TypeAlias = Sequence[str] | Mapping[str, Any]
"""Options that are to be changed: ``["training.max_steps=100"]``, or ``{"training.max_steps": 100}``."""


def load_config(path: str | os.PathLike[str], overrides: Overrides = ()) -> Config:
    """Read a YAML file and the files it builds on.

    ``_base_`` names one file or a list of files, relative to the file that names them. Later files win; mappings are
    merged, everything else is replaced.

    Args:
        path: The file.
        overrides: Options that win over the file, as in :func:`apply_overrides`.

    Raises:
        FileNotFoundError: If the file or one of its bases does not exist.
        ValueError: If a file is not YAML, has unknown or repeated keys or values of the wrong type or out of range, or
            builds on itself.
    """
    return apply_overrides(_construct(read_layers(Path(path), BASE_KEY, merge, _check_file), str(path)), overrides)


def apply_overrides(config: Config, overrides: Overrides) -> Config:
    """Replace options of a configuration.

    Args:
        config: The configuration to start from.
        overrides: Each ``section.option=value``, the value in YAML: ``model.num_queries=20``,
            ``data.short_sides=[360, 480]``, ``training.init_weights=null``. Or a mapping from ``section.option`` to
            the value itself.

    Raises:
        ValueError: If an override has no ``=``, names an unknown option, or its value has the wrong type or is out of
            range.
    """
    values = to_mapping(config)
    named = overrides.items() if isinstance(overrides, Mapping) else map(_read_override, overrides)
    for name, value in named:
        values = merge(values, _parse_override(name, value))
    if not overrides:
        return config
    return _construct(_parse(values, "the overrides"), "the overrides", list(overrides))


def config_from_mapping(values: Mapping[str, Any], origin: str) -> Config:
    """Make a configuration of plain values, such as a checkpoint's; ``origin`` names the source in errors."""
    return _construct(_parse(values, origin), origin)


def to_yaml(config: Config) -> str:
    """The whole configuration as YAML, which :func:`load_config` reads back to an equal one."""
    return yaml.safe_dump(to_mapping(config), sort_keys=False, default_flow_style=None, width=120)


def merge(base: Mapping[str, Any], update: Mapping[str, Any]) -> dict[str, Any]:
    """Merge nested mappings; what is not a mapping on both sides is replaced.

    A part of another name takes nothing over from the options of the part that it replaces, but the classes of a model.
    """
    if "name" in base and "name" in update and base["name"] != update["name"]:
        base = {key: value for key, value in base.items() if key in _CLASS_OPTIONS}
    merged = dict(base)
    for key, value in update.items():
        old = merged.get(key)
        merged[key] = merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def _check_file(values: dict[str, Any], path: Path) -> dict[str, Any]:
    """The checked options of one file."""
    if "MODEL" in values or "_BASE_" in values:
        raise ValueError(
            f"{path} is a detectron2 configuration. Read it with video_mask2former.load(), which accepts both kinds."
        )
    return _parse(values, str(path))


def _parse(values: object, origin: str) -> dict[str, Any]:
    return parse_section(Config, upgrade(values) if isinstance(values, Mapping) else values, origin)


def _construct(values: Mapping[str, Any], origin: str, overrides: Sequence[str] = ()) -> Config:
    try:
        return construct(Config, choose_options(values))
    except ValueError as error:
        guilty = [each for each in overrides if each.partition("=")[0].rpartition(".")[2] in str(error)]
        origin = f"overrides {' '.join(guilty)}" if guilty else origin
        raise ValueError(f"{error} Found in {origin}.") from error


def _read_override(override: str) -> tuple[str, Any]:
    """The name and the value of ``section.option=value``."""
    name, equals, text = override.partition("=")
    if not equals:
        raise ValueError(f"an override must read section.option=value, got {override!r}.")
    return name, parse_yaml(text, f"the value of override {shortened(override)} is not YAML that can be read")


def _parse_override(name: str, value: object) -> dict[str, Any]:
    override = f"{name[:200]}={shortened(value)}"
    parts = name.strip().split(".")
    if not all(parts) or len(parts) > MAX_DEPTH:
        raise ValueError(f"an override must read section.option=value, got {override!r}.")
    nested = value
    for part in reversed(parts):
        nested = {part: nested}
    return _parse(nested, f"override {override!r}")
