"""Flags of the command line for options of the configuration: ``--top-k 5`` is ``inference.top_k=5``."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Collection
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import yaml

from video_mask2former.config import Section

_METAVARS: dict[Any, str] = {int: "N", float: "X"}


def add_option_flags(
    group: argparse._ArgumentGroup,
    name: str,
    section: type[Section],
    *,
    defaults: Section | None = None,
    but: Collection[str] = (),
) -> None:
    """Add a flag for each option of a section, with its documentation as the help.

    Args:
        group: What the flags are added to.
        name: Name of the section in the configuration; :func:`flags_as_overrides` finds the flags by it.
        section: Its options; values are checked where overrides are.
        defaults: What the help says that holds where a flag is not given; None says nothing.
        but: Options without a flag.
    """
    hints = get_type_hints(section)
    for field in dataclasses.fields(section):
        if field.name in but:
            continue
        help_text = f"{field.metadata['doc'][0].lower()}{field.metadata['doc'][1:].rstrip('.')}"
        arguments: dict[str, Any] = {"dest": f"{name}.{field.name}", "help": help_text.replace("%", "%%")}
        if hints[field.name] is bool:
            arguments["action"] = argparse.BooleanOptionalAction
        else:
            arguments["metavar"] = _metavar(hints[field.name], field.name)
        default = getattr(defaults, field.name, None)
        if default is not None:
            shown = {True: "yes", False: "no"}.get(default, default) if isinstance(default, bool) else default
            arguments["help"] += f" (default: {shown})"
        group.add_argument(f"--{field.name.replace('_', '-')}", **arguments)


def flags_as_overrides(args: argparse.Namespace, name: str, section: type[Section]) -> list[str]:
    """The flags of a section that were given, as ``section.option=value``."""
    hints = get_type_hints(section)
    overrides = []
    for option, hint in hints.items():
        value = getattr(args, f"{name}.{option}", None)
        if value is None:
            continue
        if isinstance(value, bool):
            value = str(value).lower()
        elif any(get_origin(member) is tuple for member in _members(hint)):
            words = [word.strip() for word in value.split(",") if word.strip()]
            value = yaml.safe_dump(words, default_flow_style=True, width=10**6).strip()
        overrides.append(f"{name}.{option}={value}")
    return overrides


def _members(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, type(int | None)) else (hint,)


def _metavar(hint: Any, name: str) -> str:
    first = _members(hint)[0]
    if get_origin(first) is Literal:
        return f"{{{','.join(map(str, get_args(first)))}}}"
    if get_origin(first) is tuple:
        return "A,B"
    return _METAVARS.get(first, name.split("_")[-1].upper())
