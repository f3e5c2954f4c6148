"""Results frame by frame while frames arrive, in bounded memory, and stoppable at any frame."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from video_mask2former.config import InferenceSettings
from video_mask2former.inference.clips import ClipWindow, WindowBuffer, WindowPlan
from video_mask2former.inference.clock import StageClock
from video_mask2former.inference.model_runner import ModelRunner, as_tensor
from video_mask2former.inference.trackers import make_tracker
from video_mask2former.structures import FrameInstances
from video_mask2former.tasks import AnswerRules, Task, TrackedWindow
from video_mask2former.tasks.recorder import Recorder
from video_mask2former.tracking import Tracker

IndexedFrame = tuple[int, np.ndarray]  # index in the source video; uint8 RGB (H, W, 3)

STATE_VERSION = 1


class FrameStream(Iterator[FrameInstances]):
    """Tracks objects through frames that arrive one by one.

    Iterating gives the instances of each frame, in order; :meth:`with_frames` gives the frame as well. What is shown
    on a frame is what is known by then: a track's score and label come from its class logits averaged up to that
    frame's window. Results come as soon as the window that first holds a frame is full.

    Between any two frames the stream can be stopped, saved with :meth:`state_dict` and continued in another process
    with the same ids and masks as if it had never stopped.

    Args:
        runner: The model.
        frames: Frames with their index in the source, ascending.
        task: What is made of the masks.
        rules: Windows, tracker and what is reported.
        clock: Measures how long each stage takes.
        recorder: Given all tracks, if any.
    """

    def __init__(
        self,
        runner: ModelRunner,
        frames: Iterator[IndexedFrame],
        task: Task,
        rules: AnswerRules,
        *,
        clock: StageClock,
        recorder: Recorder | None = None,
    ) -> None:
        self._runner = runner
        self._frames = frames
        self._task = task
        self._rules = rules
        self._clock = clock
        self._recorder = recorder
        self._tracker = _tracker_of(runner, rules.settings)
        self._buffer: WindowBuffer[IndexedFrame] = WindowBuffer(WindowPlan.of(rules.settings))
        self._pending: deque[tuple[np.ndarray, FrameInstances]] = deque()
        self._class_names = runner.class_names
        self._last_read = -1
        self._is_flushed = False

    def __iter__(self) -> FrameStream:
        return self

    def __next__(self) -> FrameInstances:
        return self._advance()[1]

    def with_frames(self) -> Iterator[tuple[np.ndarray, FrameInstances]]:
        """The rest of the stream as pairs of frame, uint8 RGB ``(H, W, 3)``, and its instances."""
        while True:
            try:
                yield self._advance()
            except StopIteration:
                return

    @property
    def last_read(self) -> int:
        """Index of the last frame taken from the source, -1 before the first; continue with the one after it."""
        return self._last_read

    def state_dict(self) -> dict[str, Any]:
        """Everything that continuing takes: the tracks, frames of unfinished windows and results not yet given out.

        It holds at most two windows of frames; save it with ``torch.save``.
        """
        buffer = self._buffer.state_dict()
        buffer["items"] = [(index, as_tensor(image)) for index, image in buffer["items"]]
        return {
            "version": STATE_VERSION,
            "settings": _identity(self._rules.settings, self._task),
            "tracker": self._tracker.state_dict(),
            "buffer": buffer,
            "pending": [(as_tensor(image), asdict(instances)) for image, instances in self._pending],
            "last_read": self._last_read,
            "is_flushed": self._is_flushed,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a saved state.

        Raises:
            ValueError: If it was saved with other settings of windows or tracker, or by another version.
        """
        check_state(state)
        mine = _identity(self._rules.settings, self._task)
        for name, value in state["settings"].items():
            if mine[name] != value:
                raise ValueError(
                    f"the state was saved with {name} = {value!r}, this stream has {mine[name]!r}. "
                    "A stream continues with the settings it began with."
                )
        self._tracker.load_state_dict(state["tracker"])
        items = [(index, image.numpy()) for index, image in state["buffer"]["items"]]
        self._buffer.load_state_dict({**state["buffer"], "items": items})
        self._pending = deque((image.numpy(), FrameInstances(**values)) for image, values in state["pending"])
        self._last_read = state["last_read"]
        self._is_flushed = state["is_flushed"]

    def _advance(self) -> tuple[np.ndarray, FrameInstances]:
        """The next frame and its instances; takes frames from the source until a window is full."""
        while not self._pending:
            if self._is_flushed:
                raise StopIteration
            with self._clock.measure("decode"):
                frame = next(self._frames, None)
            if frame is None:
                self._is_flushed = True
                ready = self._buffer.flush()
            else:
                self._last_read = frame[0]
                ready = self._buffer.push(frame)
            if ready is not None:
                self._process(*ready)
        self._clock.num_frames += 1
        image, instances = self._pending.popleft()
        return image, replace(instances, class_names=self._class_names)

    def _process(self, window: ClipWindow, frames: list[IndexedFrame]) -> None:
        """Run the model on a window, track its objects, and queue the results of its new frames."""
        images = [image for _, image in frames]
        features = self._runner.encode(images, len(images))
        output = self._runner.decode_window(features, self._tracker.next_queries())
        with self._clock.measure("tracking"):
            update = self._tracker.update(output, [index for index, _ in frames])
        with self._clock.measure("masks"):
            first_new = window.first_new - window.start
            new = frames[first_new:]
            tracked = TrackedWindow(update, output, [index for index, _ in new], first_new, images[0].shape[:2])
            answers = self._task.window_frames(tracked, self._rules, self._recorder)
        self._pending.extend(zip([image for _, image in new], answers, strict=True))


def _tracker_of(runner: ModelRunner, settings: InferenceSettings) -> Tracker:
    """The tracker that the settings ask for, else the model's own."""
    own = runner.begin_tracking() if settings.tracker is None else None
    tracker = own or make_tracker(settings)
    needs_frames = own is None or not runner.has_learned_tracker
    if runner.is_frame_by_frame and needs_frames and WindowPlan.of(settings).window > 1:
        raise ValueError(
            f"this model finds objects on each frame by itself, so this tracker needs windows of one frame, got window "
            f"{settings.window}. Leave window out."
        )
    return tracker


def check_state(state: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return ``state`` if it is one of a stream.

    Raises:
        ValueError: If it is something else, or was saved by another version.
    """
    if state.get("version") != STATE_VERSION:
        raise ValueError(
            f"state must be what FrameStream.state_dict gave, version {STATE_VERSION}, got version "
            f"{state.get('version')!r} with {sorted(map(str, state))[:5]}."
        )
    return state


def _identity(settings: InferenceSettings, task: Task) -> dict[str, Any]:
    """The settings that a saved state only fits if they are the same."""
    plan = WindowPlan.of(settings)
    return {
        "task": task.name,
        "tracker": settings.tracker_name,
        "window": plan.window,
        "overlap": plan.overlap,
        "remainder": plan.remainder,
    }
