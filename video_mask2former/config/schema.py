"""What the sections of a configuration have in common: documented fields, checked ranges and checked types."""

from __future__ import annotations

import dataclasses
import difflib
import re
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")

_CLASS_PATH = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")


def option(default: T, doc: str, *, at_least: float | None = None, at_most: float | None = None) -> T:
    """A dataclass field with its documentation, which errors and command-line help repeat.

    Args:
        default: The value where a file says nothing. Sections are immutable, so one may be the default of another.
        doc: One sentence.
        at_least: Smallest value allowed (of each element, where the field is a tuple).
        at_most: Largest value allowed.
    """
    metadata = {"doc": doc, "at_least": at_least, "at_most": at_most}
    field: T = dataclasses.field(default=default, metadata=metadata)
    return field


@dataclasses.dataclass(frozen=True)
class Section:
    """Base of all sections: an immutable group of options, whose ranges are checked when it is made.

    Subclasses with rules of their own extend ``__post_init__`` and call this one first.
    """

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            values = getattr(self, field.name)
            for value in values if isinstance(values, tuple) else (values,):
                _check_range(field, value)


def check_types(section: Section) -> None:
    """Reject values of the wrong type, for sections that people make in Python as well."""
    for name, hint, _ in _fields(type(section)):
        _parse_value(getattr(section, name), hint, name, type(section).__name__)


def check_name(field: str, name: str, known: Sequence[str]) -> None:
    """Reject what is neither a known name nor a class of somebody's own, ``module:Class``."""
    if name not in known and not _CLASS_PATH.fullmatch(name):
        raise ValueError(
            f"{field} must be one of {', '.join(known)}, or a class of your own as module:Class, got {name!r}."
        )


def field_docs(section: type[Section], prefix: str = "") -> dict[str, str]:
    """Dotted name of every option of a section and of the sections inside it, with its documentation."""
    docs: dict[str, str] = {}
    for name, hint, doc in _fields(section):
        if _is_section(hint):
            docs |= field_docs(hint, f"{prefix}{name}.")
        else:
            docs[prefix + name] = doc
    return docs


def parse_section(section: type[Section], values: object, origin: str, prefix: str = "") -> dict[str, Any]:
    """Check the keys and types of some options of a section.

    Args:
        section: The section the options belong to.
        values: Name to value as read from YAML; options may be left out.
        origin: Where the values come from, for the error message.
        prefix: Dotted name of the section with its final dot, for the error message.

    Returns:
        The same options with lists as tuples and integers as floats where the field says so.

    Raises:
        ValueError: If a key is unknown (the nearest known one is named) or a value has the wrong type.
    """
    if not isinstance(values, Mapping):
        raise ValueError(f"{prefix.rstrip('.') or 'a configuration'} must be a mapping, got {values!r} in {origin}.")
    hints = {name: hint for name, hint, _ in _fields(section)}
    parsed = {}
    for key, value in values.items():
        if key not in hints:
            raise ValueError(f"unknown config key '{prefix}{key}' in {origin}{_suggestion(section, str(key), prefix)}")
        if _is_section(hints[key]):
            parsed[key] = parse_section(hints[key], value, origin, f"{prefix}{key}.")
        else:
            parsed[key] = _parse_value(value, hints[key], f"{prefix}{key}", origin)
    return parsed


def construct(section: type[T], values: Mapping[str, Any], start: T | None = None) -> T:
    """Make a section of checked options; those that are not given are as in ``start``, or keep their defaults."""
    arguments = dict(values)
    for field, (name, hint, _) in zip(dataclasses.fields(section), _fields(section), strict=True):  # type: ignore[arg-type]
        if _is_section(hint) and name in arguments:
            arguments[name] = construct(hint, arguments[name], field.default)
    return section(**arguments) if start is None else dataclasses.replace(start, **arguments)  # type: ignore[type-var]


def to_mapping(section: Section) -> dict[str, Any]:
    """All options of a section as plain YAML types: mappings, lists, strings and numbers."""
    return {field.name: _plain(getattr(section, field.name)) for field in dataclasses.fields(section)}


def _plain(value: object) -> object:
    if isinstance(value, Section):
        return to_mapping(value)
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def _fields(section: type) -> Iterator[tuple[str, Any, str]]:
    hints = get_type_hints(section)
    for field in dataclasses.fields(section):
        yield field.name, hints[field.name], field.metadata.get("doc", "")


def _is_section(hint: object) -> bool:
    return isinstance(hint, type) and issubclass(hint, Section)


def _check_range(field: dataclasses.Field[Any], value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return
    low, high = field.metadata.get("at_least"), field.metadata.get("at_most")
    # Written so that NaN is out of every range.
    if low is not None and not value >= low:
        raise ValueError(f"{field.name} must be at least {low}, got {value}. ({field.metadata['doc']})")
    if high is not None and not value <= high:
        raise ValueError(f"{field.name} must be at most {high}, got {value}. ({field.metadata['doc']})")


def _parse_value(value: object, hint: Any, key: str, origin: str) -> Any:
    if get_origin(hint) in (Union, types.UnionType):
        members = [member for member in get_args(hint) if member is not types.NoneType]
        if value is None and len(members) < len(get_args(hint)):
            return None
        fitting = next((member for member in members if _fits(value, member)), members[0])
        return _parse_value(value, fitting, key, origin)
    if get_origin(hint) is tuple:
        return _parse_tuple(value, hint, key, origin)
    if _is_section(hint):
        return construct(hint, parse_section(hint, value, origin, f"{key}."))
    if not _fits(value, hint):
        raise ValueError(f"{key} must be {_describe(hint)}, got {value!r} in {origin}.")
    return float(value) if hint is float else value  # type: ignore[arg-type]


def _parse_tuple(value: object, hint: Any, key: str, origin: str) -> tuple[Any, ...]:
    members = get_args(hint)
    if not _fits(value, hint):
        raise ValueError(f"{key} must be {_describe(hint)}, got {value!r} in {origin}.")
    assert isinstance(value, (list, tuple))
    if members[-1] is Ellipsis:
        members = members[:1] * len(value)
    return tuple(
        _parse_value(item, member, f"{key}[{index}]", origin)
        for index, (item, member) in enumerate(zip(value, members, strict=True))
    )


def _fits(value: object, hint: Any) -> bool:
    """Whether a value is of the kind a hint asks for; the elements of a tuple are not looked at."""
    if get_origin(hint) is Literal:
        return any(value == choice and type(value) is type(choice) for choice in get_args(hint))
    if get_origin(hint) is tuple:
        members = get_args(hint)
        return isinstance(value, (list, tuple)) and (members[-1] is Ellipsis or len(value) == len(members))
    if hint in (int, float) and isinstance(value, bool):
        return False
    if get_origin(hint) is Callable:
        return callable(value)
    if _is_section(hint):
        return isinstance(value, Mapping)
    return isinstance(value, (int, float) if hint is float else hint)


def _describe(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return "one of " + ", ".join(repr(choice) for choice in get_args(hint))
    if get_origin(hint) is tuple:
        members = get_args(hint)
        if members[-1] is Ellipsis:
            return f"a list, each element {_describe(members[0])}"
        return f"a list of {len(members)}: " + ", ".join(_describe(member) for member in members)
    names = {bool: "true or false", int: "an integer", float: "a number", str: "a string"}
    return names.get(hint, getattr(hint, "__name__", str(hint)))


def _suggestion(section: type[Section], key: str, prefix: str) -> str:
    """The end of the error message about an unknown key: what may have been meant."""
    names = [field.name for field in dataclasses.fields(section)]
    close = difflib.get_close_matches(key, names, n=1)
    if close:
        return f"; did you mean '{close[0]}'?"
    deeper = [name for name in field_docs(section, prefix) if name.rsplit(".", 1)[-1] == key]
    if deeper:
        return f"; did you mean '{deeper[0]}'?"
    return f"; the keys of {prefix.rstrip('.') or 'the top level'} are {', '.join(names)}."
