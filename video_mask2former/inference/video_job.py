"""One video from its file to the files about it."""

from __future__ import annotations

from fractions import Fraction
from itertools import islice
from pathlib import Path

import numpy as np

from video_mask2former.inference.outputs import (
    FrameOutputs,
    OutputChoice,
    remove_other_files,
    remove_unfinished_files,
    write_result_files,
)
from video_mask2former.inference.overlap import ReadAhead, WriteBehind
from video_mask2former.inference.predictor import Progress, VideoPredictor, read_frames
from video_mask2former.structures import FrameInstances, VideoInstances
from video_mask2former.video_io import VideoReader, VideoSource, open_video
from video_mask2former.video_io.file_source import Backend
from video_mask2former.video_io.image_source import IMAGE_SUFFIXES


class VideoJob:
    """Predicts one video and writes what was chosen to a folder.

    Online, the frames are read once: what is drawn on a frame is what was known when its window was done, as in a
    stream. In clip mode the tracks are known only when all frames were read, so files are opened again for drawing;
    sources that can be read only once (cameras) are refused there if something is to be drawn.

    Args:
        source: A path that can be opened again, or the index of a camera.
        folder: Where the files go; made if it is not there.
        choice: Which files.
        start: Index of the first frame.
        end: Index to stop before.
        every: Take every n-th frame.
        frame_rate: Rate of images, which do not say their own.
        backend: Decoder of video files.
        name: What results call the video, where it is not its path: the address that the file was fetched from.
    """

    def __init__(
        self,
        source: str | Path | int,
        folder: Path,
        choice: OutputChoice,
        *,
        start: int | None = None,
        end: int | None = None,
        every: int = 1,
        frame_rate: Fraction | None = None,
        backend: Backend = "pyav",
        name: str | None = None,
    ) -> None:
        self._source: VideoSource = source
        self._folder = folder
        self._choice = choice
        self._start, self._end, self._every = start, end, every
        self._frame_rate = frame_rate
        self._backend: Backend = backend
        self._name = name
        path = None if isinstance(source, int) else Path(source)
        self.is_image = path is not None and path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()

    def open(self) -> VideoReader:
        """Open the video, from its first chosen frame on.

        Raises:
            FileNotFoundError: If it does not exist.
            ValueError: If it cannot be read, or no frame of it is chosen.
        """
        reader = open_video(
            self._source,
            start=self._start,
            end=self._end,
            every=self._every,
            frame_rate=self._frame_rate,
            backend=self._backend,
        )
        reader.name = self._name or reader.name
        return reader

    def run(self, predictor: VideoPredictor, reader: VideoReader, progress: Progress | None = None) -> VideoInstances:
        """Predict and write.

        Args:
            predictor: Model and settings.
            reader: From :meth:`open`.
            progress: Called with the number of frames done, whenever some are.

        Raises:
            ValueError: If the video or an output does not allow what was chosen.
            OSError: If a file cannot be written.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        remove_unfinished_files(self._folder)
        if predictor.settings.mode == "online" and not predictor.decides_at_end:
            result = self._run_online(predictor, reader, progress)
        else:
            result = self._run_clip(predictor, reader, progress)
        with predictor.clock.measure("output"):
            indices = range(reader.frame_index(0), reader.frame_index(reader.num_read), self._every)
            write_result_files(self._folder, self._choice, result, indices, reader)
            remove_other_files(self._folder, self._choice.file_names(is_image=self.is_image))
        return result

    def _run_online(self, predictor: VideoPredictor, reader: VideoReader, progress: Progress | None) -> VideoInstances:
        with self._frame_outputs(predictor, reader) as outputs:
            with WriteBehind(outputs.add) as behind:

                def write(image: np.ndarray, instances: FrameInstances) -> None:
                    with predictor.clock.measure("output"):
                        behind.put(image, instances)

                result = predictor.predict_reader(reader, progress, write)
                with predictor.clock.measure("output"):
                    behind.finish()
            outputs.settle(result)
        return result

    def _run_clip(self, predictor: VideoPredictor, reader: VideoReader, progress: Progress | None) -> VideoInstances:
        draws = self._choice.needs_pixels or self._choice.frames
        if isinstance(self._source, int) and draws:
            raise ValueError(
                "a camera can be read only once, but in clip mode drawing comes after the last frame. "
                "Use online mode, or switch off the overlay and the contact sheet."
            )
        result = predictor.predict_reader(reader, progress)
        if draws:
            with self.open() as again, self._frame_outputs(predictor, again) as outputs:
                frames = islice(read_frames(again), reader.num_read)
                with predictor.clock.measure("output"), ReadAhead(frames) as ahead, WriteBehind(outputs.add) as behind:
                    for index, image in ahead:
                        behind.put(image, result.at_frame(index))
                outputs.settle(result)
        return result

    def _frame_outputs(self, predictor: VideoPredictor, reader: VideoReader) -> FrameOutputs:
        return FrameOutputs(
            self._folder,
            self._choice,
            reader,
            predictor.class_names,
            is_image=self.is_image,
            stuff_labels=predictor.stuff_labels,
        )
