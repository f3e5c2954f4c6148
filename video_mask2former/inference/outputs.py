"""The files that are written for one video: pictures while frames go by, the rest when its tracks are known."""

from __future__ import annotations

import contextlib
import shutil
import sys
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np

from video_mask2former.atomic import atomic_path
from video_mask2former.results import (
    CocoDetectionsWriter,
    JsonLinesWriter,
    MaskPngWriter,
    MotsWriter,
    write_tracks,
    write_youtube_vis,
)
from video_mask2former.structures import FrameInstances, VideoInstances
from video_mask2former.video_io import VideoReader, VideoWriter
from video_mask2former.visualization import ContactSheet, MaskAnnotator
from video_mask2former.visualization.mask_annotator import Mode as OverlayMode

FILE_NAMES = {
    "overlay": "overlay.mp4",
    "contact_sheet": "contact_sheet.png",
    "tracks": "tracks.json",
    "results": "results.json",
    "frames": "frames.jsonl",
    "coco": "coco_detections.json",
    "mots": "mots.txt",
    "masks": "masks",
}
IMAGE_OVERLAY = "overlay.png"
# Of pictures that come without a frame rate, such as folders of images
DEFAULT_FRAME_RATE = Fraction(25)
# The id that a single video has in results.json
VIDEO_ID = 1


@dataclass(frozen=True)
class OutputChoice:
    """Which files are written for a video, and how its overlay looks.

    Attributes:
        overlay: ``overlay.mp4``, or ``overlay.png`` for an image.
        contact_sheet: ``contact_sheet.png``.
        tracks: ``tracks.json``, the project's own format.
        results: ``results.json`` in the format of YouTube-VIS.
        frames: ``frames.jsonl``, one line a frame.
        coco: ``coco_detections.json``, COCO detections of each frame.
        mots: ``mots.txt``, MOTS text.
        masks: ``masks/``, indexed PNG files in the manner of DAVIS.
        overlay_mode: Masks over the frames, frames and masks side by side, or masks alone.
        audio: Copy the sound into the overlay.
    """

    overlay: bool = True
    contact_sheet: bool = True
    tracks: bool = True
    results: bool = True
    frames: bool = False
    coco: bool = False
    mots: bool = False
    masks: bool = False
    overlay_mode: OverlayMode = "overlay"
    audio: bool = False

    @property
    def needs_pixels(self) -> bool:
        """Whether something is drawn on the frames themselves."""
        return self.overlay or self.contact_sheet

    def file_names(self, *, is_image: bool = False) -> list[str]:
        """Names of the files and folders that are written."""
        chosen = [name for key, name in FILE_NAMES.items() if getattr(self, key)]
        return [IMAGE_OVERLAY if name == FILE_NAMES["overlay"] and is_image else name for name in chosen]


class FrameOutputs:
    """The outputs that are made frame by frame: overlay, contact sheet, JSON Lines.

    Use it as a context manager: the files appear at its end, and not at all after an error. JSON Lines can be followed
    while they grow, under the name ``frames.jsonl.partial``.

    Args:
        folder: Where the files go.
        choice: Which of them.
        reader: The video they are of.
        class_names: Name of each class index.
        is_image: Whether the video is a single image.
    """

    def __init__(
        self, folder: Path, choice: OutputChoice, reader: VideoReader, class_names: tuple[str, ...], *, is_image: bool
    ) -> None:
        self._folder = folder
        self._class_names = class_names
        self._annotator = MaskAnnotator(choice.overlay_mode) if choice.overlay else None
        self._is_image = is_image
        self._sheet: ContactSheet | None = None
        if choice.contact_sheet:
            self._sheet = ContactSheet(
                title=Path(reader.name).name,
                class_names=class_names,
                frame_rate=reader.frame_rate,
                num_frames=reader.num_frames,
            )
        self._times = _uneven_times(reader)
        self._reader = reader
        self._stack = contextlib.ExitStack()
        self._video: VideoWriter | None = None
        self._lines: JsonLinesWriter | None = None
        try:
            if choice.overlay and not is_image:
                self._video = self._stack.enter_context(_overlay_writer(folder, choice, reader))
            if choice.frames:
                self._lines = self._open_lines(reader)
        except BaseException:
            self._stack.__exit__(*sys.exc_info())
            raise

    def add(self, image: np.ndarray, instances: FrameInstances) -> None:
        """Take in the next frame, uint8 RGB ``(H, W, 3)``, and what is on it."""
        if self._annotator is not None:
            picture = self._annotator.annotate(image, instances, self._class_names)
            if self._video is not None:
                self._video.write(picture, None if self._times is None else self._times[instances.frame_index])
            else:
                self._save_picture(picture)
        if self._sheet is not None:
            self._sheet.add(image, instances)
        if self._lines is not None:
            self._lines.write(instances, self._reader.time_seconds(instances.frame_index))

    def settle(self, result: VideoInstances) -> None:
        """Bring the contact sheet in line with the final tracks."""
        if self._sheet is not None:
            self._sheet.settle(result)

    def __enter__(self) -> FrameOutputs:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)
        if error is not None:
            return
        if self._sheet is not None:
            self._sheet.save(self._folder / FILE_NAMES["contact_sheet"])
        if self._lines is not None:
            self._lines.path.replace(self._folder / FILE_NAMES["frames"])

    def _open_lines(self, reader: VideoReader) -> JsonLinesWriter:
        path = self._folder / (FILE_NAMES["frames"] + ".partial")

        def remove(kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
            if error is not None:
                path.unlink(missing_ok=True)

        self._stack.push(remove)
        writer = JsonLinesWriter(
            path, reader.size, frame_rate=reader.frame_rate, class_names=self._class_names, source=reader.name
        )
        return self._stack.enter_context(writer)

    def _save_picture(self, picture: np.ndarray) -> None:
        with atomic_path(self._folder / IMAGE_OVERLAY) as temporary:
            _, data = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
            temporary.write_bytes(data.tobytes())


def write_result_files(
    folder: Path, choice: OutputChoice, video: VideoInstances, frame_indices: range, reader: VideoReader
) -> None:
    """Write the files that are made of the final tracks; each appears when it is complete.

    Args:
        folder: Where they go.
        choice: Which of them.
        video: The tracks.
        frame_indices: The frames that were processed; formats of single frames have these only.
        reader: The video, read to its end.
    """
    if choice.tracks:
        times = None
        if reader.timestamps is not None:
            times = [reader.time_seconds(index) or 0.0 for index in range(video.num_frames)]
        write_tracks(folder / FILE_NAMES["tracks"], video, source=reader.name, timestamps=times, damage=reader.damage)
    if choice.results:
        write_youtube_vis(folder / FILE_NAMES["results"], [replace(video, video_id=VIDEO_ID)])
    with contextlib.ExitStack() as stack:
        writers: list[CocoDetectionsWriter | MotsWriter | MaskPngWriter] = []
        if choice.coco:
            writers.append(stack.enter_context(CocoDetectionsWriter(folder / FILE_NAMES["coco"])))
        if choice.mots:
            writers.append(stack.enter_context(MotsWriter(folder / FILE_NAMES["mots"])))
        if choice.masks:
            writers.append(stack.enter_context(_mask_writer(stack, folder / FILE_NAMES["masks"])))
        for index in frame_indices if writers else ():
            instances = video.at_frame(index)
            for writer in writers:
                writer.write(instances)


def remove_other_files(folder: Path, kept: list[str]) -> None:
    """Remove what earlier runs with other choices wrote, so that the files of a folder belong together."""
    for name in {*FILE_NAMES.values(), IMAGE_OVERLAY} - set(kept):
        path = folder / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _overlay_writer(folder: Path, choice: OutputChoice, reader: VideoReader) -> VideoWriter:
    start_seconds = reader.time_seconds(reader.frame_index(0)) or 0.0
    return VideoWriter(
        folder / FILE_NAMES["overlay"],
        reader.playback_rate or DEFAULT_FRAME_RATE,
        audio_from=reader.name if choice.audio else None,
        audio_start_seconds=start_seconds if choice.audio else 0.0,
    )


def _uneven_times(reader: VideoReader) -> dict[int, float] | None:
    """Time of each frame by its index, where the frame rate varies; None where frames are evenly spaced."""
    times = reader.timestamps
    if times is None or reader.playback_rate is None or len(times) < 2:
        return None
    even = np.arange(len(times)) / float(reader.playback_rate)
    if np.abs(times - times[0] - even).max() < 0.5 / float(reader.playback_rate):
        return None
    return {reader.frame_index(position): float(time) for position, time in enumerate(times)}


def _mask_writer(stack: contextlib.ExitStack, folder: Path) -> MaskPngWriter:
    """A writer that replaces the folder of an earlier run, and leaves nothing behind after an error."""
    if folder.exists():
        shutil.rmtree(folder)
    writer = MaskPngWriter(folder)
    stack.callback(shutil.rmtree, writer.partial_folder, ignore_errors=True)
    return writer
