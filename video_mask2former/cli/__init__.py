"""The command line: ``video-mask2former predict | train | evaluate | convert | export | data | app | weights``."""

from __future__ import annotations

import argparse
import importlib
import logging
import sys
import traceback
from collections.abc import Sequence
from typing import Any

from video_mask2former._version import __version__
from video_mask2former.messages import printable

# Each has a module of its name here with add_parser(subparsers), which sets `run`.
COMMANDS = ("predict", "train", "evaluate", "convert", "export", "data", "app", "weights")

_INTERRUPTED = 130
MAX_LINE = 2000  # characters
_LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: Words of the command line; None takes those of the process.

    Returns:
        The exit status: 0, 1 after an error, 130 after an interrupt.
    """
    args = make_parser().parse_args(arguments)
    logging.basicConfig(level=logging.DEBUG if args.debug else logging.INFO, format=_LOG_FORMAT, force=True)
    try:
        status: int = args.run(args)
    except KeyboardInterrupt:
        return _INTERRUPTED
    except (OSError, ValueError, KeyError, ImportError) as error:
        if args.debug:
            traceback.print_exc()
        sys.stderr.write(f"error: {describe_error(error)}\n")
        return 1
    return status


class _Parser(argparse.ArgumentParser):
    """Takes flags by their full names only, as do the parsers of its commands: ``--conf`` is a mistake."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options | {"allow_abbrev": False})


def make_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    parser = _Parser(prog="video-mask2former", description="Video instance segmentation with Mask2Former.")
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    parser.add_argument("--debug", action="store_true", help="log more, and show where an error came from")
    subparsers = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for command in COMMANDS:
        importlib.import_module(f"{__name__}.{command}").add_parser(subparsers)
    return parser


def describe_error(error: BaseException) -> str:
    """What an error says, in one line where it is one; a KeyError would put its message in quotes."""
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    return "\n".join(printable(line, MAX_LINE) for line in text.splitlines()) or type(error).__name__
