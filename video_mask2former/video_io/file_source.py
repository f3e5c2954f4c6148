"""One video file as a frame source: decord where it serves, PyAV where it does not."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np

from video_mask2former.video_io.container import ContainerInfo, probe_container
from video_mask2former.video_io.decord_decoder import DecordDecoder, DecordError
from video_mask2former.video_io.pyav_decoder import PyavDecoder

Backend = Literal["auto", "decord", "pyav"]

logger = logging.getLogger(__name__)


class FileSource:
    """Frames of a video file.

    ``auto`` decodes with decord when an intact file is read front to back. PyAV takes over where decord is missing,
    cannot open the file or fails on a frame, and reads what is incomplete, starts late or skips frames, since decord
    loses frames there. Both give the same pixels. The choice is logged.

    Args:
        path: The video file.
        backend: ``auto``, or the one decoder to use.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not a video of which at least one frame can be decoded.
    """

    def __init__(self, path: Path, backend: Backend = "auto") -> None:
        if backend not in ("auto", "decord", "pyav"):
            raise ValueError(f"backend must be 'auto', 'decord' or 'pyav', got {backend!r}.")
        self._path = path
        self._backend: Backend = backend
        self._info: ContainerInfo = probe_container(path)
        self.size = self._info.size
        self.frame_rate = self._info.frame_rate
        self.num_frames: int | None = self._info.num_frames
        self.timestamps = self._info.timestamps
        self.damage = self._info.damage
        if self.damage:
            logger.warning("%s", self.damage)

    def read(self, start: int, stop: int | None, step: int) -> Iterator[np.ndarray]:
        """Yield every ``step``-th frame from ``start`` up to ``stop``, uint8 RGB ``(H, W, 3)``."""
        wanted = range(start, self._info.num_frames if stop is None else stop, step)
        num_read = 0
        if self._backend != "pyav":
            try:
                for frame in self._decord(wanted):
                    num_read += 1
                    yield frame
                return
            except DecordError as error:
                if self._backend == "decord":
                    raise ValueError(f"{self._path}: {error}. Read it with backend='pyav'.") from error
                logger.info("%s is decoded by PyAV from frame %d on: %s", self._path, start + num_read * step, error)
        rest = wanted[num_read:]
        decoder = PyavDecoder(self._path, self._info)
        for frame in decoder.read(rest.start, rest.stop, rest.step):
            num_read += 1
            yield frame
        self._report(num_read, len(wanted), decoder.num_replaced)

    def close(self) -> None:
        """Nothing stays open between reads."""

    def _decord(self, wanted: range) -> Iterator[np.ndarray]:
        if self._backend == "auto" and self.damage:
            raise DecordError("the file is incomplete")
        if self._backend == "auto" and (wanted.start > 0 or wanted.step > 1):
            raise DecordError("it is not read front to back")
        decoder = DecordDecoder(self._path, self._info)
        logger.info("%s is decoded by decord", self._path)
        yield from decoder.read(wanted.start, wanted.stop, wanted.step)

    def _report(self, num_read: int, num_wanted: int, num_replaced: int) -> None:
        """Say what could not be decoded, beyond what was known when the file was opened."""
        if num_read == num_wanted and num_replaced == 0:
            return
        declared = self._info.declared_num_frames
        total = f" (the file says it has {declared})" if declared and declared != self._info.num_frames else ""
        self.damage = f"{self._path}: {num_read - num_replaced} of {num_wanted} frames could be decoded{total}" + (
            f"; {num_replaced} are shown as the frame before them." if num_replaced else "."
        )
        logger.warning("%s", self.damage)
