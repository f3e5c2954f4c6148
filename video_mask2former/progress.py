"""How far something is: a bar on a terminal, a line in the log now and then where the output is a file."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Sized
from types import TracebackType
from typing import Any, TypeVar

from tqdm import tqdm

logger = logging.getLogger(__name__)

LINE_PERIOD_SECONDS = 60.0
ItemT = TypeVar("ItemT")


class ProgressBar:
    """Counts what is done. Use it as a context manager.

    Args:
        title: What is being done.
        total: How much there is to do; None where that is not known.
        unit: What is counted, in the singular.
        is_shown: False shows nothing, for all processes but one.
    """

    def __init__(self, title: str, total: int | None, unit: str, *, is_shown: bool = True) -> None:
        self._title, self._total, self._unit = title, total, unit
        # None: no bar where the output is not a terminal
        disable = None if is_shown else True
        self._bar: tqdm[Any] = tqdm(total=total, desc=title, unit=unit, dynamic_ncols=True, disable=disable)
        self._writes_lines = is_shown and bool(self._bar.disable)
        self._count = 0
        self._start = self._last_line = time.monotonic()

    def update(self, count: int = 1) -> None:
        """Count so many more."""
        self._count += count
        self._bar.update(count)
        now = time.monotonic()
        if self._writes_lines and now - self._last_line >= LINE_PERIOD_SECONDS:
            self._last_line = now
            of_total = "" if self._total is None else f" of {self._total}"
            rate = self._count / (now - self._start)
            logger.info("%s: %d%s %ss, %.3g a second", self._title, self._count, of_total, self._unit, rate)

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()


def tracked(
    items: Iterable[ItemT], title: str, unit: str, *, total: int | None = None, is_shown: bool = True
) -> Iterator[ItemT]:
    """The items, while a :class:`ProgressBar` counts those that are done."""
    if total is None and isinstance(items, Sized):
        total = len(items)
    with ProgressBar(title, total, unit, is_shown=is_shown) as bar:
        for item in items:
            yield item
            bar.update()
