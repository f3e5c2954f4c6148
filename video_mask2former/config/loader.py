"""Reading and writing configurations: strict YAML with ``_base_``, and dotted overrides."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import yaml

from video_mask2former.config.experiment import Config
from video_mask2former.config.schema import construct, parse_section, to_mapping
from video_mask2former.config.version_0_1 import choose_options, upgrade

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
    return apply_overrides(_construct(_read(Path(path), ()), str(path)), overrides)


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


def read_yaml(path: Path) -> dict[str, Any]:
    """Read one YAML file whose top level is a mapping, rejecting repeated keys.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not YAML, repeats a key, or its top level is not a mapping.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no configuration file {path}.")
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not a YAML file: {error}") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ValueError(f"the top level of {path} must be a mapping of sections, got {type(values).__name__}.")
    return values


def _read(path: Path, readers: tuple[Path, ...]) -> dict[str, Any]:
    """The checked options of a file and its bases; ``readers`` are the files whose bases led here."""
    resolved = path.resolve()
    if resolved in readers:
        chain = " -> ".join(str(reader) for reader in (*readers, resolved))
        raise ValueError(f"{BASE_KEY} of {readers[-1]} leads back to a file that is being read: {chain}.")
    values = read_yaml(path)
    if "MODEL" in values or "_BASE_" in values:
        raise ValueError(
            f"{path} is a detectron2 configuration. Read it with video_mask2former.load(), which accepts both kinds."
        )
    bases = values.pop(BASE_KEY, [])
    bases = [bases] if isinstance(bases, str) else bases
    if not isinstance(bases, list) or not all(isinstance(base, str) for base in bases):
        raise ValueError(f"{BASE_KEY} in {path} must be a file or a list of files, got {bases!r}.")
    merged: dict[str, Any] = {}
    for base in bases:
        merged = merge(merged, _read(path.parent / base, (*readers, resolved)))
    return merge(merged, _parse(values, str(path)))


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
    try:
        return name, yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise ValueError(f"the value of override {override!r} is not YAML: {error}") from error


def _parse_override(name: str, value: object) -> dict[str, Any]:
    override = f"{name}={value}"
    parts = name.strip().split(".")
    if not all(parts):
        raise ValueError(f"an override must read section.option=value, got {override!r}.")
    nested = value
    for part in reversed(parts):
        nested = {part: nested}
    return _parse(nested, f"override {override!r}")


class _Loader(yaml.SafeLoader):
    """YAML as people expect it: ``1e-4`` is a number, and a key that occurs twice is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        repeated = sorted({str(key) for key in keys if keys.count(key) > 1})
        if repeated:
            raise yaml.constructor.ConstructorError(None, None, f"key {repeated[0]!r} occurs twice", node.start_mark)
        return super().construct_mapping(node, deep)


# YAML 1.1 wants a dot and a sign in the exponent; YAML 1.2 and people do not.
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9][0-9_]*(\.[0-9_]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)
