"""JSON Lines: one line per frame, on the disk as soon as the frame is done.

The first line describes the video, every other one a frame (those without instances too), in order::

    {"format": "video_mask2former.frames", "version": 1, "source": "in.mp4", "height": 720, "width": 1280,
     "frame_rate": "30000/1001", "class_names": ["person", "dog"]}
    {"frame": 0, "time_seconds": 0.0, "instances": [{"id": 1, "label": 0, "class_name": "person", "score": 0.97,
     "box_xywh": [10, 20, 300, 400], "area": 51234, "segmentation": {"size": [720, 1280], "counts": "..."}}]}
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

from video_mask2former.documents import parse_json
from video_mask2former.results.field_checks import (
    require,
    require_format,
    require_index,
    require_rate,
    require_rle,
    require_score,
)
from video_mask2former.rle import rle_area, rle_box
from video_mask2former.structures import FrameInstances

logger = logging.getLogger(__name__)

FORMAT = "video_mask2former.frames"
VERSION = 1
_LONE_SURROGATES = "backslashreplace"  # the escape that JSON has for them


class JsonLinesWriter:
    """Appends frames to a JSON Lines file, each flushed before the next is taken.

    Args:
        path: File to write. An existing one is replaced, or continued if ``resume`` is set.
        size: Height and width of the frames.
        frame_rate: Frames per second.
        class_names: Name of each class index.
        source: Path of the video.
        resume: Continue an existing file: a last line that was cut off is dropped, ``next_frame_index`` says where to
            go on.

    Attributes:
        next_frame_index: One more than the last frame in the file; frames must be written in ascending order.

    Raises:
        ValueError: If the file to resume is of another video size, or no such file.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        size: tuple[int, int],
        *,
        frame_rate: Fraction | None = None,
        class_names: Sequence[str] = (),
        source: str | None = None,
        resume: bool = False,
    ) -> None:
        self.path = Path(path)
        self.size = (int(size[0]), int(size[1]))
        self.next_frame_index = 0
        self._class_names = tuple(class_names)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if resume and self.path.exists() and self._continue_existing():
            self._file = self.path.open("a", encoding="utf-8", errors=_LONE_SURROGATES)
            return
        self._file = self.path.open("w", encoding="utf-8", errors=_LONE_SURROGATES)
        self._append(
            {
                "format": FORMAT,
                "version": VERSION,
                "source": source,
                "height": self.size[0],
                "width": self.size[1],
                "frame_rate": None if frame_rate is None else str(Fraction(frame_rate)),
                "class_names": list(class_names),
            }
        )

    def write(self, instances: FrameInstances, time_seconds: float | None = None) -> None:
        """Append one frame.

        Raises:
            ValueError: If it is not later than the last one, or of another size.
        """
        if instances.frame_index < self.next_frame_index:
            raise ValueError(
                f"frames must be in ascending order: {self.path} is at frame {self.next_frame_index}, "
                f"got frame {instances.frame_index}."
            )
        if tuple(instances.size) != self.size:
            raise ValueError(f"frame {instances.frame_index} has size {instances.size}, the file {self.size}.")
        rows = zip(instances.track_ids, instances.labels, instances.scores, instances.segmentations, strict=True)
        entries = [
            {
                "id": int(track_id),
                "label": int(label),
                "class_name": self._class_names[label] if label < len(self._class_names) else None,
                "score": float(score),
                "box_xywh": [round(value) for value in rle_box(rle)],
                "area": rle_area(rle),
                "segmentation": rle,
            }
            for track_id, label, score, rle in rows
        ]
        self._append({"frame": instances.frame_index, "time_seconds": time_seconds, "instances": entries})
        self.next_frame_index = instances.frame_index + 1

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> JsonLinesWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _append(self, entry: dict[str, Any]) -> None:
        self._file.write(json.dumps(entry, ensure_ascii=False, allow_nan=False) + "\n")
        self._file.flush()

    def _continue_existing(self) -> bool:
        """Cut an incomplete last line, and learn where to go on; False if not even the first line is complete."""
        with self.path.open("r+b") as file:
            num_kept = 0
            for line in file:
                if not line.endswith(b"\n"):
                    logger.warning("%s ends in the middle of a line; that frame is dropped", self.path)
                    break
                num_kept += len(line)
            file.truncate(num_kept)
        if num_kept == 0:
            return False
        reader = JsonLinesReader(self.path)
        if reader.size != self.size:
            raise ValueError(f"{self.path} holds frames of {reader.size} (height, width), not {self.size}.")
        for instances in reader:
            self.next_frame_index = instances.frame_index + 1
        return True


class JsonLinesReader:
    """Reads a JSON Lines file frame by frame; it may still be growing.

    A last line that was cut off ends the reading with a warning.

    Args:
        path: File to read.

    Attributes:
        size: Height and width of the frames.
        frame_rate: Frames per second, None where unknown.
        class_names: Name of each class index.
        source: Path of the video, None where unknown.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If its first line is not that of such a file.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise FileNotFoundError(f"no such file: {self.path}.")
        place = f"{self.path}, line 1"
        with self.path.open("rb") as file:
            header = _parse(file.readline(), place)
        require_format(header, FORMAT, VERSION, place)
        self.size = (require_index(header, "height", place), require_index(header, "width", place))
        self.frame_rate = require_rate(header, place)
        self.class_names = tuple(str(name) for name in require(header, "class_names", list, place))
        self.source: str | None = require(header, "source", (str, type(None)), place)

    def __iter__(self) -> Iterator[FrameInstances]:
        """Yield the frames in order.

        Raises:
            ValueError: If a line other than an incomplete last one does not have the form.
        """
        previous = -1
        with self.path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if number == 1:
                    continue
                if not line.endswith(b"\n"):
                    logger.warning("%s ends in the middle of line %d; it is left out", self.path, number)
                    return
                place = f"{self.path}, line {number}"
                instances = self._read_frame(_parse(line, place), place)
                if instances.frame_index <= previous:
                    raise ValueError(f"{place}: frame {instances.frame_index} comes after frame {previous}.")
                previous = instances.frame_index
                yield instances

    def _read_frame(self, entry: Any, place: str) -> FrameInstances:
        rows = [
            (
                require(instance, "id", int, place),
                require_index(instance, "label", place),
                require_score(instance, place),
                require_rle(require(instance, "segmentation", dict, place), self.size, place),
            )
            for instance in require(entry, "instances", list, place)
        ]
        ids, labels, scores, masks = zip(*rows, strict=True) if rows else ((), (), (), ())
        return FrameInstances(require_index(entry, "frame", place), self.size, ids, labels, scores, masks)


def _parse(line: bytes, place: str) -> Any:
    return parse_json(line, f"{place} is not valid JSON")
