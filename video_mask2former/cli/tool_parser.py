"""Parsers of the tools of ``video-mask2former data``."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any, cast


def add_tool(
    tools: argparse._SubParsersAction[Any],
    name: str,
    help_text: str,
    run: Callable[[argparse.Namespace], int],
    *examples: str,
) -> argparse.ArgumentParser:
    """Add a tool of the command ``data``; ``examples`` are its arguments."""
    lines = [f"  video-mask2former data {name} {example}" for example in examples]
    parser = tools.add_parser(
        name,
        help=help_text,
        description=f"{help_text[0].upper()}{help_text[1:]}.",
        epilog="\n".join(["examples:", *lines]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    return cast(argparse.ArgumentParser, parser)
