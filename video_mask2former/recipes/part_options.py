"""The options of a part, read from the constructor that takes them: names, types, defaults and documentation.

Nothing is declared a second time: what ``model.backbone: {name: swin, embed_dim: 128}`` may say is what
``SwinTransformer(embed_dim=128)`` takes.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args, get_origin, get_type_hints

from typing_extensions import is_typeddict

from video_mask2former.option_values import describe

REQUIRED: Any = inspect.Parameter.empty


@dataclass(frozen=True)
class PartOption:
    """One argument of a part's constructor.

    Attributes:
        name: Its name, in Python and in YAML.
        hint: Its annotation; ``Any`` where there is none.
        default: Its default, ``REQUIRED`` where there is none.
        doc: What the class says of it under ``Args:``.
        is_unpacked: Whether it is handed on to a base class, whose default holds where it is not given.
    """

    name: str
    hint: Any
    default: Any
    doc: str
    is_unpacked: bool = False

    @property
    def kind(self) -> str:
        """The type in words."""
        return describe(self.hint)


@functools.cache
def part_options(part: type) -> Mapping[str, PartOption]:
    """The arguments of a part's constructor, by name and in order.

    Keyword arguments that a class hands on as ``**options: Unpack[SomeTypedDict]`` count like its own. They are those
    of a base class, or of a class that its attribute ``options_of`` names.
    """
    hints = get_type_hints(part.__init__, include_extras=True)  # type: ignore[misc]
    docs = argument_docs(part)
    options: dict[str, PartOption] = {}
    for name, parameter in list(inspect.signature(part.__init__).parameters.items())[1:]:  # type: ignore[misc]
        hint = hints.get(name, Any)
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            for key, inner in _unpacked(hint).items():
                options[key] = PartOption(key, inner, _base_default(part, key), docs.get(key, ""), is_unpacked=True)
        elif parameter.kind is not inspect.Parameter.VAR_POSITIONAL:
            options[name] = PartOption(name, hint, parameter.default, docs.get(name, ""))
    return options


def argument_docs(part: type) -> dict[str, str]:
    """What the ``Args:`` of a class (``Attributes:`` of a dataclass) and of its bases say of each argument."""
    docs: dict[str, str] = {}
    for owner in reversed(_owners(part)):
        text = inspect.cleandoc(owner.__doc__ or "")
        section = re.search(r"^(?:Args|Attributes):\n((?:[ \t]+.*\n?|\n)+)", text, re.MULTILINE)
        entries = section.group(1) if section else ""
        for name, doc in re.findall(r"^ {4}(\w+): (.+\n?(?: {8}.*\n?)*)", entries, re.MULTILINE):
            docs[name] = " ".join(doc.split())
    return docs


def _owners(part: type) -> tuple[type, ...]:
    """The classes whose arguments a part has: itself, its bases, and the one that it hands arguments on to."""
    inner = getattr(part, "options_of", None)
    return part.__mro__ if inner is None else (*part.__mro__, inner)


def _unpacked(hint: Any) -> dict[str, Any]:
    """The keys of ``Unpack[SomeTypedDict]``; none of anything else."""
    fields = get_args(hint)[0] if get_origin(hint) is not None and get_args(hint) else hint
    return get_type_hints(fields, include_extras=True) if is_typeddict(fields) else {}


def _base_default(part: type, name: str) -> Any:
    """The default of an argument in the first base class that names it, or in the class that it is handed on to."""
    for base in _owners(part)[1:]:
        parameter = inspect.signature(base.__init__).parameters.get(name)  # type: ignore[misc]
        if parameter is not None:
            return parameter.default
    return REQUIRED
