"""Where the results of each input go: folders on the disk, or in a store, which gets them when they are complete."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from video_mask2former.remote_files import Store, is_stored, send_folder

MARKER = "done.json"
"""The file that says that a folder is complete, and what was asked for."""


class ResultFolders(Protocol):
    """A folder for each input, by its name."""

    def place(self, name: str) -> str:
        """Where a folder is, for messages."""
        ...

    def marker(self, name: str) -> str | None:
        """The content of the marker of a folder, None where it has none."""
        ...

    def holds(self, name: str, file: str) -> bool:
        """Whether a file or folder is in a folder."""
        ...

    def workspace(self, name: str) -> contextlib.AbstractContextManager[Path]:
        """A folder on the disk to write to. What is in it is in the folder of the input when the context ends."""
        ...

    def begin(self, name: str) -> None:
        """What is in the folder no longer counts: it is written anew."""
        ...


def result_folders(output: str) -> ResultFolders:
    """The folders below a path, or below an address such as ``s3://bucket/results``.

    Raises:
        ImportError: If the packages that the address needs are not installed.
        ValueError: If the folder cannot be made.
    """
    if is_stored(output):
        return _StoredFolders(Store(output))
    try:
        Path(output).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(
            f"--output must be a folder that can be made or written, got {output}: {error.strerror}."
        ) from error
    return LocalFolders(Path(output))


class LocalFolders:
    """Folders on the disk: written in place, each file atomically, the marker last."""

    def __init__(self, output: Path) -> None:
        self._output = output

    def place(self, name: str) -> str:
        """See :class:`ResultFolders`."""
        return str(self._output / name)

    def marker(self, name: str) -> str | None:
        """See :class:`ResultFolders`."""
        try:
            return (self._output / name / MARKER).read_text(encoding="utf-8")
        except (OSError, ValueError):
            return None

    def holds(self, name: str, file: str) -> bool:
        """See :class:`ResultFolders`."""
        return (self._output / name / file).exists()

    @contextlib.contextmanager
    def workspace(self, name: str) -> Iterator[Path]:
        """See :class:`ResultFolders`."""
        folder = self._output / name
        try:
            yield folder
        except BaseException:
            with contextlib.suppress(OSError):
                folder.rmdir()  # if nothing is in it
            raise

    def begin(self, name: str) -> None:
        """See :class:`ResultFolders`."""
        (self._output / name / MARKER).unlink(missing_ok=True)


class _StoredFolders:
    """Folders in a store: written to the disk first, and sent when all is well, the marker last."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def place(self, name: str) -> str:
        return self._store.path(name)

    def marker(self, name: str) -> str | None:
        try:
            return self._store.read_text(f"{name}/{MARKER}")
        except (FileNotFoundError, UnicodeDecodeError):
            return None

    def holds(self, name: str, file: str) -> bool:
        return self._store.exists(f"{name}/{file}")

    @contextlib.contextmanager
    def workspace(self, name: str) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(prefix="video_mask2former_") as temporary:
            folder = Path(temporary) / name
            yield folder
            send_folder(folder, self._store, name, last=MARKER)

    def begin(self, name: str) -> None:
        """Nothing: what is there stays until the new files are sent."""
