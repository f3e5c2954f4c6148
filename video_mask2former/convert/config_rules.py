"""What may become of a key of a published configuration, and how a table of such rules is applied."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from video_mask2former.convert.key_map import nearest
from video_mask2former.messages import shortened


def _same(value: Any) -> Any:
    return value


@dataclass(frozen=True)
class Option:
    """A key that is one option of ours.

    Attributes:
        name: Dotted name of the option.
        convert: Makes its value of the key's.
    """

    name: str
    convert: Callable[[Any], Any] = _same


@dataclass(frozen=True)
class Built:
    """A key whose value is built into this model.

    Attributes:
        values: The values that mean what is built.
        reason: What is built.
    """

    values: tuple[object, ...]
    reason: str


@dataclass(frozen=True)
class Unused:
    """A key that says nothing here.

    Attributes:
        reason: Why not.
    """

    reason: str


@dataclass(frozen=True)
class Combined:
    """A key that makes options together with others.

    Attributes:
        options: Dotted names of the options.
    """

    options: tuple[str, ...]


Rule = Option | Built | Unused | Combined


def check_known(keys: Iterable[str], table: Mapping[str, Rule], place: str, origin: str) -> None:
    """Refuse keys that a table does not have.

    Args:
        keys: Dotted names that a file gives.
        table: The rules.
        place: File of the table, for the error.
        origin: Name of the file that was read.

    Raises:
        ValueError: If there is such a key.
    """
    for key in keys:
        if key not in table:
            raise ValueError(
                f"unknown key {shortened(key)} in {origin}{nearest(str(key)[:80], table)}. "
                f"Add it to the table of {place} if it means nothing here."
            )


def apply_rules(flat: Mapping[str, Any], table: Mapping[str, Rule], origin: str) -> dict[str, Any]:
    """The options that single keys make; those of several are left to the caller.

    Args:
        flat: Dotted key to value, all of them in the table.
        table: The rules.
        origin: Name of the file, for errors.

    Returns:
        Dotted option to value.

    Raises:
        ValueError: If a value is not what is built in, cannot be converted, or contradicts another key.
    """
    options: dict[str, Any] = {}
    for key, value in flat.items():
        rule = table[key]
        if isinstance(rule, Built):
            if value not in rule.values:
                expected = " or ".join(repr(choice) for choice in rule.values)
                raise ValueError(f"{key} must be {expected}, got {shortened(value)} in {origin}: {rule.reason}.")
        elif isinstance(rule, Option):
            try:
                converted = rule.convert(value)
            except (TypeError, AttributeError, OverflowError) as error:
                raise ValueError(f"{key} cannot be {shortened(value)} in {origin}: {error}.") from error
            if options.setdefault(rule.name, converted) != converted:
                raise ValueError(
                    f"{key} must agree with the other key for {rule.name}, {options[rule.name]!r}, "
                    f"got {shortened(value)} in {origin}."
                )
        else:
            assert isinstance(rule, (Combined, Unused))
    return options


def nest(options: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted names as nested mappings."""
    nested: dict[str, Any] = {}
    for name, value in options.items():
        *sections, last = name.split(".")
        place = nested
        for section in sections:
            place = place.setdefault(section, {})
        place[last] = value
    return nested
