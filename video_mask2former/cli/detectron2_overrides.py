"""Options at the end of a command line, as people write them: ``key=value``, or detectron2's ``KEY VALUE`` pairs."""

from __future__ import annotations

import argparse
from collections.abc import Sequence


def normalise_overrides(words: Sequence[str]) -> list[str]:
    """Write every override as ``key=value``.

    Args:
        words: ``training.max_steps=100``, or the two words ``training.max_steps 100``, or detectron2's two words
            ``SOLVER.MAX_ITER 100``, in any mixture.

    Raises:
        ValueError: If a key has no value.
    """
    overrides = []
    remaining = iter(words)
    for word in remaining:
        key, equals, value = word.partition("=")
        if not equals:
            following = next(remaining, None)
            if following is None:
                raise ValueError(f"option {word!r} has no value; write {word}=VALUE.")
            value = following
        overrides.append(f"{key}={value}")
    return overrides


def move_into_flags(args: argparse.Namespace, overrides: Sequence[str]) -> list[str]:
    """``MODEL.DEVICE`` and ``MODEL.WEIGHTS`` become ``--device`` and ``--weights``, where those are not given.

    Args:
        args: Of a command that has the flags; changed in place.
        overrides: Each ``key=value``.

    Returns:
        The other overrides.
    """
    flags = {"MODEL.DEVICE": "device", "MODEL.WEIGHTS": "weights"}
    rest = []
    for word in overrides:
        key, _, value = word.partition("=")
        if key not in flags:
            rest.append(word)
        elif getattr(args, flags[key]) is None:
            setattr(args, flags[key], value)
    return rest
