"""Video in, tracks out, for many videos with one model."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from PIL import Image

from video_mask2former.config import InferenceSettings
from video_mask2former.inference.clock import StageClock
from video_mask2former.inference.frame_stream import FrameStream, IndexedFrame
from video_mask2former.inference.model_runner import ModelRunner
from video_mask2former.inference.offline import OfflineVideo
from video_mask2former.inference.overlap import ReadAhead
from video_mask2former.inference.segmentation_model import SegmentationModel
from video_mask2former.inference.trackers import make_tracker
from video_mask2former.remote_files import is_address, is_stored
from video_mask2former.structures import FrameInstances, Track, VideoInstances
from video_mask2former.tasks import AnswerRules, SemanticTask, Task, VideoInstanceTask
from video_mask2former.tasks.recorder import Recorder
from video_mask2former.tasks.selection import for_classes
from video_mask2former.video_io import VideoReader, VideoSource, open_video
from video_mask2former.video_io.file_source import Backend

Progress = Callable[[int], None]
OnFrame = Callable[[np.ndarray, FrameInstances], None]


class VideoPredictor:
    """Runs one model on many videos.

    Args:
        model: In eval mode, on the device it shall run on.
        settings: How it is run; the defaults of :class:`~video_mask2former.inference.InferenceSettings` if None.
        task: What is made of its masks; instances if None.
        is_thing: Whether each class of the model has countable objects; None: as the task or the
            class list of the model says.

    Raises:
        ValueError: If the settings do not fit the model.

    Attributes:
        settings: How it is run, classes by index.
        clock: Where the time went, over all videos so far.
        class_names: Names of the model's classes.
        task: What is made of its masks.
    """

    def __init__(
        self,
        model: SegmentationModel,
        settings: InferenceSettings | None = None,
        task: Task | None = None,
        *,
        is_thing: Sequence[bool] | None = None,
    ) -> None:
        self.clock = StageClock()
        self.class_names = tuple(model.class_names)
        chosen = for_classes(settings or InferenceSettings(), self.class_names, model.num_classes)
        self.settings = _as_the_model_was_made(chosen, model)
        self.task = task or VideoInstanceTask()
        self._rules = AnswerRules(
            self.settings, tuple(is_thing or self.task.is_thing(self.class_names, model.num_classes))
        )
        if self.settings.tile_side is not None and not isinstance(self.task, SemanticTask):
            raise ValueError(
                f"tile_side is of semantic segmentation, where the means of scores make sense, got {self.task.name!r}. "
                "Leave it out, or set the task to semantic."
            )
        make_tracker(self.settings)  # a wrong name is an error now, not at the first video
        self._runner = ModelRunner(model, self.settings, self.clock)
        if self._runner.has_learned_tracker and self.settings.tracker is None and self.settings.mode == "online":
            _check_window(self.settings, self._runner.tracked_model().online_window)

    @property
    def stuff_labels(self) -> frozenset[int]:
        """Classes that are drawn lightly, under the others."""
        return self.task.stuff_labels(self._rules)

    @property
    def is_offline(self) -> bool:
        """Whether videos go through a refiner, which answers when it has seen all frames."""
        return self._runner.has_refiner and not self.task.is_of_images

    @property
    def decides_at_end(self) -> bool:
        """Whether nothing is known of a frame before all frames were seen."""
        return self.is_offline or self.settings.is_whole_clip or self.task.is_of_images

    def predict(
        self,
        source: VideoSource,
        *,
        start: int | None = None,
        end: int | None = None,
        every: int = 1,
        progress: Progress | None = None,
    ) -> VideoInstances:
        """The tracks of a whole video, or of a single image.

        Args:
            source: What :func:`~video_mask2former.video_io.open_video` takes, or an image ``(H, W, 3)``.
            start: Index of the first frame.
            end: Index to stop before.
            every: Take every n-th frame.
            progress: Called with the number of frames done, whenever some are.

        Returns:
            Frame indices are those of the source, whatever part of it was processed.
        """
        backend = self.settings.video_backend
        with open_video(as_video(source), start=start, end=end, every=every, backend=backend) as reader:
            result = self.predict_reader(reader, progress)
        return replace(result, source=os.fspath(source)) if isinstance(source, (str, os.PathLike)) else result

    def predict_reader(
        self, reader: VideoReader, progress: Progress | None = None, on_frame: OnFrame | None = None
    ) -> VideoInstances:
        """As :meth:`predict`, of a video that is already open.

        Args:
            reader: The video.
            progress: Called with the number of frames done, whenever some are.
            on_frame: Called with each frame and what is known of it when its window is done; never for a video that
                is decoded as one clip.
        """
        if self.is_offline or self._is_tracked_clip:
            return self._predict_offline(reader, progress)
        if self.decides_at_end:
            return self._predict_clip(reader, progress)
        recorder = self.recorder(reader.size)
        with ReadAhead(read_frames(reader)) as frames:
            stream = self.stream(frames, recorder=recorder)
            for count, frame in enumerate(stream.with_frames(), start=1):
                if on_frame is not None:
                    on_frame(*frame)
                if progress is not None:
                    progress(count)
        return self.finish(recorder, reader)

    def stream(
        self,
        frames: Iterator[IndexedFrame],
        *,
        recorder: Recorder | None = None,
        state: Mapping[str, Any] | None = None,
    ) -> FrameStream:
        """The instances of each frame, as windows fill up.

        Args:
            frames: From :func:`read_frames` or :func:`frames_from`.
            recorder: From :meth:`recorder`, if tracks are wanted in the end, too.
            state: Continue from this state of an earlier stream; ``frames`` begin with the one after its last.
        """
        stream = FrameStream(self._runner, frames, self.task, self._rules, clock=self.clock, recorder=recorder)
        if state is not None:
            stream.load_state_dict(state)
        return stream

    def recorder(self, size: tuple[int, int]) -> Recorder:
        """Collects the tracks of one video with frames of this size."""
        return self.task.recorder(size, self._rules)

    def finish(self, recorder: Recorder, reader: VideoReader) -> VideoInstances:
        """The tracks of a video that was streamed to its end.

        Raises:
            ValueError: If not one frame of it came.
        """
        if reader.num_read == 0:
            raise ValueError(f"{reader.name}: not one of the chosen frames can be decoded.")
        return recorder.result(reader.source_num_frames, reader.frame_rate, self.class_names)

    @property
    def _is_tracked_clip(self) -> bool:
        """Whether a tracker with weights goes through the whole video, and answers then."""
        return self.settings.is_whole_clip and self._runner.has_learned_tracker and not self.task.is_of_images

    def _predict_offline(self, reader: VideoReader, progress: Progress | None) -> VideoInstances:
        """Find and follow objects, refine them when all frames were seen, then make masks."""

        def counted(frames: Iterator[IndexedFrame]) -> Iterator[IndexedFrame]:
            for count, frame in enumerate(frames, start=1):
                if progress is not None:
                    progress(count)
                yield frame

        again = reader.again if self.settings.second_pass == "encode" and self._runner.has_refiner else None
        if again is not None:
            reader.check_repeatable()
        offline = OfflineVideo(self._runner, self.task, self._rules, clock=self.clock, again=again)
        is_instances = isinstance(self.task, VideoInstanceTask) or self.settings.mode == "online"
        with ReadAhead(read_frames(reader)) as frames:
            if not (self.is_offline and is_instances):
                return self._clip_result(*offline.clip_tracks(counted(frames), reader.size), reader)
            recorder, indices = offline.run(counted(frames), reader.size)
        self.clock.num_frames += len(indices)
        return self.finish(recorder, reader)

    def _predict_clip(self, reader: VideoReader, progress: Progress | None) -> VideoInstances:
        """Decode all frames as one clip: the published protocol."""
        indices: list[int] = []

        def images(frames: Iterator[IndexedFrame]) -> Iterator[np.ndarray]:
            while True:
                with self.clock.measure("decode"):
                    frame = next(frames, None)
                if frame is None:
                    return
                index, image = frame
                indices.append(index)
                if progress is not None:
                    progress(len(indices))
                yield image

        with ReadAhead(read_frames(reader)) as frames:
            features = self._runner.encode(images(frames), reader.num_frames)
        output = self._runner.decode(features)
        del features
        with self.clock.measure("masks"):
            tracks = self.task.clip_tracks(output, indices, reader.size, self._rules)
        return self._clip_result(tracks, indices, reader)

    def _clip_result(self, tracks: tuple[Track, ...], indices: Sequence[int], reader: VideoReader) -> VideoInstances:
        if not indices:
            raise ValueError(f"{reader.name}: not one of the chosen frames can be decoded.")
        self.clock.num_frames += len(indices)
        length = max(reader.source_num_frames or 0, indices[-1] + 1)
        return VideoInstances(tracks, length, reader.size, reader.frame_rate, self.class_names)


def _as_the_model_was_made(settings: InferenceSettings, model: SegmentationModel) -> InferenceSettings:
    """Settings with what they leave to the model filled in."""
    window = settings.window
    if window is None and settings.mode == "online" and not settings.overlap:
        window = getattr(model, "online_window", None)
    return replace(
        settings,
        window=window,
        tracker=settings.tracker or getattr(model, "preferred_tracker", None),
        mask_quality=settings.mask_quality or getattr(model, "mask_quality", None),
    )


def _check_window(settings: InferenceSettings, clip_length: int) -> None:
    """Reject windows that would cut the clips of a tracker short, which changes its results."""
    if (settings.window or 1) % clip_length or settings.overlap % clip_length:
        raise ValueError(
            f"window and overlap must be multiples of the {clip_length} frames that the tracker takes at a time "
            f"(tracker.clip_length), got window {settings.window} and overlap {settings.overlap}. Leave them out, or "
            f"take window {clip_length}."
        )


def as_video(source: VideoSource) -> VideoSource:
    """The source itself, with a time axis added to a single image given as an array, a tensor or a PIL image."""
    if isinstance(source, Image.Image):
        source = np.asarray(source.convert("RGB"))
    if isinstance(source, (np.ndarray, torch.Tensor)) and source.ndim == 3:
        return source[None]
    return source


def read_frames(reader: VideoReader, offset: int = 0) -> Iterator[IndexedFrame]:
    """The frames of a reader with their index in the source (plus ``offset``); closes the reader at their end."""
    with reader:
        for position, image in enumerate(reader):
            yield offset + reader.frame_index(position), image


def frames_from(
    source: VideoSource, first: int, *, end: int | None = None, every: int = 1, backend: Backend = "pyav"
) -> Iterator[IndexedFrame]:
    """The frames of a source from index ``first`` on, none where it has no more.

    Files, folders and arrays are opened at that frame. Cameras and iterators stand there already: the next frame they
    give is taken to have that index.
    """
    if end is not None and first >= end:
        return iter(())
    if isinstance(source, Iterator):
        head = next(source, None)
        if head is None:
            return iter(())
        source = itertools.chain([head], source)
    if isinstance(source, (int, Iterator)) or (is_address(source) and not is_stored(source)):
        return read_frames(open_video(source, end=None if end is None else end - first, every=every), first)
    with open_video(source) as reader:
        num_frames = reader.source_num_frames
    if num_frames is not None and first >= num_frames:
        return iter(())
    return read_frames(open_video(source, start=first, end=end, every=every, backend=backend))
