"""MOTS PNG 1.0 (arXiv:1902.03604), as CVAT and datumaro read it: 16-bit pictures of class and object.

::

    FOLDER/images/            empty: the frames go here
    FOLDER/instances/labels.txt       a class on each line
    FOLDER/instances/000000.png       1000 * class, counted from 1, + object
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from video_mask2former.results.formats.frame_files import class_list, frame_files
from video_mask2former.results.mots import IGNORE_CLASS_ID
from video_mask2former.results.overlaps import label_map
from video_mask2former.structures import VideoInstances

MAX_OBJECTS = 1000
"""Of a video: the object is what is left of a value by this number."""

_MAX_CLASSES = np.iinfo(np.uint16).max // MAX_OBJECTS
_UNUSED_NAME = "ignored"


def write_mots_png(
    video: VideoInstances, path: str | os.PathLike[str], frame_indices: Sequence[int] | None = None
) -> None:
    """Write the masks of a video as MOTS PNG files; zipped, the folder is what CVAT imports as "MOTS PNG 1.0".

    Where masks overlap, the best score is on top. The class of number 10 marks regions to ignore in MOTS; a tenth
    class is called 11 therefore, and the name in between "ignored". Scores are not kept.

    Args:
        video: The tracks; ``source``, a folder of images, gives the files their names.
        path: Folder to write; it appears when it is complete.
        frame_indices: The frames that were looked at, each has a file; None is all.

    Raises:
        FileExistsError: If the folder holds anything.
        ValueError: If the video has more objects or classes than 16 bits hold.
    """
    folder = Path(path)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"{folder} already exists and is not empty; remove it or choose another folder.")
    numbers = {track.track_id: number for number, track in enumerate(video.tracks, start=1)}
    class_numbers = [_class_number(label) for label in range(len(class_list(video)))]
    if len(numbers) >= MAX_OBJECTS or max(class_numbers, default=0) > _MAX_CLASSES:
        raise ValueError(
            f"MOTS PNG holds {MAX_OBJECTS - 1} objects of {_MAX_CLASSES - 1} classes, "
            f"got {len(numbers)} of {len(class_numbers)}."
        )
    files = frame_files(video)
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)  # of a run that was killed
    try:
        (partial / "images").mkdir(parents=True)
        (partial / "instances").mkdir()
        for index in range(video.num_frames) if frame_indices is None else frame_indices:
            picture = _picture(video, index, numbers)
            _, data = cv2.imencode(".png", picture)
            (partial / "instances" / files[index]).with_suffix(".png").write_bytes(data.tobytes())
        (partial / "instances" / "labels.txt").write_text("".join(f"{name}\n" for name in _names(video)), "utf-8")
        if folder.exists():
            folder.rmdir()
        partial.replace(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)  # gone already, if all went well


def _picture(video: VideoInstances, frame_index: int, numbers: dict[int, int]) -> np.ndarray:
    instances = video.at_frame(frame_index)
    values = [0]
    for track_id, label in zip(instances.track_ids, instances.labels, strict=True):
        values.append(_class_number(label) * MAX_OBJECTS + numbers[track_id])
    return np.array(values, np.uint16)[label_map(instances)]


def _class_number(label: int) -> int:
    return label + 1 if label + 1 < IGNORE_CLASS_ID else label + 2


def _names(video: VideoInstances) -> list[str]:
    names = [" ".join(name.split()) for name in class_list(video)]
    if len(names) >= IGNORE_CLASS_ID:
        names.insert(IGNORE_CLASS_ID - 1, _UNUSED_NAME)
    return names
