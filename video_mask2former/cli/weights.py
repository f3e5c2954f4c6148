"""``video-mask2former weights``: published checkpoints, where they are and which configuration fits."""

from __future__ import annotations

import argparse
from typing import Any


def add_parser(subparsers: argparse._SubParsersAction[Any]) -> None:
    """Add the command to the parser of the command line."""
    parser = subparsers.add_parser(
        "weights",
        help="list published checkpoints and where they are",
        description="List the published checkpoints that load here: the configuration that fits, the figures of their "
        "authors in percent, their licence and their address. Nothing is downloaded.",
    )
    parser.add_argument("words", nargs="*", metavar="WORD", help="only those with all of these words, such as ovis r50")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the list."""
    from video_mask2former.recipes.published_weights import published_weights

    words = [word.lower() for word in args.words]
    found = [
        each for each in published_weights() if all(word in f"{each.family} {each.config}".lower() for word in words)
    ]
    if not found:
        raise ValueError(f"no published weights have all of the words {' '.join(args.words)}.")
    families = dict.fromkeys(each.family for each in found)
    for family in families:
        of_family = [each for each in found if each.family == family]
        note = f"; {of_family[0].note}" if of_family[0].note else ""
        print(f"{family} (licence {of_family[0].licence}{note})")
        for each in of_family:
            print(f"  {each.config:<44} {each.results:<24} {each.hub_address or each.address}")
    return 0
