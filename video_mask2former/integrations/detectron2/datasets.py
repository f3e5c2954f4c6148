"""The published video datasets in detectron2's catalogs, under their published names."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode

from video_mask2former.data.annotation_format import find_problems, read_document
from video_mask2former.data.catalog import DATASETS
from video_mask2former.data.class_names import CATEGORY_IDS, CLASS_NAMES
from video_mask2former.data.segmentations import pack_segmentation, unpack_rle
from video_mask2former.rle import rle_box
from video_mask2former.visualization.colors import track_color

_CLASS_LISTS = {"ytvis_2019": "ytvis_2019", "ytvis_2021": "ytvis_2021", "ytvis_2022": "ytvis_2021", "ovis": "ovis"}
_SPLITS = ("train", "val", "test")


def register_ytvis_instances(name: str, metadata: Mapping[str, Any], json_file: str, image_root: str) -> None:
    """Register a dataset in the format of YouTube-VIS.

    Args:
        name: What configurations call it.
        metadata: What is known of it beside the paths: ``thing_classes``, ``thing_colors``, ...
        json_file: Its annotations.
        image_root: Folder that the file names in them are relative to.
    """
    DatasetCatalog.register(name, lambda: load_ytvis_json(json_file, image_root, name))
    MetadataCatalog.get(name).set(json_file=json_file, image_root=image_root, evaluator_type="ytvis", **metadata)


def load_ytvis_json(
    json_file: str | os.PathLike[str], image_root: str | os.PathLike[str], dataset_name: str | None = None
) -> list[dict[str, Any]]:
    """The videos of an annotation file as detectron2's records.

    Args:
        json_file: In the format of YouTube-VIS; where annotations are hidden, records have empty ones.
        image_root: See :func:`register_ytvis_instances`.
        dataset_name: Its name in the catalog, which learns the classes of the file.

    Returns:
        ``file_names, height, width, length, video_id`` of each, and ``annotations``: for each frame a list of dicts
        with ``id``, contiguous ``category_id``, ``iscrowd``, ``bbox`` and ``segmentation``.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If something in it is wrong; the message names it.
    """
    document = read_document(json_file)
    for problem in find_problems(document):
        if problem.is_error:
            raise ValueError(f"{document.path}: {problem}")
    categories = sorted(document.categories, key=lambda category: int(category["id"]))
    labels = {int(category["id"]): index for index, category in enumerate(categories)}
    if dataset_name is not None:
        names = [category["name"] for category in categories]
        MetadataCatalog.get(dataset_name).set(thing_classes=names, thing_dataset_id_to_contiguous_id=labels)
    annotations: dict[int, list[dict[str, Any]]] = {}
    for annotation in document.annotations or []:
        annotations.setdefault(annotation["video_id"], []).append(annotation)
    videos = sorted(document.videos, key=lambda video: int(video["id"]))
    return [_record(video, annotations.get(video["id"], []), labels, Path(image_root)) for video in videos]


def register_all_ytvis_2019(root: str | os.PathLike[str]) -> None:
    """Register YouTube-VIS 2019, whose folder lies in ``root``; names that are taken are left as they are."""
    _register_family("ytvis_2019", root)


def register_all_ytvis_2021(root: str | os.PathLike[str]) -> None:
    """As :func:`register_all_ytvis_2019`, of 2021."""
    _register_family("ytvis_2021", root)


def register_all_ytvis_2022(root: str | os.PathLike[str]) -> None:
    """As :func:`register_all_ytvis_2019`, of 2022."""
    _register_family("ytvis_2022", root)


def register_all_ovis(root: str | os.PathLike[str]) -> None:
    """As :func:`register_all_ytvis_2019`, of OVIS."""
    _register_family("ovis", root)


def register_known_datasets() -> None:
    """Register all of them in the folder that DETECTRON2_DATASETS names, or ``datasets``."""
    root = os.environ.get("DETECTRON2_DATASETS", "datasets")
    for register in (register_all_ytvis_2019, register_all_ytvis_2021, register_all_ytvis_2022, register_all_ovis):
        register(root)


def _register_family(family: str, root: str | os.PathLike[str]) -> None:
    class_list = _CLASS_LISTS[family]
    names = CLASS_NAMES[class_list]
    metadata = {
        "thing_classes": list(names),
        "thing_dataset_id_to_contiguous_id": {value: index for index, value in enumerate(CATEGORY_IDS[class_list])},
        "thing_colors": [list(track_color(index)) for index in range(len(names))],
    }
    for split in _SPLITS:
        name = f"{family}_{split}"
        if name in DatasetCatalog:
            continue
        entry = DATASETS[name]
        files = [Path(root, file) for file in entry.annotation_files]
        file = next((file for file in files if file.is_file()), files[0])
        register_ytvis_instances(name, metadata, str(file), str(Path(root, entry.image_folder)))


def _record(
    video: Mapping[str, Any], annotations: list[dict[str, Any]], labels: Mapping[int, int], folder: Path
) -> dict[str, Any]:
    size = int(video["height"]), int(video["width"])
    names = video["file_names"]
    frames: list[list[dict[str, Any]]] = [[] for _ in names]
    for annotation in annotations:
        fixed = {
            "id": int(annotation["id"]),
            "category_id": labels[int(annotation["category_id"])],
            "iscrowd": int(annotation.get("iscrowd") or 0),
        }
        for frame, segmentation in zip(frames, annotation["segmentations"], strict=True):
            rle = unpack_rle(*pack_segmentation(segmentation, size), size)
            if rle is not None:
                box = {"bbox": list(rle_box(rle)), "bbox_mode": BoxMode.XYWH_ABS}
                frame.append(fixed | box | {"segmentation": dict(rle)})
    return {
        "file_names": [str(folder / name) for name in names],
        "height": size[0],
        "width": size[1],
        "length": len(names),
        "video_id": int(video["id"]),
        "annotations": frames,
    }
