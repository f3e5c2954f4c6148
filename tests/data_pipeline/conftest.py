"""A tiny annotated dataset on the disk, and the document it is made of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from video_mask2former.data.annotations import AnnotationSet, load_annotations
from video_mask2former.rle import encode_masks

HEIGHT, WIDTH = 24, 32


def rectangle(top: int, left: int, height: int = 6, width: int = 8) -> dict[str, Any]:
    mask = np.zeros((1, HEIGHT, WIDTH), bool)
    mask[:, top : top + height, left : left + width] = True
    return dict(encode_masks(mask)[0])


def make_video(video_id: int, num_frames: int) -> dict[str, Any]:
    names = [f"{video_id}/{frame:03d}.png" for frame in range(num_frames)]
    return {"id": video_id, "height": HEIGHT, "width": WIDTH, "length": num_frames, "file_names": names}


def make_document() -> dict[str, Any]:
    """Videos 3 (6 frames), 5 (1 frame) and 9 (4 frames, nothing in it); category ids with gaps, out of order."""
    track = {"iscrowd": 0}
    return {
        "categories": [{"id": 70, "name": "zebra"}, {"id": -2, "name": "cat"}, {"id": 11, "name": "dog"}],
        "videos": [make_video(9, 4), make_video(3, 6), make_video(5, 1)],
        "annotations": [
            {
                **track,
                "id": 21,
                "video_id": 3,
                "category_id": 70,
                "segmentations": [rectangle(2, 3 * t) for t in range(6)],
            },
            {
                **track,
                "id": 20,
                "video_id": 3,
                "category_id": -2,
                "segmentations": [rectangle(15, 10), None, None, None, None, rectangle(16, 20)],
            },
            {
                "id": 22,
                "video_id": 3,
                "category_id": 11,
                "iscrowd": 1,
                "segmentations": [rectangle(0, 20)] * 6,
            },
            {**track, "id": 23, "video_id": 5, "category_id": 11, "segmentations": [[[4, 4, 20, 4, 20, 18, 4, 18]]]},
        ],
    }


@pytest.fixture
def document() -> dict[str, Any]:
    return make_document()


@pytest.fixture
def write(tmp_path: Path):
    """Writes a document and returns its path."""

    def write_document(document: Any) -> Path:
        path = tmp_path / "instances.json"
        path.write_text(json.dumps(document))
        return path

    return write_document


@pytest.fixture
def annotation_set(document, write) -> AnnotationSet:
    return load_annotations(write(document))


@pytest.fixture
def image_folder(tmp_path: Path, document) -> Path:
    """Images of the tiny dataset; the red of frame t of video v is 10 v + t everywhere."""
    folder = tmp_path / "images"
    for video in document["videos"]:
        for frame, name in enumerate(video["file_names"]):
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            picture = np.random.default_rng(frame).integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)
            picture[..., 2] = 10 * video["id"] + frame  # OpenCV writes blue first
            cv2.imwrite(str(path), picture)
    return folder
