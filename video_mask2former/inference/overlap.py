"""Work before and after the model in threads of their own: frames read ahead, results written behind.

Both hold a few frames at most, keep their order, and end with whatever uses them: an error of the one side is raised on
the other, once, and when the context is left no thread of theirs is running any more.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Generic, TypeVar

Item = TypeVar("Item")

MAX_WAITING = 3
"""Frames that wait between two threads, so that one that is late for a moment does not stop the other."""


class _Closed(Exception):
    """The other side does not take or give any more."""


class _Channel(Generic[Item]):
    """A queue of bounded length that either side can close."""

    def __init__(self, max_waiting: int) -> None:
        self._max_waiting = max_waiting
        self._items: deque[Item] = deque()
        self._changed = threading.Condition()
        self._is_ended = False
        self._is_dropped = False

    def put(self, item: Item) -> None:
        """Wait for room and add an item; raises _Closed if nobody wants it."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_dropped or len(self._items) < self._max_waiting)
            if self._is_dropped:
                raise _Closed
            self._items.append(item)
            self._changed.notify_all()

    def get(self) -> Item:
        """Wait for an item and take it; raises _Closed if there will be none."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_dropped or self._is_ended or len(self._items) > 0)
            if self._is_dropped or not self._items:
                raise _Closed
            item = self._items.popleft()
            self._changed.notify_all()
            return item

    def end(self) -> None:
        """No more items come; those that wait are still taken."""
        with self._changed:
            self._is_ended = True
            self._changed.notify_all()

    def drop(self) -> None:
        """No more items are taken; those that wait are forgotten."""
        with self._changed:
            self._is_dropped = True
            self._items.clear()
            self._changed.notify_all()


class ReadAhead(Iterator[Item]):
    """The items of an iterator, fetched by a thread before they are asked for.

    Use it as a context manager: the iterator is not touched any more when it is left. What the iterator raises is
    raised in its place among the items.

    Args:
        items: Fetched from, and closed, by the thread alone.
        max_waiting: Items that are fetched before one is asked for.
    """

    def __init__(self, items: Iterator[Item], max_waiting: int = MAX_WAITING) -> None:
        self._items = items
        self._channel: _Channel[Item] = _Channel(max_waiting)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._fetch, name="read ahead", daemon=True)
        self._thread.start()

    def __next__(self) -> Item:
        try:
            return self._channel.get()
        except _Closed:
            error, self._error = self._error, None
            if error is not None:
                raise error from None
            raise StopIteration from None

    def __enter__(self) -> ReadAhead[Item]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._channel.drop()
        self._thread.join()

    def _fetch(self) -> None:
        try:
            for item in self._items:
                self._channel.put(item)
        except _Closed:
            pass
        except BaseException as error:
            self._error = error
        finally:
            close: Callable[[], None] | None = getattr(self._items, "close", None)
            if close is not None:  # of a generator: here, where it ran
                try:
                    close()
                except BaseException as error:
                    self._error = self._error or error
            self._channel.end()


class WriteBehind:
    """Calls a function with what it is given, in order, in a thread.

    Use it as a context manager: when it is left, all was written, or after an error nothing more will be. What the
    function raises is raised by the next :meth:`put` or :meth:`finish`, or at the end.

    Args:
        write: The function.
        max_waiting: Calls that wait before :meth:`put` does.
    """

    def __init__(self, write: Callable[..., object], max_waiting: int = MAX_WAITING) -> None:
        self._write = write
        self._channel: _Channel[tuple[object, ...]] = _Channel(max_waiting)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="write behind", daemon=True)
        self._thread.start()

    def put(self, *arguments: object) -> None:
        """Call the function with these, soon."""
        try:
            self._channel.put(arguments)
        except _Closed:
            self._raise()

    def finish(self) -> None:
        """Wait until everything is written; nothing can be put after it."""
        self._channel.end()
        self._thread.join()
        self._raise()

    def __enter__(self) -> WriteBehind:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self.finish()
        finally:  # an interrupt while it waits, too
            self._channel.drop()
            self._thread.join()

    def _run(self) -> None:
        try:
            while True:
                self._write(*self._channel.get())
        except _Closed:
            pass
        except BaseException as error:
            self._error = error
            self._channel.drop()

    def _raise(self) -> None:
        error, self._error = self._error, None
        if error is not None:
            raise error
