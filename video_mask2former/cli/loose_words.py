"""Words of a command line anywhere: argparse takes the positional ones in a single run only."""

from __future__ import annotations

import argparse
from typing import Any


def allow_words_anywhere(parser: argparse.ArgumentParser, destination: str) -> None:
    """Let the words of a positional argument (``nargs="*"`` or ``"+"``) stand between and after the flags, too.

    Args:
        parser: Of a command; changed in place.
        destination: Name of the argument; its words keep their order.
    """
    parse = parser.parse_known_args

    def parse_known_args(args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        namespace, rest = parse(args, namespace)
        words = [word for word in rest if not word.startswith("-")]
        setattr(namespace, destination, [*getattr(namespace, destination), *words])
        return namespace, [word for word in rest if word.startswith("-")]

    parser.parse_known_args = parse_known_args  # type: ignore[method-assign]
