"""Indexed PNG masks as DAVIS has them: a folder with one picture per frame, the colour index being the object."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from video_mask2former.documents import read_json
from video_mask2former.messages import shortened
from video_mask2former.results.field_checks import (
    MAX_INDEX,
    require,
    require_format,
    require_index,
    require_score,
)
from video_mask2former.results.overlaps import label_map
from video_mask2former.rle import Rle, encode_masks
from video_mask2former.structures import FrameInstances, Track, VideoInstances
from video_mask2former.video_io.picture_files import open_picture

logger = logging.getLogger(__name__)

FORMAT = "video_mask2former.masks"
VERSION = 1
OBJECTS_FILE = "objects.json"
# DAVIS marks pixels of no one object with the last index
VOID_INDEX = 255


class MaskPngWriter:
    """Writes one indexed PNG per frame, ``00000.png`` onwards, and ``objects.json`` saying which index is which track.

    While it works the folder is called ``NAME.partial``; it gets its name when the writer is closed without an error,
    and goes after one.
    Overlapping masks are resolved, best score on top.

    Args:
        folder: Folder to make; it must not exist, or be empty.

    Raises:
        FileExistsError: If the folder holds anything.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        if self.folder.exists() and (not self.folder.is_dir() or any(self.folder.iterdir())):
            raise FileExistsError(f"{self.folder} already exists and is not empty; remove it or choose another folder.")
        self.partial_folder = self.folder.with_name(self.folder.name + ".partial")
        if self.partial_folder.exists():
            logger.warning("%s is left from an interrupted run and is replaced", self.partial_folder)
            shutil.rmtree(self.partial_folder)
        self.partial_folder.mkdir(parents=True)
        self._palette = davis_palette()
        self._indices: dict[int, int] = {}
        self._labels: dict[int, int] = {}
        self._scores: dict[int, list[float]] = {}
        self._size: tuple[int, int] | None = None
        self._num_frames = 0

    def write(self, instances: FrameInstances) -> None:
        """Write the masks of one frame.

        Raises:
            ValueError: If the frame has another size, or the video more than the 254 objects that 8 bits hold.
        """
        if self._size not in (None, tuple(instances.size)):
            raise ValueError(f"frame {instances.frame_index} has size {instances.size}, earlier ones {self._size}.")
        self._size = (int(instances.size[0]), int(instances.size[1]))
        lookup = np.zeros(len(instances) + 1, dtype=np.uint8)
        for position, (track_id, label, score) in enumerate(
            zip(instances.track_ids, instances.labels, instances.scores, strict=True), start=1
        ):
            index = self._indices.setdefault(track_id, len(self._indices) + 1)
            if index >= VOID_INDEX:
                raise ValueError(f"an indexed PNG holds {VOID_INDEX - 1} objects, track {track_id} is one too many.")
            self._labels[track_id] = label
            total, count = self._scores.setdefault(track_id, [0.0, 0])
            self._scores[track_id] = [total + score, count + 1]
            lookup[position] = index
        picture = Image.fromarray(lookup[label_map(instances)])
        picture.putpalette(self._palette.tobytes())
        picture.save(self.partial_folder / f"{instances.frame_index:05d}.png", compress_level=3)
        self._num_frames = max(self._num_frames, instances.frame_index + 1)

    def __enter__(self) -> MaskPngWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                objects = json.dumps(self._description(), indent=1)
                (self.partial_folder / OBJECTS_FILE).write_text(objects, encoding="utf-8")
                if self.folder.exists():
                    self.folder.rmdir()
                self.partial_folder.replace(self.folder)
        finally:
            shutil.rmtree(self.partial_folder, ignore_errors=True)  # gone already, if all went well

    def _description(self) -> dict[str, Any]:
        objects = [
            {
                "index": index,
                "track_id": int(track_id),
                "label": int(self._labels[track_id]),
                "score": float(self._scores[track_id][0] / self._scores[track_id][1]),
            }
            for track_id, index in self._indices.items()
        ]
        return {
            "format": FORMAT,
            "version": VERSION,
            "size": None if self._size is None else list(self._size),
            "num_frames": self._num_frames,
            "objects": objects,
        }


def read_mask_pngs(folder: str | os.PathLike[str]) -> VideoInstances:
    """Read a folder of indexed PNG masks.

    With ``objects.json`` ids, labels and scores are as they were written, and a file's number is its frame index.
    Without it (DAVIS itself) the index is the track id, labels are 0, scores 1, and frames are counted in name order.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If it holds no masks, or a file is not an indexed mask of the common size.
    """
    folder = Path(folder)
    if not folder.is_dir():
        partial = folder.with_name(folder.name + ".partial")
        hint = f" There is an incomplete {partial.name}." if partial.is_dir() else ""
        raise FileNotFoundError(f"no such folder: {folder}.{hint}")
    description = folder / OBJECTS_FILE
    objects = _read_objects(description) if description.exists() else None
    paths = sorted(folder.glob("*.png"), key=_frame_number)
    if not paths:
        raise ValueError(f"{folder} holds no PNG files.")
    size: tuple[int, int] | None = None
    segmentations: dict[int, dict[int, Rle]] = {}
    num_frames = 0
    for position, path in enumerate(paths):
        frame_index = position if objects is None else _frame_number(path)[0]
        indices = _read_indices(path, size)
        size = (indices.shape[0], indices.shape[1])
        if frame_index > MAX_INDEX:
            raise ValueError(f"{path} would be frame {shortened(frame_index)}, beyond {MAX_INDEX}.")
        num_frames = max(num_frames, frame_index + 1)
        present = [int(index) for index in np.unique(indices) if index not in (0, VOID_INDEX)]
        for index in present:
            rle = encode_masks((indices == index)[None])[0]
            segmentations.setdefault(index, {})[frame_index] = rle
    assert size is not None
    if objects is None:
        objects = {index: (index, 0, 1.0) for index in sorted(segmentations)}
    unknown = sorted(set(segmentations) - set(objects))
    if unknown:
        raise ValueError(f"{folder}: {OBJECTS_FILE} does not list the indices {unknown[:10]} that the masks have.")
    tracks = tuple(
        Track(track_id, label, score, segmentations.get(index, {}))
        for index, (track_id, label, score) in objects.items()
    )
    return VideoInstances(tracks, num_frames, size)


def davis_palette() -> np.ndarray:
    """The palette of PASCAL VOC and DAVIS, ``(256, 3)`` uint8.

    Bits 0, 3 and 6 of the index are the highest bits of red, bits 1, 4 and 7 those of green, bits 2 and 5 of blue.
    """
    indices = np.arange(256)
    palette = np.zeros((256, 3), dtype=np.uint8)
    for channel in range(3):
        for digit in range(3):
            palette[:, channel] |= ((indices >> (3 * digit + channel) & 1) << (7 - digit)).astype(np.uint8)
    return palette


def _read_objects(path: Path) -> dict[int, tuple[int, int, float]]:
    content = read_json(path, dict, "list of objects")
    require_format(content, FORMAT, VERSION, str(path))
    objects = {}
    for number, entry in enumerate(require(content, "objects", list, str(path))):
        place = f"{path}, object {number}"
        objects[require_index(entry, "index", place)] = (
            require(entry, "track_id", int, place),
            require_index(entry, "label", place),
            require_score(entry, place),
        )
    return objects


def _read_indices(path: Path, size: tuple[int, int] | None) -> np.ndarray:
    try:
        with open_picture(path, path) as picture:
            if picture.mode not in ("P", "L", "1"):
                raise ValueError(f"{path} is a {picture.mode} picture, not an indexed mask.")
            indices = np.asarray(picture)
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise ValueError(f"{path} cannot be read as a PNG ({error}).") from error
    if size is not None and indices.shape != size:
        raise ValueError(f"{path} is {indices.shape} (height, width), the masks before it are {size}.")
    return indices


def _frame_number(path: Path) -> tuple[int, str]:
    digits = re.findall(r"\d+", path.stem)
    return (int(digits[-1]) if digits else 0), path.stem
