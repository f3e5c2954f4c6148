"""Files that say something of every pixel of a video: the panoptic PNGs of VIPSeg, and label maps."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from video_mask2former.atomic import atomic_path
from video_mask2former.data.label_maps import IGNORE_LABEL, write_label_map
from video_mask2former.data.panoptic_files import write_segment_ids
from video_mask2former.rle import rle_area
from video_mask2former.structures import VideoInstances
from video_mask2former.tasks.segment_maps import paint

PANOPTIC_JSON, PANOPTIC_PNGS = "pred.json", "pan_pred"
"""What the servers and programs of VIPSeg call the files of a submission."""


def write_panoptic_frames(
    folder: Path, names: Iterable[tuple[int, str]], answer: VideoInstances, category_ids: Sequence[int]
) -> list[dict[str, Any]]:
    """Write a PNG of segment ids for each frame, whose colours are R + 256 G + 65536 B.

    Args:
        folder: Where they go.
        names: Index and name of each frame.
        answer: Tracks that do not overlap.
        category_ids: Category id of each class.

    Returns:
        What a file in the form of VIPSeg says of each frame.
    """
    track_ids = [track.track_id for track in answer.tracks]
    frames = []
    for index, name in names:
        file_name = f"{name}.png"
        write_segment_ids(folder / file_name, paint(answer, track_ids, index))
        segments = [
            {
                "id": track.track_id,
                "category_id": category_ids[track.label],
                "iscrowd": 0,
                "area": rle_area(track.segmentations[index]),
            }
            for track in answer.tracks
            if index in track.segmentations
        ]
        frames.append({"file_name": file_name, "image_id": name, "segments_info": segments})
    return frames


def write_label_maps(folder: Path, names: Iterable[tuple[int, str]], answer: VideoInstances) -> None:
    """Write a PNG of classes for each frame, 255 where none is; arguments as above."""
    labels = [track.label for track in answer.tracks]
    for index, name in names:
        write_label_map(folder / f"{name}.png", paint(answer, labels, index, IGNORE_LABEL))


def write_panoptic_json(path: Path, entries: Iterable[dict[str, Any]]) -> None:
    """Write what is said of all videos (or images)."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps({"annotations": list(entries)}), encoding="utf-8")


def pack_pictures(folder: Path, path: Path, *, json_file: Path | None = None) -> None:
    """Write the zip that servers take: the label maps of each video, or ``pred.json`` and ``pan_pred``.

    Args:
        folder: Folder of PNGs, with a folder for each video.
        path: The zip.
        json_file: What is said of the segments; None for label maps.
    """
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        if json_file is not None:
            archive.write(json_file, PANOPTIC_JSON, zipfile.ZIP_DEFLATED)
        for file in sorted(folder.rglob("*.png")):
            name = file.relative_to(folder).as_posix()
            archive.write(file, name if json_file is None else os.path.join(PANOPTIC_PNGS, name))
