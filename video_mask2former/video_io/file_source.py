"""One video file as a frame source."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np

from video_mask2former.video_io.container import ContainerInfo, probe_container
from video_mask2former.video_io.decord_decoder import DecordDecoder, DecordError
from video_mask2former.video_io.pyav_decoder import PyavDecoder

Backend = Literal["pyav", "decord"]

logger = logging.getLogger(__name__)


class FileSource:
    """Frames of a video file.

    Args:
        path: The video file.
        backend: ``pyav`` reads every file as far as it goes, in constant memory. ``decord`` gives the same pixels of an
            intact file, but see :class:`~video_mask2former.video_io.decord_decoder.DecordDecoder`; where it is not
            installed or fails, PyAV reads on, and the log says so.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not a video of which at least one frame can be decoded.
    """

    is_repeatable = True

    def __init__(self, path: Path, backend: Backend = "pyav") -> None:
        if backend not in ("pyav", "decord"):
            raise ValueError(f"backend must be 'pyav' or 'decord', got {backend!r}.")
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
        logger.debug("%s is decoded by %s", self._path, self._backend)
        num_read = 0
        if self._backend == "decord":
            try:
                for frame in DecordDecoder(self._path, self._info).read(wanted):
                    num_read += 1
                    yield frame
                return
            except DecordError as error:
                logger.warning("%s: %s; PyAV reads it from frame %d on", self._path, error, start + num_read * step)
        decoder = PyavDecoder(self._path, self._info)
        for frame in decoder.read(wanted[num_read:]):
            num_read += 1
            yield frame
        self._report(num_read, len(wanted), decoder.num_replaced)

    def close(self) -> None:
        """Nothing stays open between reads."""

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
