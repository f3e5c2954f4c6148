"""Checkpoints of a training run: written whole or not at all, the newest few kept, found again after any crash."""

from __future__ import annotations

import errno
import logging
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from video_mask2former.atomic import atomic_path
from video_mask2former.convert.checkpoint import read_torch_file

logger = logging.getLogger(__name__)

LATEST_FILE = "latest"
_TORCH_WRITER = "inline_container"  # is in what torch says of a full disk, a RuntimeError
_FILE_NAME = re.compile(r"checkpoint_(\d+)\.pth")


class CheckpointFolder:
    """The numbered checkpoints of one run.

    A file appears under its name only when it is complete, so the highest number is always the newest state. A file
    named ``latest`` holds its name for people and scripts; nothing is lost where it is missing or stale.

    Args:
        folder: Created when the first checkpoint is written.
        keep: How many of the newest checkpoints stay.
    """

    def __init__(self, folder: str | os.PathLike[str], keep: int = 2) -> None:
        if keep < 1:
            raise ValueError(f"keep must be at least 1, got {keep}.")
        self.folder = Path(folder)
        self._keep = keep

    def paths(self) -> list[Path]:
        """The checkpoints, oldest first."""
        if not self.folder.is_dir():
            return []
        found = [(int(match[1]), path) for path in self.folder.iterdir() if (match := _FILE_NAME.fullmatch(path.name))]
        return [path for _, path in sorted(found)]

    def latest(self) -> Path | None:
        """The newest checkpoint, None where there is none."""
        return next(reversed(self.paths()), None)

    def save(self, step: int, state: Mapping[str, Any]) -> Path:
        """Write the checkpoint of one step, then delete the oldest beyond ``keep``.

        Raises:
            OSError: If it cannot be written, such as for want of space; earlier checkpoints are as they were.
        """
        self.remove_unfinished()
        path = self.folder / f"checkpoint_{step:07d}.pth"
        try:
            save_state(path, state)
        except OSError as error:
            latest = self.latest()
            kept = f"{latest} is intact" if latest else "there is no earlier checkpoint"
            raise OSError(error.errno, f"{error.strerror} ({kept}.)") from error
        with atomic_path(self.folder / LATEST_FILE) as temporary:
            temporary.write_text(path.name + "\n", encoding="utf-8")
        for old in self.paths()[: -self._keep]:
            old.unlink()
        return path

    def load_latest(self) -> dict[str, Any] | None:
        """The newest state that can be read, None where there is no checkpoint.

        Raises:
            ValueError: If there are checkpoints, and all of them are damaged.
        """
        paths = self.paths()
        for path in reversed(paths):
            try:
                return load_state(path)
            except ValueError as error:
                logger.error("%s", error)
        if paths:
            raise ValueError(f"every checkpoint in {self.folder} is damaged: {', '.join(p.name for p in paths)}.")
        return None

    def remove_unfinished(self) -> None:
        """Delete what writers that were killed have left behind."""
        if self.folder.is_dir():
            for path in self.folder.glob(".checkpoint_*.tmp.pth"):
                path.unlink(missing_ok=True)


def save_state(path: Path, state: Mapping[str, Any]) -> None:
    """Write tensors and plain values as one file that appears only when complete.

    Raises:
        OSError: If it cannot be written; the message says how much space it needs and how much there is.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    needed = sum(tensor.numel() * tensor.element_size() for tensor in _tensors(state))
    free = shutil.disk_usage(path.parent).free
    if free < needed:
        raise OSError(errno.ENOSPC, _space_message(path, needed, free))
    try:
        with atomic_path(path) as temporary:
            torch.save(dict(state), temporary)
    except (OSError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and _TORCH_WRITER not in str(error):
            raise  # from elsewhere: the death of a loader's worker is raised wherever the program is just then
        number = error.errno if isinstance(error, OSError) and error.errno else errno.EIO
        message = _space_message(path, needed, shutil.disk_usage(path.parent).free)
        raise OSError(number, f"{message} Reported: {error}") from error


def load_state(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a file of :func:`save_state` onto the CPU, without running any code in it.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not a checkpoint, or a damaged one.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"no checkpoint {path}.")
    state = read_torch_file(Path(path))
    if not isinstance(state, dict) or "model" not in state:
        raise ValueError(f"{path} is not a checkpoint: it should hold a dict with 'model', got {type(state).__name__}.")
    return state


def _space_message(path: Path, needed: int, free: int) -> str:
    return (
        f"could not write {path}: it needs about {needed / 2**20:.0f} MiB, {free / 2**20:.0f} MiB are free there. "
        "Free some space, lower training.keep_checkpoints, or choose another output folder."
    )


def _tensors(state: object) -> Iterator[Tensor]:
    if isinstance(state, Tensor):
        yield state
    elif isinstance(state, Mapping):
        for value in state.values():
            yield from _tensors(value)
    elif isinstance(state, (list, tuple)):
        for value in state:
            yield from _tensors(value)
