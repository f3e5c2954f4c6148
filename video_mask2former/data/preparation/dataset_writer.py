"""Writing datasets in the YouTube-VIS format."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from video_mask2former.atomic import atomic_path
from video_mask2former.rle import Rle, encode_masks, rle_area, rle_box


@dataclass(frozen=True)
class TrackAnnotation:
    """One annotated object of a video that is written.

    Attributes:
        category_id: One of the categories.
        segmentations: Frame index to mask; frames without the object are not in it.
        is_crowd: Whether it marks a group rather than one object.
    """

    category_id: int
    segmentations: Mapping[int, Rle]
    is_crowd: bool = False


class DatasetWriter:
    """Collects videos and their tracks, and writes the annotation file.

    Args:
        categories: Category id to name.
        description: What the dataset is, for the ``info`` of the file.
        stuff: Categories that have no countable objects. Where there are any, the file says of each what it is.
    """

    def __init__(
        self, categories: Mapping[int, str], description: str = "", *, stuff: Collection[int] = frozenset()
    ) -> None:
        self._categories = dict(categories)
        self._stuff = frozenset(stuff)
        self._description = description
        self._videos: list[dict[str, Any]] = []
        self._annotations: list[dict[str, Any]] = []

    def add_video(
        self,
        file_names: Sequence[str],
        size: tuple[int, int],
        tracks: Sequence[TrackAnnotation],
        *,
        ignored: Sequence[np.ndarray] = (),
    ) -> int:
        """Add a video; tracks without a mask are left out.

        Args:
            file_names: One for each frame, relative to the folder of the images.
            size: Height and width.
            tracks: Its objects.
            ignored: For each frame, the pixels that nothing is said of, ``(H, W)`` bool; empty if there are none.

        Returns:
            The id of the video, counted from 1.
        """
        video_id = len(self._videos) + 1
        height, width = size
        video = {"id": video_id, "width": width, "height": height, "length": len(file_names)}
        self._videos.append({**video, "file_names": list(file_names)})
        if any(mask.any() for mask in ignored):
            masks = [encode_masks(mask[None])[0] if mask.any() else None for mask in ignored]
            self._videos[-1]["ignore_segmentations"] = masks
        for track in tracks:
            if track.category_id not in self._categories:
                raise ValueError(f"category_id must be one of {sorted(self._categories)}, got {track.category_id}.")
            if track.segmentations:
                self._annotations.append(self._entry(track, video))
        return video_id

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the annotation file, whole or not at all."""
        document = {
            "info": {"description": self._description},
            "licenses": [],
            "categories": [self._category(key) for key in sorted(self._categories)],
            "videos": self._videos,
            "annotations": self._annotations,
        }
        write_json(path, document)

    def _category(self, key: int) -> dict[str, Any]:
        is_thing = {"isthing": int(key not in self._stuff)} if self._stuff else {}
        return {"id": key, "name": self._categories[key], **is_thing}

    def _entry(self, track: TrackAnnotation, video: dict[str, Any]) -> dict[str, Any]:
        masks = [track.segmentations.get(frame) for frame in range(video["length"])]
        return {
            "id": len(self._annotations) + 1,
            "video_id": video["id"],
            "category_id": track.category_id,
            "iscrowd": int(track.is_crowd),
            "width": video["width"],
            "height": video["height"],
            "length": video["length"],
            "segmentations": masks,
            "bboxes": [None if mask is None else list(rle_box(mask)) for mask in masks],
            "areas": [None if mask is None else rle_area(mask) for mask in masks],
        }


def write_json(path: str | os.PathLike[str], document: Mapping[str, Any]) -> None:
    """Write a JSON file, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(document, separators=(",", ":")), encoding="utf-8")


def write_jpeg(path: Path, image: np.ndarray, quality: int = 95) -> None:
    """Write an RGB image ``(H, W, 3)`` uint8 as JPEG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    is_encoded, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not is_encoded:
        raise ValueError(f"an image of shape {image.shape} and type {image.dtype} cannot be written as JPEG.")
    path.write_bytes(data.tobytes())
