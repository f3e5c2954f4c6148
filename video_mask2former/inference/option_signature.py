"""The options of inference in the signature and the docstring of a function that takes them as ``**options``."""

from __future__ import annotations

import dataclasses
import inspect
import textwrap
from collections.abc import Callable
from typing import TypeVar

from video_mask2former.config import InferenceOptions, InferenceSettings

F = TypeVar("F", bound=Callable[..., object])

_INDENT = " " * 8


def with_options(*, but: tuple[str, ...] = ()) -> Callable[[F], F]:
    """Spell out ``**options`` of :class:`InferenceOptions` for ``help()`` and the documentation.

    The options stand where the docstring has ``**options``, each with the sentence that its definition has.

    Args:
        but: Options that the function has no use for.
    """

    def spell_out(function: F) -> F:
        docs = {field.name: field.metadata["doc"] for field in dataclasses.fields(InferenceSettings)}
        hints = {name: hint for name, hint in InferenceOptions.__annotations__.items() if name not in but}
        options = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=hint.__forward_arg__)
            for name, hint in hints.items()
        ]
        signature = inspect.signature(function)
        named = [each for each in signature.parameters.values() if each.kind is not inspect.Parameter.VAR_KEYWORD]
        function.__signature__ = signature.replace(parameters=[*named, *options])  # type: ignore[attr-defined]
        lines = (function.__doc__ or "").splitlines()
        place = next(index for index, line in enumerate(lines) if line.startswith(f"{_INDENT}**options:"))
        lines[place : place + 1] = [line for name in hints for line in _described(name, docs[name])]
        function.__doc__ = "\n".join(lines)
        return function

    return spell_out


def _described(name: str, doc: str) -> list[str]:
    return textwrap.wrap(
        f"{name}: {doc}", 120, initial_indent=_INDENT, subsequent_indent=_INDENT + "    ", break_on_hyphens=False
    )
