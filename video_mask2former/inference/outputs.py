"""The files that are written for one video: pictures while frames go by, the rest when its tracks are known."""

from __future__ import annotations

import contextlib
import logging
import shutil
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np

from video_mask2former.atomic import atomic_path
from video_mask2former.data.class_names import known_category_ids
from video_mask2former.inference.viewer import ViewerPage
from video_mask2former.results import (
    CocoDetectionsWriter,
    JsonLinesWriter,
    MaskPngWriter,
    MotsWriter,
    write_tracks,
    write_youtube_vis,
)
from video_mask2former.results.formats import FORMATS, find_format
from video_mask2former.structures import FrameInstances, VideoInstances
from video_mask2former.tasks.pixel_files import (
    PANOPTIC_JSON,
    PANOPTIC_PNGS,
    write_label_maps,
    write_panoptic_frames,
    write_panoptic_json,
)
from video_mask2former.video_io import VideoReader, VideoWriter
from video_mask2former.visualization import ContactSheet, MaskAnnotator
from video_mask2former.visualization.mask_annotator import Mode as OverlayMode

logger = logging.getLogger(__name__)

FILE_NAMES = {
    "overlay": "overlay.mp4",
    "contact_sheet": "contact_sheet.png",
    "viewer": "viewer.html",
    "tracks": "tracks.json",
    "results": "results.json",
    "frames": "frames.jsonl",
    "coco": "coco_detections.json",
    "mots": "mots.txt",
    "masks": "masks",
    "panoptic": "panoptic",
    "semantic": "semantic",
}
IMAGE_OVERLAY = "overlay.png"
PARTIAL_FRAMES = FILE_NAMES["frames"] + ".partial"
# Of pictures that come without a frame rate, such as folders of images
DEFAULT_FRAME_RATE = Fraction(25)
_ALL_NAMES = (
    *FILE_NAMES.values(),
    IMAGE_OVERLAY,
    *(name for each in FORMATS.values() for name in each.file_names),
)
# The id that a single video has in results.json
VIDEO_ID = 1


@dataclass(frozen=True)
class OutputChoice:
    """Which files are written for a video, and how its overlay looks.

    Attributes:
        overlay: ``overlay.mp4``, or ``overlay.png`` for an image.
        contact_sheet: ``contact_sheet.png``.
        viewer: ``viewer.html``, the video with its tracks in a page.
        tracks: ``tracks.json``, the project's own format.
        results: ``results.json`` in the format of YouTube-VIS.
        frames: ``frames.jsonl``, one line a frame.
        coco: ``coco_detections.json``, COCO detections of each frame.
        mots: ``mots.txt``, MOTS text.
        masks: ``masks/``, indexed PNG files in the manner of DAVIS.
        panoptic: ``panoptic/``, PNG files and ``pred.json`` in the form of VIPSeg; for masks that do not overlap.
        semantic: ``semantic/``, PNG files whose values are classes; for the same.
        formats: Files for other tools, by their names in :data:`~video_mask2former.results.formats.FORMATS`.
        overlay_mode: Masks over the frames, frames and masks side by side, or masks alone.
        audio: Copy the sound into the overlay.
    """

    overlay: bool = True
    contact_sheet: bool = True
    viewer: bool = True
    tracks: bool = True
    results: bool = True
    frames: bool = False
    coco: bool = False
    mots: bool = False
    masks: bool = False
    panoptic: bool = False
    semantic: bool = False
    formats: tuple[str, ...] = ()
    overlay_mode: OverlayMode = "overlay"
    audio: bool = False

    def __post_init__(self) -> None:
        for name in self.formats:
            find_format(name)

    @property
    def needs_pixels(self) -> bool:
        """Whether something is drawn on the frames themselves."""
        return self.overlay or self.contact_sheet or self.viewer

    def file_names(self, *, is_image: bool = False) -> list[str]:
        """Names of the files and folders that are written."""
        chosen = [name for key, name in FILE_NAMES.items() if getattr(self, key)]
        chosen += [name for key in self.formats for name in FORMATS[key].file_names]
        return [IMAGE_OVERLAY if name == FILE_NAMES["overlay"] and is_image else name for name in chosen]


class FrameOutputs:
    """The outputs that are made frame by frame: overlay, contact sheet, viewer, JSON Lines.

    Use it as a context manager: the files appear at its end, each whole or, after an error, not at all.
    JSON Lines can be followed while they grow, under the name ``frames.jsonl.partial``.

    Args:
        folder: Where the files go.
        choice: Which of them.
        reader: The video they are of.
        class_names: Name of each class index.
        is_image: Whether the video is a single image.
        stuff_labels: Classes that are drawn lightly, under the others.
    """

    def __init__(
        self,
        folder: Path,
        choice: OutputChoice,
        reader: VideoReader,
        class_names: tuple[str, ...],
        *,
        is_image: bool,
        stuff_labels: frozenset[int] = frozenset(),
    ) -> None:
        self._folder = folder
        self._class_names = class_names
        annotator = MaskAnnotator(choice.overlay_mode, stuff_labels=stuff_labels)
        self._annotator = annotator if choice.overlay else None
        self._is_image = is_image
        self._sheet: ContactSheet | None = None
        if choice.contact_sheet:
            self._sheet = ContactSheet(
                title=Path(reader.name).name,
                class_names=class_names,
                frame_rate=reader.frame_rate,
                num_frames=reader.num_frames,
                stuff_labels=stuff_labels,
            )
        self._result: VideoInstances | None = None
        self._viewer: ViewerPage | None = None
        self._has_variable_rate = reader.has_variable_rate
        self._reader = reader
        self._video: VideoWriter | None = None
        self._lines: JsonLinesWriter | None = None
        with contextlib.ExitStack() as stack:  # closed from the last to the first, each with the others' errors
            if choice.frames:
                self._lines = self._open_lines(stack)
            if choice.viewer:
                page = ViewerPage(
                    folder / FILE_NAMES["viewer"],
                    Path(reader.name).name,
                    reader.playback_rate or DEFAULT_FRAME_RATE,
                    stuff_labels=stuff_labels,
                )
                self._viewer = stack.enter_context(page)
            if choice.overlay and not is_image:
                self._video = stack.enter_context(_overlay_writer(folder, choice, reader))
            stack.push(self._save_pages)
            self._stack = stack.pop_all()

    def add(self, image: np.ndarray, instances: FrameInstances) -> None:
        """Take in the next frame, uint8 RGB ``(H, W, 3)``, and what is on it."""
        if self._annotator is not None:
            picture = self._annotator.annotate(image, instances, self._class_names)
            if self._video is not None:
                time = self._reader.time_seconds(instances.frame_index) if self._has_variable_rate else None
                self._video.write(picture, time)
            else:
                self._save_picture(picture)
        if self._sheet is not None:
            self._sheet.add(image, instances)
        if self._viewer is not None:
            self._viewer.add(image, instances.frame_index)
        if self._lines is not None:
            self._lines.write(instances, self._reader.time_seconds(instances.frame_index))

    def settle(self, result: VideoInstances) -> None:
        """Bring the contact sheet in line with the final tracks, and keep them for the viewer."""
        self._result = result
        if self._sheet is not None:
            self._sheet.settle(result)

    def __enter__(self) -> FrameOutputs:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def _save_pages(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None and self._sheet is not None:
            self._sheet.save(self._folder / FILE_NAMES["contact_sheet"])
        if error is None and self._viewer is not None and self._result is not None:
            self._viewer.write(self._result, self._reader.name)

    def _open_lines(self, stack: contextlib.ExitStack) -> JsonLinesWriter:
        path = self._folder / PARTIAL_FRAMES

        def finish(kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
            if error is None:
                path.replace(self._folder / FILE_NAMES["frames"])
            else:
                path.unlink(missing_ok=True)

        stack.push(finish)
        reader = self._reader
        writer = JsonLinesWriter(
            path, reader.size, frame_rate=reader.frame_rate, class_names=self._class_names, source=reader.name
        )
        return stack.enter_context(writer)

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
            remove_path(folder / FILE_NAMES["masks"])
            writers.append(stack.enter_context(MaskPngWriter(folder / FILE_NAMES["masks"])))
        for index in frame_indices if writers else ():
            instances = video.at_frame(index)
            for writer in writers:
                writer.write(instances)
    for name in choice.formats:
        place = folder / FORMATS[name].file_names[0]
        remove_path(place)
        FORMATS[name].write(replace(video, source=reader.name), place, frame_indices)
    names = [(index, f"{index:05d}") for index in frame_indices]
    if choice.panoptic:
        pictures = folder / FILE_NAMES["panoptic"]
        remove_path(pictures)
        category_ids = known_category_ids(video.class_names, 1 + max((t.label for t in video.tracks), default=0))
        frames = write_panoptic_frames(pictures / PANOPTIC_PNGS / folder.name, names, video, category_ids)
        entry = {"video_id": folder.name, "annotations": frames}
        write_panoptic_json(pictures / PANOPTIC_JSON, [entry])
    if choice.semantic:
        remove_path(folder / FILE_NAMES["semantic"])
        write_label_maps(folder / FILE_NAMES["semantic"], names, video)


def remove_other_files(folder: Path, kept: list[str]) -> None:
    """Remove what earlier runs with other choices wrote, so that the files of a folder belong together."""
    for name in set(_ALL_NAMES) - set(kept):
        remove_path(folder / name)


def remove_unfinished_files(folder: Path) -> None:
    """Remove what a run left behind that was killed before it could do so itself."""
    for name in _ALL_NAMES:
        path = Path(name)
        # the names that atomic_path makes, and those that grow under one of their own
        for leftover in (*folder.glob(f".{path.stem}-*.tmp{path.suffix}"), folder / f"{name}.partial"):
            remove_path(leftover)


def remove_path(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _overlay_writer(folder: Path, choice: OutputChoice, reader: VideoReader) -> VideoWriter:
    audio_from = None
    if choice.audio and Path(reader.path).is_file():
        audio_from = reader.path
    elif choice.audio:
        logger.info("%s has no sound to copy", reader.name)
    return VideoWriter(
        folder / FILE_NAMES["overlay"],
        reader.playback_rate or DEFAULT_FRAME_RATE,
        audio_from=audio_from,
        audio_start_seconds=reader.time_seconds(reader.frame_index(0)) or 0.0,
    )
