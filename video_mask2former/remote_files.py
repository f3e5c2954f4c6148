"""Files in object stores and other places that fsspec knows: ``s3://``, ``gs://``, ``az://``, ``sftp://``, ``memory://``.

Everything else in this package works on paths. Files are fetched whole, and results are sent when they are complete.
``http(s)://``, ``rtsp://`` and the like are not stores: FFmpeg reads them as they come.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")

STREAMED = ("http", "https", "rtsp", "rtsps", "rtmp", "rtmps", "rtp", "srt", "tcp", "udp", "hls", "mms", "mmsh")
"""Addresses that are read frame by frame."""

_GROWING = ("file", "local", "sftp", "ssh", "ftp", "smb", "hdfs", "webhdfs", "dbfs")
"""Places where a file is seen while it is written; in object stores it is there whole or not at all."""

_STAMPS = ("LastModified", "updated", "mtime", "last_modified", "created")


def is_address(source: object) -> bool:
    """Whether a source is an address rather than a path."""
    return isinstance(source, str) and _ADDRESS.match(source) is not None


def is_stored(source: object) -> bool:
    """Whether a source is an address of a file in a store, which is fetched before it is read."""
    found = _ADDRESS.match(source) if isinstance(source, str) else None
    return found is not None and found[1].lower() not in STREAMED


class Store:
    """The files below an address.

    Args:
        address: Of a file or a folder.

    Raises:
        ImportError: If fsspec, or the package that it needs for the address, is not installed.
        ValueError: If fsspec knows no such address.
    """

    def __init__(self, address: str) -> None:
        try:
            fsspec = importlib.import_module("fsspec")
        except ModuleNotFoundError as error:
            raise ImportError(f"{address} needs the package fsspec: pip install 'video-mask2former[remote]'") from error
        self.address = address.rstrip("/")
        self._fs, self._root = fsspec.core.url_to_fs(self.address)

    def path(self, name: str = "") -> str:
        """The address of a file below."""
        return f"{self.address}/{name}" if name else self.address

    def exists(self, name: str = "") -> bool:
        """Whether there is a file or a folder."""
        with self._errors("looked for", name):
            self._fs.invalidate_cache()  # others write, too
            return bool(self._fs.exists(self._key(name)))

    def is_folder(self, name: str = "") -> bool:
        """Whether there is a folder."""
        with self._errors("looked for", name):
            return bool(self._fs.isdir(self._key(name)))

    def entries(self, name: str = "") -> list[tuple[str, bool]]:
        """What is in a folder: the names, and whether each is a folder; in order."""
        with self._errors("listed", name):
            self._fs.invalidate_cache()
            key = self._key(name).rstrip("/")
            entries = self._fs.ls(key, detail=True)
        found = [(_last(str(entry["name"])), entry["type"] == "directory") for entry in entries]
        return sorted(entry for entry in found if entry[0] and entry[0] != _last(key))

    def matches(self) -> list[str]:
        """The addresses that this one matches, a pattern with ``*``, in order."""
        with self._errors("searched for", ""):
            return sorted(str(self._fs.unstrip_protocol(key)) for key in self._fs.glob(self._root))

    def identity(self) -> dict[str, Any]:
        """What tells one version of the file, or the folder, from another without reading it."""
        with self._errors("looked for", ""):
            files = self._fs.find(self._root, detail=True)
        stamps = [str(info[key]) for info in files.values() for key in _STAMPS if info.get(key) is not None]
        return {
            "source": self.address,
            "files": len(files),
            "size": sum(int(info.get("size") or 0) for info in files.values()),
            "modified": max(stamps, default=None),
        }

    def fetch(self, target: Path) -> Path:
        """Copy the file, or the files of the folder, to ``target``, a folder; return where the copy is.

        Raises:
            FileNotFoundError: If there is no such file.
        """
        copy = target / self.address.rsplit("/", 1)[-1]
        with self._errors("read", ""):
            if self._fs.isdir(self._root):
                self._fs.get(f"{self._root}/", f"{copy}/", recursive=True)
            else:
                self._fs.get_file(self._root, str(copy))
        return copy

    def read_text(self, name: str) -> str:
        """The content of a small file."""
        with self._errors("read", name):
            self._fs.invalidate_cache()
            content: bytes = self._fs.cat_file(self._key(name))
        return content.decode("utf-8")

    def send(self, file: Path, name: str) -> None:
        """Copy a file there; it is seen when it is complete."""
        key = self._key(name)
        with self._errors("written", name):
            if not self._is_growing():
                self._fs.put_file(str(file), key)
                return
            folder, _, last = key.rpartition("/")
            self._fs.makedirs(folder, exist_ok=True)
            partial = f"{folder}/.{last}.partial"
            self._fs.put_file(str(file), partial)
            self._fs.mv(partial, key)

    def remove(self, name: str) -> None:
        """Remove a file, or a folder with all that is in it, if it is there."""
        with self._errors("removed", name):
            self._fs.invalidate_cache()
            if self._fs.exists(self._key(name)):
                self._fs.rm(self._key(name), recursive=True)

    def _is_growing(self) -> bool:
        protocol = self._fs.protocol
        return bool({protocol} & set(_GROWING) if isinstance(protocol, str) else set(protocol) & set(_GROWING))

    def _key(self, name: str) -> str:
        return f"{self._root}/{name}" if name else str(self._root)

    @contextlib.contextmanager
    def _errors(self, what: str, name: str) -> Iterator[None]:
        """Errors of the many libraries behind fsspec as those of files."""
        try:
            yield
        except FileNotFoundError as error:
            raise FileNotFoundError(f"no such file: {self.path(name)}.") from error
        except Exception as error:  # each store has classes of its own, which share nothing
            reason = " ".join(str(error).split()) or type(error).__name__
            raise OSError(f"{self.path(name)} cannot be {what} ({reason}).") from error


def _last(key: str) -> str:
    return key.rstrip("/").rsplit("/", 1)[-1]


@contextlib.contextmanager
def fetched(address: str) -> Iterator[Path]:
    """A copy of a file or folder of a store, for as long as it is needed."""
    with tempfile.TemporaryDirectory(prefix="video_mask2former_") as folder:
        yield Store(address).fetch(Path(folder))


def send_folder(folder: Path, store: Store, name: str, *, last: str) -> None:
    """Send the files of a folder to a folder of a store, and make it hold nothing else.

    The file ``last`` says that all are there: it goes first of what was there before, and is sent when the others are.

    Args:
        folder: Local.
        store: Where to.
        name: Of the folder there.
        last: Name of the last file.
    """
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    store.remove(f"{name}/{last}")
    if store.exists(name):
        kept = {os.path.dirname(file).split("/")[0] or file for file in files}
        for entry, is_folder in store.entries(name):
            if is_folder or entry not in kept:
                store.remove(f"{name}/{entry}")
    for file in sorted(files, key=lambda file: file == last):
        store.send(folder / file, f"{name}/{file}")
