"""A JSON array written entry by entry."""

from __future__ import annotations

import contextlib
import json
import os
from types import TracebackType
from typing import Any, TextIO

from video_mask2former.atomic import atomic_path


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
        line = json.dumps(entry, separators=(",", ":"), allow_nan=False)
        self._file.write((",\n" if self.num_entries else "\n") + line)
        self.num_entries += 1

    def __enter__(self) -> JsonArrayFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._file.write("\n]\n" if self.num_entries else "]\n")
        self._stack.__exit__(kind, error, trace)
