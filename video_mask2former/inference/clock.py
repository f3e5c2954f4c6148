"""Where the time goes: a stopwatch with one hand per stage."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Literal, get_args

Stage = Literal["decode", "model", "tracking", "masks", "output"]
STAGES: tuple[Stage, ...] = get_args(Stage)


class StageClock:
    """Seconds spent in each stage of inference, and the number of frames.

    Stages: ``decode`` (reading and resizing frames), ``model``, ``tracking``, ``masks`` (upsampling, thresholding and
    run-length encoding), ``output`` (drawing and writing). Frames of a video that is predicted whole are read and
    written in threads of their own; ``decode`` and ``output`` are then the time that was waited for them, so that the
    stages add up to the time it took.

    Attributes:
        now: Tells the time in seconds. ``time.process_time`` makes this a clock of processor time.
    """

    def __init__(self) -> None:
        self.now: Callable[[], float] = time.perf_counter
        self.seconds: dict[Stage, float] = dict.fromkeys(STAGES, 0.0)
        self.num_frames = 0
        self._inner: list[float] = []  # seconds of blocks inside of each block that is open

    @contextlib.contextmanager
    def measure(self, stage: Stage) -> Iterator[None]:
        """Add the time that the block takes to a stage, without that of blocks inside of it."""
        start = self.now()
        self._inner.append(0.0)
        try:
            yield
        finally:
            elapsed = self.now() - start
            self.seconds[stage] += elapsed - self._inner.pop()
            if self._inner:
                self._inner[-1] += elapsed

    def copy(self) -> StageClock:
        """What the clock shows now."""
        now = StageClock()
        now.now, now.seconds, now.num_frames = self.now, dict(self.seconds), self.num_frames
        return now

    def since(self, earlier: StageClock) -> StageClock:
        """What was added since an earlier copy was taken."""
        spent = self.copy()
        spent.seconds = {stage: seconds - earlier.seconds[stage] for stage, seconds in self.seconds.items()}
        spent.num_frames -= earlier.num_frames
        return spent

    def total(self) -> float:
        """Seconds in all stages together."""
        return sum(self.seconds.values())

    def frames_per_second(self) -> float:
        """Frames by the time of all stages, 0 before the first frame."""
        total = self.total()
        return self.num_frames / total if total > 0 else 0.0

    def shares(self) -> dict[Stage, float]:
        """Share of each stage in the total, in [0, 1]."""
        total = self.total()
        return {stage: seconds / total if total > 0 else 0.0 for stage, seconds in self.seconds.items()}

    def report(self) -> str:
        """One line for people: ``12.3 frames/s (decode 5 %, model 85 %, ...)``."""
        shares = ", ".join(f"{stage} {share:.0%}" for stage, share in self.shares().items())
        return f"{self.frames_per_second():.1f} frames/s ({shares})"
