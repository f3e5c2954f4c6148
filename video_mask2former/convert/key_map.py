"""Renaming the parameters of a checkpoint by an explicit table that reads in both directions."""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

_PLACEHOLDER = re.compile(r"\{(\w+)\}")
# What a placeholder of a pattern stands for; any other name stands for a number.
_KINDS = {
    "parameter": "weight|bias",
    "statistic": "weight|bias|running_mean|running_var",
    "rest": ".+",
}


@dataclass(frozen=True)
class Rename:
    """One or more parameters under their names and under ours.

    Both names may hold the same placeholders: ``{parameter}`` is "weight" or "bias", ``{statistic}`` any of the four
    of a frozen batch norm, ``{rest}`` anything, and every other one a number, as in ``res{stage}.{block}.conv1``.

    Attributes:
        theirs: Name in the checkpoint.
        ours: Name in the model.
    """

    theirs: str
    ours: str


@dataclass(frozen=True)
class Concatenation:
    """Several of their parameters that are one of ours, joined along the first axis.

    Attributes:
        theirs: Their names, in the order of joining; all with the placeholders of ``ours``.
        ours: Our name.
    """

    theirs: tuple[str, ...]
    ours: str


@dataclass(frozen=True)
class Ignored:
    """Entries of a checkpoint that have no place in the model.

    Attributes:
        theirs: Their name, with placeholders.
        reason: Why nothing is lost.
    """

    theirs: str
    reason: str


Entry = Rename | Concatenation | Ignored


@dataclass(frozen=True)
class Converted:
    """A checkpoint under our names.

    Attributes:
        weights: Our name to tensor.
        ignored: Their name to the reason why the table leaves it out.
        unknown: Their names that the table does not have.
    """

    weights: dict[str, Tensor]
    ignored: dict[str, str]
    unknown: tuple[str, ...]


class KeyMap:
    """A table of names, applied strictly: a key it does not have is reported, never guessed.

    Args:
        entries: The table. Of two entries that fit a key, the first one counts.
        aliases: Older names of theirs, ``Rename(old, current)``, understood when reading only.
    """

    def __init__(self, entries: Sequence[Entry], aliases: Sequence[Rename] = ()) -> None:
        self.entries = tuple(entries)
        self.aliases = tuple(aliases)

    def to_ours(self, theirs: Mapping[str, Tensor]) -> Converted:
        """Rename the entries of a checkpoint.

        Raises:
            ValueError: If two entries have one name of ours, or part of a concatenation is missing.
        """
        weights: dict[str, Tensor] = {}
        ignored: dict[str, str] = {}
        unknown: list[str] = []
        parts: dict[str, dict[int, Tensor]] = {}
        for original, tensor in theirs.items():
            key = self._current_name(original)
            entry, name, position = self._find(key)
            if entry is None:
                unknown.append(original)
            elif isinstance(entry, Ignored):
                ignored[original] = entry.reason
            elif name in weights or position in parts.get(name, {}):
                raise ValueError(f"two keys of the checkpoint stand for {name!r}, the second is {original!r}.")
            elif isinstance(entry, Concatenation):
                parts.setdefault(name, {})[position] = tensor
                if len(parts[name]) == len(entry.theirs):
                    weights[name] = torch.cat([parts[name][index] for index in range(len(entry.theirs))])
            else:
                weights[name] = tensor
        partial = sorted(parts.keys() - weights.keys())
        if partial:
            raise ValueError(f"the checkpoint has only some of the parts of {partial[0]!r}.")
        return Converted(weights, ignored, tuple(unknown))

    def to_theirs(self, ours: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Rename the parameters of a model back.

        Raises:
            KeyError: If the table does not have one of the names.
        """
        theirs: dict[str, Tensor] = {}
        for key, tensor in ours.items():
            names = self._find_theirs(key)
            if not names:
                raise KeyError(f"the table of names has no entry for {key!r}.")
            parts = (tensor,) if len(names) == 1 else tensor.chunk(len(names))
            for name, part in zip(names, parts, strict=True):
                theirs[name] = part
        return theirs

    def _current_name(self, key: str) -> str:
        for alias in self.aliases:
            key = _rename(key, alias.theirs, alias.ours) or key
        return key

    def _find(self, key: str) -> tuple[Entry | None, str, int]:
        """The entry that fits a key of theirs, our name for it, and its position in a concatenation."""
        for entry in self.entries:
            if isinstance(entry, Ignored):
                if _matches(key, entry.theirs):
                    return entry, "", 0
                continue
            patterns = entry.theirs if isinstance(entry, Concatenation) else (entry.theirs,)
            for position, pattern in enumerate(patterns):
                name = _rename(key, pattern, entry.ours)
                if name is not None:
                    return entry, name, position
        return None, "", 0

    def _find_theirs(self, key: str) -> list[str]:
        for entry in self.entries:
            if isinstance(entry, Ignored) or not _matches(key, entry.ours):
                continue
            patterns = entry.theirs if isinstance(entry, Concatenation) else (entry.theirs,)
            names = [_rename(key, entry.ours, pattern) for pattern in patterns]
            return [name for name in names if name is not None]
        return []


def prefixed(entries: Iterable[Entry], theirs: str, ours: str) -> list[Entry]:
    """The same table with a prefix before each of their and each of our names."""
    result: list[Entry] = []
    for entry in entries:
        if isinstance(entry, Rename):
            result.append(Rename(theirs + entry.theirs, ours + entry.ours))
        elif isinstance(entry, Concatenation):
            result.append(Concatenation(tuple(theirs + name for name in entry.theirs), ours + entry.ours))
        else:
            result.append(Ignored(theirs + entry.theirs, entry.reason))
    return result


def nearest(key: str, candidates: Iterable[str]) -> str:
    """A hint for an error message: ", did you mean ...?", or nothing where no name is near."""
    close = difflib.get_close_matches(key, list(candidates), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


@functools.cache
def _regex(pattern: str) -> re.Pattern[str]:
    parts = _PLACEHOLDER.split(pattern)  # text, name, text, name, ..., text
    return re.compile(
        "".join(
            f"(?P<{part}>{_KINDS.get(part, '[0-9]+')})" if index % 2 else re.escape(part)
            for index, part in enumerate(parts)
        )
    )


def _matches(key: str, pattern: str) -> bool:
    return _regex(pattern).fullmatch(key) is not None


def _rename(key: str, pattern: str, target: str) -> str | None:
    match = _regex(pattern).fullmatch(key)
    return target.format(**match.groupdict()) if match else None
