"""What may become of a key of a published configuration."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


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
