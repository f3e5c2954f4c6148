"""What the sections of a configuration have in common: documented fields, checked ranges and checked types."""

from __future__ import annotations

import dataclasses
import difflib
import types
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, TypeVar, Union, get_args, get_origin, get_type_hints

from video_mask2former.messages import shortened
from video_mask2former.option_values import Range, is_plain, parse_value

T = TypeVar("T")


def option(
    default: T,
    doc: str,
    *,
    at_least: float | None = None,
    at_most: float | None = None,
    python_only: bool = False,
) -> T:
    """A dataclass field with its documentation, which errors and command-line help repeat.

    Args:
        default: The value where a file says nothing. Sections are immutable, so one may be the default of another.
        doc: One sentence.
        at_least: Smallest value allowed (of each element, where the field is a tuple).
        at_most: Largest value allowed.
        python_only: Whether it is not a key of this section in a file, since another place of the file says it.
    """
    metadata = {"doc": doc, "at_least": at_least, "at_most": at_most, "python_only": python_only}
    field: T = dataclasses.field(default=default, metadata=metadata)
    return field


@dataclasses.dataclass(frozen=True)
class Section:
    """Base of all sections: an immutable group of options, whose ranges are checked when it is made.

    Subclasses with rules of their own extend ``__post_init__`` and call this one first.
    """

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            allowed = Range(field.metadata.get("at_least"), field.metadata.get("at_most"))
            allowed.check(getattr(self, field.name), field.name, f" ({field.metadata.get('doc', '')})")


def check_types(section: Section) -> None:
    """Reject values of the wrong type, for sections that people make in Python as well."""
    hints = get_type_hints(type(section))
    for field in dataclasses.fields(section):
        parse_value(getattr(section, field.name), hints[field.name], field.name, type(section).__name__)


@dataclasses.dataclass(frozen=True)
class PartSection(Section):
    """A section that chooses a part by ``name``; keys that are not fields are options of that part.

    The part declares those options itself, as the arguments of its constructor; what is known here is that they are
    plain values. They are checked when the part is built.

    Attributes:
        options: Name to value of the part's own options, and of the parts inside it.
    """

    OPTIONS: ClassVar[str] = "options"

    options: Mapping[str, Any] = dataclasses.field(default_factory=dict, kw_only=True)


@dataclasses.dataclass(frozen=True)
class PartConfig(PartSection):
    """A part and its options: ``{name: swin, embed_dim: 128}`` in YAML, or the name alone.

    Attributes:
        name: A known name, or ``module:Class``.
    """

    name: str


def field_docs(section: type[Section], prefix: str = "") -> dict[str, str]:
    """Dotted name of every option of a section and of the sections inside it, with its documentation."""
    docs: dict[str, str] = {}
    for name, hint, doc in fields_of(section):
        inner = section_in(hint)
        if inner is not None and not issubclass(inner, PartConfig):
            docs |= field_docs(inner, f"{prefix}{name}.")
        else:
            docs[prefix + name] = doc
    return docs


def parse_section(section: type[Section], values: object, origin: str, prefix: str = "") -> dict[str, Any]:
    """Check the keys and types of some options of a section.

    Args:
        section: The section the options belong to.
        values: Name to value as read from YAML; options may be left out. A part may be its name alone.
        origin: Where the values come from, for the error message.
        prefix: Dotted name of the section with its final dot, for the error message.

    Returns:
        The same options with lists as tuples and integers as floats where the field says so.

    Raises:
        ValueError: If a key is unknown (the nearest known one is named) or a value has the wrong type.
    """
    is_part = issubclass(section, PartSection)
    if is_part and isinstance(values, str):
        values = {"name": values}
    if not isinstance(values, Mapping):
        title = prefix.rstrip(".") or "a configuration"
        raise ValueError(f"{title} must be a mapping, got {shortened(values)} in {origin}.")
    hints = {name: hint for name, hint, _ in fields_of(section)}
    parsed: dict[str, Any] = {}
    for key, value in values.items():
        if key in hints:
            parsed[key] = _parse_field(value, hints[key], f"{prefix}{key}", origin)
        elif is_part and isinstance(key, str) and is_plain(value):
            parsed[key] = value
        else:
            raise ValueError(f"unknown config key '{prefix}{key}' in {origin}{_suggestion(section, str(key), prefix)}")
    return parsed


def construct(section: type[T], values: Mapping[str, Any], start: T | None = None) -> T:
    """Make a section of checked options; those that are not given are as in ``start``, or keep their defaults."""
    arguments = dict(values)
    hints = {name: hint for name, hint, _ in fields_of(section)}
    defaults = {field.name: field.default for field in dataclasses.fields(section)}  # type: ignore[arg-type]
    for name, hint in hints.items():
        inner = section_in(hint)
        if inner is not None and isinstance(arguments.get(name), Mapping):
            arguments[name] = _construct_inner(inner, name, arguments[name], defaults[name])
        elif inner is not None and _items_of(hint) and name in arguments:
            arguments[name] = tuple(_construct_inner(inner, name, item, None) for item in arguments[name])
    if issubclass(section, PartSection):
        arguments[PartSection.OPTIONS] = {key: arguments.pop(key) for key in [*arguments] if key not in hints}
    return section(**arguments) if start is None else dataclasses.replace(start, **arguments)  # type: ignore[type-var]


def _construct_inner(section: type[Section], field: str, values: Mapping[str, Any], default: object) -> Section:
    """A section inside another. Options of a part start anew; where its name is not given, it is the default part."""
    if issubclass(section, PartConfig) and "name" not in values:
        if not isinstance(default, PartConfig):
            raise ValueError(f"{field} needs the name of a part, got {shortened(dict(values))}.")
        values = {"name": default.name, **values}
    start = default if isinstance(default, section) and not issubclass(section, PartSection) else None
    return construct(section, values, start)


def to_mapping(section: Section) -> dict[str, Any]:
    """All options of a section as plain YAML types: mappings, lists, strings and numbers."""
    values = {name: _plain(getattr(section, name)) for name, _, _ in fields_of(type(section))}
    return values | _plain(section.options) if isinstance(section, PartSection) else values


def fields_of(section: type) -> Iterator[tuple[str, Any, str]]:
    """Name, annotation and documentation of the fields of a section that a file can have."""
    hints = get_type_hints(section)
    for field in dataclasses.fields(section):
        if field.name != PartSection.OPTIONS and not field.metadata.get("python_only"):
            yield field.name, hints[field.name], field.metadata.get("doc", "")


def section_in(hint: Any) -> type[Section] | None:
    """The section that a field is: by itself, or null, or a list of them."""
    if isinstance(hint, type) and issubclass(hint, Section):
        return hint
    if get_origin(hint) in (Union, types.UnionType):
        return next(filter(None, map(section_in, get_args(hint))), None)
    return section_in(get_args(hint)[0]) if _items_of(hint) else None


def suggestion(key: str, names: list[str], prefix: str) -> str:
    """The end of the error message about an unknown key: the nearest that is known, or all."""
    close = difflib.get_close_matches(key, names, n=1)
    if close:
        return f"; did you mean '{prefix}{close[0]}'?"
    return f"; the keys of {prefix.rstrip('.') or 'the top level'} are {', '.join(names)}."


def _parse_field(value: object, hint: Any, key: str, origin: str) -> Any:
    section = section_in(hint)
    if section is None or (value is None and get_origin(hint) in (Union, types.UnionType)):
        return parse_value(value, hint, key, origin)
    if not _items_of(hint):
        return parse_section(section, value, origin, f"{key}.")
    if not isinstance(value, (list, tuple)):
        raise ValueError(f"{key} must be a list, got {shortened(value)} in {origin}.")
    return tuple(parse_section(section, item, origin, f"{key}[{index}].") for index, item in enumerate(value))


def _items_of(hint: Any) -> bool:
    return get_origin(hint) is tuple and get_args(hint)[-1] is Ellipsis


def _plain(value: Any) -> Any:
    if isinstance(value, Section):
        return to_mapping(value)
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def _suggestion(section: type[Section], key: str, prefix: str) -> str:
    names = [name for name, _, _ in fields_of(section)]
    deeper = [name for name in field_docs(section, prefix) if name.rsplit(".", 1)[-1] == key]
    if deeper and not difflib.get_close_matches(key, names, n=1):
        return f"; did you mean '{deeper[0]}'?"
    return suggestion(key, names, prefix)
