"""A clean end on SIGINT and SIGTERM: the step is finished, a checkpoint is written, then the run stops."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Any

logger = logging.getLogger(__name__)

SIGNALS = (signal.SIGINT, signal.SIGTERM)
# torchrun passes on what the terminal has sent to everybody already: what comes this soon is the same request.
ECHO_SECONDS = 1.0


class StopRequest:
    """Notes the first SIGINT or SIGTERM inside a ``with`` block; a later one raises KeyboardInterrupt at once.

    Outside the main thread, which alone may handle signals, it notes nothing.

    Attributes:
        signal_number: The signal that came, 0 before any.
    """

    def __init__(self) -> None:
        self.signal_number = 0
        self._process = os.getpid()
        self._time = 0.0
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._receive) for number in SIGNALS}
        return self

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:
            return  # a loader's worker, which inherits this handler; it ends when this process lets it
        if self.signal_number:
            if time.monotonic() - self._time > ECHO_SECONDS:
                raise KeyboardInterrupt
            return
        self.signal_number, self._time = number, time.monotonic()
        logger.warning(
            "%s: stopping after this step, with a checkpoint. Once more stops at once, without.",
            signal.Signals(number).name,
        )


@contextlib.contextmanager
def sigterm_withheld() -> Iterator[None]:
    """Processes started inside the block never receive SIGTERM; this one receives it at the end of the block.

    Schedulers send SIGTERM to all processes of a job. A loader's workers would die of it, and take the training with
    them before it can write its checkpoint. They end by themselves when their parent does.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)
