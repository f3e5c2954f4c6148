"""An end by signal that leaves nothing half-written."""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
from collections.abc import Iterator
from types import FrameType

# What asks a program to end: Ctrl-C, a scheduler, a terminal that is closed (which not every system has)
STOP_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]

logger = logging.getLogger(__name__)


@contextlib.contextmanager
def stopped_by_signals(note: str) -> Iterator[None]:
    """Let the signals that end programs end this one as Ctrl-C does: through the code that removes unfinished files.

    Those that the program was started to ignore (``nohup``) stay ignored, and so do further ones while it cleans up.
    Only the main thread receives signals; elsewhere nothing changes.

    Args:
        note: What the log says then, after the name of the signal.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    before = {number: handler for number, handler in before.items() if handler not in (signal.SIG_IGN, None)}

    def stop(number: int, frame: FrameType | None) -> None:
        for each in before:
            signal.signal(each, signal.SIG_IGN)
        logger.warning("stopped by %s; %s", signal.Signals(number).name, note)
        raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)

    for number in before:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
