"""Windows of frames over a video whose length may not be known, and which frames of each count in the result."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from video_mask2former.config import InferenceSettings
from video_mask2former.config.inference import Remainder

T = TypeVar("T")


@dataclass(frozen=True)
class ClipWindow:
    """The frames of one clip, by position in the sequence of frames that are processed.

    Attributes:
        start: First frame of the clip.
        stop: One past its last frame.
        first_new: First frame that no earlier window had; from here on the result is this window's.
    """

    start: int
    stop: int
    first_new: int


@dataclass(frozen=True)
class WindowPlan:
    """How windows follow each other.

    Frames that two windows share count in the earlier one, so that results need not wait for the next window. The
    last window takes whatever frames are left: with ``shift`` it is moved back to its full length, so that the model
    sees the number of frames it was made for; with ``short`` it is shorter. A video shorter than a window is one
    short window.

    Attributes:
        window: Frames of a window.
        overlap: Frames that a window shares with the one before.
        remainder: What the last window does.
    """

    window: int
    overlap: int = 0
    remainder: Remainder = "shift"

    def __post_init__(self) -> None:
        if self.window < 1 or not 0 <= self.overlap < self.window:
            raise ValueError(
                f"window must be at least 1 and overlap in [0, window), got {self.window = } and {self.overlap = }."
            )
        if self.remainder not in ("shift", "short"):
            raise ValueError(f"remainder must be 'shift' or 'short', got {self.remainder!r}.")

    @classmethod
    def of(cls, settings: InferenceSettings) -> WindowPlan:
        """The plan of some settings; of length 1 where they give none."""
        return cls(settings.window or 1, settings.overlap, settings.remainder)

    @property
    def stride(self) -> int:
        """Frames from the start of one window to that of the next."""
        return self.window - self.overlap

    def regular(self, index: int) -> ClipWindow:
        """The window of an index, in a video that has enough frames for it."""
        start = index * self.stride
        return ClipWindow(start, start + self.window, start + (self.overlap if index else 0))

    def last(self, index: int, num_frames: int) -> ClipWindow | None:
        """The window for the frames that ``index`` regular windows left over, None where they left none."""
        covered = self.regular(index - 1).stop if index else 0
        if num_frames <= covered:
            return None
        is_shifted = self.remainder == "shift"
        start = max(0, num_frames - self.window) if is_shifted else self.regular(index).start
        return ClipWindow(start, num_frames, covered)

    def windows(self, num_frames: int) -> Iterator[ClipWindow]:
        """All windows over a video of known length."""
        index = 0
        while self.regular(index).stop <= num_frames:
            yield self.regular(index)
            index += 1
        last = self.last(index, num_frames)
        if last is not None:
            yield last


class WindowBuffer(Generic[T]):
    """Collects frames until a window is full; holds no more of them than one window has.

    Args:
        plan: How windows follow each other.
    """

    def __init__(self, plan: WindowPlan) -> None:
        self.plan = plan
        self._items: list[T] = []
        self._num_dropped = 0
        self._num_windows = 0

    def push(self, item: T) -> tuple[ClipWindow, list[T]] | None:
        """Add the next frame; returns the window that it completes, with its frames, if it does."""
        self._items.append(item)
        window = self.plan.regular(self._num_windows)
        if self._num_items < window.stop:
            self._drop_unneeded()
            return None
        frames = self._frames(window)
        self._num_windows += 1
        self._drop_unneeded()
        return window, frames

    def flush(self) -> tuple[ClipWindow, list[T]] | None:
        """The window of the frames left over, None where there are none. Ends the video."""
        window = self.plan.last(self._num_windows, self._num_items)
        if window is None:
            return None
        frames = self._frames(window)
        self._num_windows += 1
        return window, frames

    def state_dict(self) -> dict[str, Any]:
        """The frames held, and where in the video they are."""
        return {"items": list(self._items), "num_dropped": self._num_dropped, "num_windows": self._num_windows}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a saved state."""
        items: Sequence[T] = state["items"]
        self._items = list(items)
        self._num_dropped = state["num_dropped"]
        self._num_windows = state["num_windows"]

    def _frames(self, window: ClipWindow) -> list[T]:
        return self._items[window.start - self._num_dropped : window.stop - self._num_dropped]

    @property
    def _num_items(self) -> int:
        return self._num_dropped + len(self._items)

    def _drop_unneeded(self) -> None:
        """Let go of the frames that no coming window can ask for."""
        following = self.plan.regular(self._num_windows)
        first_needed = following.start
        if self.plan.remainder == "shift":
            # the last window reaches back this far, whenever the video ends
            first_needed = min(first_needed, max(self._num_items, following.first_new + 1) - self.plan.window)
        num_dropped = max(0, first_needed - self._num_dropped)
        del self._items[:num_dropped]
        self._num_dropped += num_dropped
