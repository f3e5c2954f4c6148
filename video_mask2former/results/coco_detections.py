"""COCO-style detections: one entry per instance and frame."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from video_mask2former.documents import read_json
from video_mask2former.results.field_checks import (
    CategoryIds,
    class_index,
    class_indices,
    dataset_category,
    require,
    require_rle,
    require_score,
)
from video_mask2former.results.json_array_file import JsonArrayFile
from video_mask2former.rle import Rle, rle_area, rle_box
from video_mask2former.structures import FrameInstances


class CocoDetectionsWriter:
    """Writes the instances of each frame as COCO detections (with ``track_id`` and ``area`` besides).

    The file appears when the writer is closed without an error.

    Args:
        path: File to write.
        category_ids: The dataset's category id of each class index; ``label + 1`` if None.
        image_ids: The dataset's image id of each frame index; the frame index itself if None.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        category_ids: CategoryIds | None = None,
        image_ids: Mapping[int, int] | None = None,
    ) -> None:
        self._array = JsonArrayFile(path)
        self._category_ids = category_ids
        self._image_ids = image_ids

    def write(self, instances: FrameInstances) -> None:
        """Append the instances of one frame."""
        for entry in coco_entries(instances, self._category_ids, self._image_ids):
            self._array.append(entry)

    def __enter__(self) -> CocoDetectionsWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._array.__exit__(kind, error, trace)


def coco_entries(
    instances: FrameInstances, category_ids: CategoryIds | None = None, image_ids: Mapping[int, int] | None = None
) -> list[dict[str, Any]]:
    """The instances of a frame as COCO detections; arguments as of :class:`CocoDetectionsWriter`."""
    columns = zip(instances.track_ids, instances.labels, instances.scores, instances.segmentations, strict=True)
    return [
        {
            "image_id": instances.frame_index if image_ids is None else image_ids[instances.frame_index],
            "category_id": dataset_category(label, category_ids),
            "bbox": list(rle_box(rle)),
            "area": rle_area(rle),
            "score": float(score),
            "track_id": int(track_id),
            "segmentation": rle,
        }
        for track_id, label, score, rle in columns
    ]


def read_coco_detections(
    path: str | os.PathLike[str], category_ids: CategoryIds | None = None
) -> dict[int, FrameInstances]:
    """Read COCO detections with masks.

    Instances without a ``track_id``, as other programs write them, are numbered from 1 through the file.

    Args:
        path: File to read.
        category_ids: The dataset's category id of each class index; ``category_id - 1`` if None.

    Returns:
        The instances of each image that has any, by image id (which is their ``frame_index`` too).

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it does not have the form; the message names the first entry that is wrong.
    """
    back = class_indices(category_ids)
    rows: dict[int, list[tuple[int, int, float, Rle]]] = {}
    sizes: dict[int, tuple[int, int]] = {}
    for number, entry in enumerate(read_json(Path(path), list, "COCO detection file")):
        place = f"{path}, entry {number}"
        image_id: int = require(entry, "image_id", int, place)
        rle = require_rle(require(entry, "segmentation", dict, place), sizes.get(image_id), place)
        sizes.setdefault(image_id, (rle["size"][0], rle["size"][1]))
        label = class_index(require(entry, "category_id", int, place), back, place)
        track_id = require(entry, "track_id", int, place) if "track_id" in entry else number + 1
        rows.setdefault(image_id, []).append((track_id, label, require_score(entry, place), rle))
    return {
        image_id: FrameInstances(image_id, sizes[image_id], *(tuple(column) for column in zip(*of_image, strict=True)))
        for image_id, of_image in rows.items()
    }
