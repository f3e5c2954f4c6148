"""MOTS text files (arXiv:1902.03604): one line per object and frame, masks without overlaps.

``frame object_id class_id height width rle``, separated by spaces, with the RLE as compressed COCO counts.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
from pathlib import Path
from types import TracebackType

from video_mask2former.atomic import atomic_path
from video_mask2former.results.field_checks import (
    MAX_INDEX,
    CategoryIds,
    class_index,
    class_indices,
    dataset_category,
    require_rle,
)
from video_mask2former.results.frame_assembly import assemble_tracks
from video_mask2former.results.overlaps import without_overlaps
from video_mask2former.structures import FrameInstances, VideoInstances

logger = logging.getLogger(__name__)

# the regions that the benchmark leaves out
IGNORE_CLASS_ID = 10
_INTEGER = re.compile(r"-?[0-9]{1,18}")


class MotsWriter:
    """Writes frames as MOTS text; the file appears when the writer is closed without an error.

    Overlapping masks are resolved, best score on top, since the benchmark forbids them. Scores are not kept.

    Args:
        path: File to write.
        category_ids: The benchmark's class id of each class index (cars 1, pedestrians 2); counted from 1 without the
            10, which marks regions to ignore, if None.
        first_frame: What frame index 0 is called: 0 in KITTI MOTS, 1 in MOTSChallenge.
    """

    def __init__(
        self, path: str | os.PathLike[str], category_ids: CategoryIds | None = None, first_frame: int = 0
    ) -> None:
        self._category_ids = category_ids
        self._first_frame = first_frame
        self._stack = contextlib.ExitStack()
        temporary = self._stack.enter_context(atomic_path(path))
        self._file = self._stack.enter_context(temporary.open("w", encoding="ascii"))

    def write(self, instances: FrameInstances) -> None:
        """Append the instances of one frame."""
        height, width = instances.size
        ids = self._category_ids
        resolved = without_overlaps(instances)
        for track_id, label, rle in zip(resolved.track_ids, resolved.labels, resolved.segmentations, strict=True):
            class_id = _counted_class_id(label) if ids is None else dataset_category(label, ids)
            if class_id == IGNORE_CLASS_ID:
                raise ValueError(
                    f"class index {label} would be written as class {IGNORE_CLASS_ID}, which marks regions to ignore. "
                    "Give category_ids without it."
                )
            frame = resolved.frame_index + self._first_frame
            self._file.write(f"{frame} {track_id} {class_id} {height} {width} {rle['counts']}\n")

    def __enter__(self) -> MotsWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)


def read_mots(
    path: str | os.PathLike[str],
    category_ids: CategoryIds | None = None,
    *,
    first_frame: int = 0,
    num_frames: int | None = None,
    size: tuple[int, int] | None = None,
) -> VideoInstances:
    """Read a MOTS text file; every score is 1. Regions marked to be ignored (class 10) are left out.

    Args:
        path: File to read.
        category_ids: The benchmark's class id of each class index; as :class:`MotsWriter` counts them if None.
        first_frame: What frame index 0 is called in the file.
        num_frames: Length of the video; up to the last frame with an object if None.
        size: Height and width of the frames; from the masks if None.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it does not have the form (the message names the first line that is wrong), or holds no objects
            while ``num_frames`` or ``size`` is not given.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"no such file: {path}.")
    back = class_indices(category_ids)
    frames = []
    num_ignored = 0
    for number, line in enumerate(Path(path).read_text(encoding="ascii", errors="replace").splitlines(), start=1):
        if not line.strip():
            continue
        place = f"{path}, line {number}"
        frame, track_id, class_id, mask_size, counts = _parse(line, place)
        if class_id == IGNORE_CLASS_ID:
            num_ignored += 1
            continue
        if not first_frame <= frame <= MAX_INDEX:
            raise ValueError(f"{place}: frame {frame} is before the first, {first_frame}, or beyond {MAX_INDEX}.")
        size = size or mask_size
        rle = require_rle({"size": list(mask_size), "counts": counts}, size, place)
        label = class_index(class_id, back, place)
        if back is None and class_id > IGNORE_CLASS_ID:
            label -= 1
        frames.append(FrameInstances(frame - first_frame, size, (track_id,), (label,), (1.0,), (rle,)))
    if num_ignored:
        logger.info("%s: %d regions of the class to ignore were left out", path, num_ignored)
    if not frames:
        if size is None or num_frames is None:
            raise ValueError(f"{path} holds no objects; give size and num_frames to read it as an empty result.")
        return VideoInstances((), num_frames, size)
    try:
        return assemble_tracks(frames, num_frames=num_frames)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _counted_class_id(label: int) -> int:
    return label + 1 if label + 1 < IGNORE_CLASS_ID else label + 2


def _parse(line: str, place: str) -> tuple[int, int, int, tuple[int, int], str]:
    fields = line.split()
    if len(fields) != 6 or not all(_INTEGER.fullmatch(field) for field in fields[:5]):
        raise ValueError(
            f"{place} must be 'frame object_id class_id height width rle', five integers and a string, "
            f"got {line[:60]!r}."
        )
    frame, track_id, class_id, height, width = (int(field) for field in fields[:5])
    return frame, track_id, class_id, (height, width), fields[5]
