"""Values of options, checked against the type that a dataclass field or a constructor's argument is annotated with."""

from __future__ import annotations

import collections.abc
import dataclasses
import functools
import types
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from video_mask2former.messages import shortened

_SEQUENCES = (list, collections.abc.Sequence)
_MAPPINGS = (dict, collections.abc.Mapping)
_PLAIN = (bool, int, float, str)


@dataclasses.dataclass(frozen=True)
class Range:
    """The range of a number in an annotation: ``Annotated[int, Range(at_least=1)]``.

    Attributes:
        at_least: Smallest value allowed (of each element of a sequence).
        at_most: Largest value allowed.
    """

    at_least: float | None = None
    at_most: float | None = None

    def check(self, value: object, key: str, note: str = "") -> None:
        """Reject a number out of the range, NaN included; anything else passes."""
        if isinstance(value, (list, tuple)):
            for item in value:
                self.check(item, key, note)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return
        # Written so that NaN is out of every range.
        if self.at_least is not None and not value >= self.at_least:
            raise ValueError(f"{key} must be at least {self.at_least}, got {shortened(value)}.{note}")
        if self.at_most is not None and not value <= self.at_most:
            raise ValueError(f"{key} must be at most {self.at_most}, got {shortened(value)}.{note}")


Depth = Annotated[int, Range(at_least=1, at_most=1000)]
PositiveInt = Annotated[int, Range(at_least=1)]
MaskQualityChoice = Literal["none", "model", "original"]
"""How scores count how sure masks are of themselves; see ``InferenceSettings.mask_quality``."""
Count = Annotated[int, Range(at_least=0)]
Share = Annotated[float, Range(at_least=0, at_most=1)]
NonNegative = Annotated[float, Range(at_least=0)]


def parse_value(value: object, hint: Any, key: str, origin: str) -> Any:
    """Check a value as read from YAML against a type.

    Args:
        value: Of plain types.
        hint: The annotation; ``Any`` takes whatever is plain.
        key: Dotted name of the option, for the error message.
        origin: Where the value comes from, for the error message.

    Returns:
        The value, with lists as tuples and integers as floats where the annotation says so.

    Raises:
        ValueError: If it has another type or is out of range.
    """
    if get_origin(hint) is Annotated:
        inner, *notes = get_args(hint)
        parsed = parse_value(value, inner, key, origin)
        for note in notes:
            if isinstance(note, Range):
                note.check(parsed, key, f" Found in {origin}.")
        return parsed
    if get_origin(hint) in (Union, types.UnionType):
        members = [member for member in get_args(hint) if member is not types.NoneType]
        if value is None and len(members) < len(get_args(hint)):
            return None
        fitting = next((member for member in members if fits(value, member)), None)
        if fitting is None:
            expected = " or ".join(map(describe, members))
            raise ValueError(f"{key} must be {expected}, got {shortened(value)} in {origin}.")
        return parse_value(value, fitting, key, origin)
    if not fits(value, hint):
        raise ValueError(f"{key} must be {describe(hint)}, got {shortened(value)} in {origin}.")
    if get_origin(hint) is tuple or get_origin(hint) in _SEQUENCES:
        assert isinstance(value, (list, tuple))
        return _parse_items(value, hint, key, origin)
    if _is_typeddict(hint):
        return _parse_fields(value, hint, key, origin)  # type: ignore[arg-type]
    if get_origin(hint) in _MAPPINGS:
        item = get_args(hint)[1]
        return {name: parse_value(part, item, f"{key}.{name}", origin) for name, part in value.items()}  # type: ignore[attr-defined]
    if hint is not float:
        return value
    try:
        return float(value)  # type: ignore[arg-type]
    except OverflowError:
        raise ValueError(f"{key} must be {describe(hint)}, got {shortened(value)} in {origin}.") from None


def is_plain(value: object) -> bool:
    """Whether a value is what YAML makes of a file without tags: nested lists and mappings of names, of scalars."""
    remaining = [value]
    while remaining:  # no recursion: JSON may be nested a thousand times
        item = remaining.pop()
        if isinstance(item, (list, tuple)):
            remaining += item
        elif isinstance(item, Mapping):
            if not all(isinstance(key, str) for key in item):
                return False
            remaining += item.values()
        elif item is not None and not isinstance(item, _PLAIN):
            return False
    return True


def fits(value: object, hint: Any) -> bool:
    """Whether a value is of the kind that an annotation asks for; elements of sequences are not looked at."""
    origin = get_origin(hint)
    if hint is Any:
        return is_plain(value)
    if origin is Annotated:
        return fits(value, get_args(hint)[0])
    if origin in (Union, types.UnionType):
        return any(fits(value, member) for member in get_args(hint))
    if hint is types.NoneType:
        return value is None
    if origin is Literal:
        return any(value == choice and type(value) is type(choice) for choice in get_args(hint))
    if origin is tuple:
        members = get_args(hint)
        return isinstance(value, (list, tuple)) and (members[-1] is Ellipsis or len(value) == len(members))
    if origin in _SEQUENCES:
        return isinstance(value, (list, tuple))
    if origin is collections.abc.Callable:
        return callable(value)
    if origin in _MAPPINGS:
        return isinstance(value, Mapping) and is_plain(value)
    if hint in (int, float) and isinstance(value, bool):
        return False
    if _is_typeddict(hint):
        return isinstance(value, Mapping)
    if not isinstance(hint, type):
        return False
    return isinstance(value, (int, float) if hint is float else hint)


def describe(hint: Any) -> str:
    """What an annotation asks for, in the words of an error message."""
    origin = get_origin(hint)
    if origin is Annotated:
        return describe(get_args(hint)[0])
    if origin in (Union, types.UnionType):
        return " or ".join("null" if member is types.NoneType else describe(member) for member in get_args(hint))
    if origin is collections.abc.Callable:
        return "a class or function"
    if origin is Literal:
        return "one of " + ", ".join(repr(choice) for choice in get_args(hint))
    if origin is tuple or origin in _SEQUENCES:
        members = get_args(hint)
        if origin is not tuple or members[-1] is Ellipsis:
            return f"a list, each element {describe(members[0])}"
        return f"a list of {len(members)}: " + ", ".join(describe(member) for member in members)
    if _is_typeddict(hint) or origin in _MAPPINGS:
        return "a mapping"
    names = {
        list: "a list",
        bool: "true or false",
        int: "an integer",
        float: "a number",
        str: "a string",
        Any: "plain YAML",
    }
    return names.get(hint, getattr(hint, "__name__", str(hint)))


def _parse_fields(value: Mapping[str, Any], hint: Any, key: str, origin: str) -> dict[str, Any]:
    """The entries of a mapping that a ``TypedDict`` declares are checked, others stay as they are."""
    prefix = f"{key}." if key else ""
    missing = sorted(hint.__required_keys__ - value.keys())
    if missing:
        raise ValueError(f"{prefix}{missing[0]} is missing in {origin}; there are {shortened(list(value))}.")
    hints = _hints_of(hint)
    return {
        name: parse_value(item, hints[name], f"{prefix}{name}", origin) if name in hints else item
        for name, item in value.items()
    }


def _is_typeddict(hint: Any) -> bool:
    """``typing`` does not know those of ``typing_extensions``."""
    return isinstance(hint, type) and hasattr(hint, "__required_keys__")


@functools.cache
def _hints_of(hint: Any) -> dict[str, Any]:
    return get_type_hints(hint, include_extras=True)


def _parse_items(value: list[Any] | tuple[Any, ...], hint: Any, key: str, origin: str) -> tuple[Any, ...]:
    members = get_args(hint)
    if get_origin(hint) is not tuple or members[-1] is Ellipsis:
        members = members[:1] * len(value)
    return tuple(
        parse_value(item, member, f"{key}[{index}]", origin)
        for index, (item, member) in enumerate(zip(value, members, strict=True))
    )
