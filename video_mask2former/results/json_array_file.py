"""A JSON array written entry by entry."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable
from types import TracebackType
from typing import Any, TextIO

from video_mask2former.atomic import atomic_path


def to_json(value: Any) -> str:
    """A value as compact JSON.

    Raises:
        ValueError: If it holds a number that is not finite, which JSON does not have.
    """
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


class JsonArrayFile:
    """Writes a JSON array, one entry a line, to a file that appears when it is complete.

    Args:
        path: File to write.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.num_entries = 0
        self._stack = contextlib.ExitStack()
        temporary = self._stack.enter_context(atomic_path(path))
        self._file: TextIO = self._stack.enter_context(temporary.open("w", encoding="utf-8"))
        self._file.write("[")

    def append(self, entry: dict[str, Any]) -> None:
        """Write one entry."""
        self.append_text([to_json(entry)])

    def append_text(self, pieces: Iterable[str]) -> None:
        """Write one entry that is JSON already, piece by piece, so that it need not be in memory as a whole."""
        self._file.write(",\n" if self.num_entries else "\n")
        self._file.writelines(pieces)
        self.num_entries += 1

    def __enter__(self) -> JsonArrayFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._file.write("\n]\n" if self.num_entries else "]\n")
        self._stack.__exit__(kind, error, trace)
