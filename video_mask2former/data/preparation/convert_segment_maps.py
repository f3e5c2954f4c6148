"""Panoptic and semantic label pictures (COCO panoptic, ADE20K, Cityscapes) to COCO instances, stuff included.

Mask2Former treats a region of stuff as one more instance, so with this the panoptic and semantic image models train
and are measured on the same files as all others. Things may have several instances an image, stuff has one. Pixels
without a label are written as regions that training ignores.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from video_mask2former.data.annotation_format import read_json
from video_mask2former.data.class_names import CATEGORY_IDS, CLASS_NAMES
from video_mask2former.data.image_files import read_image
from video_mask2former.data.preparation.convert_davis import read_indexed_png
from video_mask2former.data.preparation.dataset_writer import write_json
from video_mask2former.progress import tracked
from video_mask2former.rle import encode_masks, rle_area, rle_box


def convert_coco_panoptic(
    panoptic_file: str | os.PathLike[str], png_folder: str | os.PathLike[str], output: str | os.PathLike[str]
) -> int:
    """Convert a COCO panoptic file and its pictures, whose colours are segment ids R + 256 G + 65536 B.

    Returns:
        The number of segments.
    """
    document = read_json(panoptic_file)
    for key in ("images", "annotations", "categories"):
        if not isinstance(document.get(key), list):
            raise ValueError(f"{panoptic_file} must have a list '{key}', as COCO's panoptic files have.")
    annotations: list[dict[str, Any]] = []
    void: dict[int, dict[str, Any]] = {}
    for entry in tracked(document["annotations"], "convert", "image"):
        path = Path(png_folder) / entry["file_name"]
        ids = read_image(path).astype(np.int64) @ np.array([1, 256, 65536])
        segments = {segment["id"]: segment for segment in entry["segments_info"]}
        missing = sorted(set(segments) - set(np.unique(ids).tolist()))
        if missing:
            raise ValueError(f"{path} does not show the segments {missing[:5]} that {panoptic_file} lists.")
        void[entry["image_id"]] = _void(ids)
        for segment_id, mask in _masks(ids, segments):
            segment = segments[segment_id]
            annotations.append(
                _annotation(len(annotations) + 1, entry["image_id"], segment["category_id"], mask)
                | {"iscrowd": segment.get("iscrowd", 0)}
            )
    images = [{**image, **void.get(image["id"], {})} for image in document["images"]]
    write_json(output, {**document, "images": images, "annotations": annotations})
    return len(annotations)


def convert_ade20k_semantic(
    image_folder: str | os.PathLike[str], label_folder: str | os.PathLike[str], output: str | os.PathLike[str]
) -> int:
    """Convert the pictures of ADE20K's 150 classes (``ADEChallengeData2016/annotations``: 1 to 150, 0 is unlabelled).

    Returns:
        The number of segments.
    """
    paths = sorted(Path(image_folder).glob("*.jpg"))
    if not paths:
        raise FileNotFoundError(f"{image_folder} has no .jpg images.")
    pairs = [(path, Path(label_folder) / f"{path.stem}.png") for path in paths]
    return _convert_label_maps(pairs, Path(image_folder), "ade20k_semantic", output, largest=150)


def convert_cityscapes_semantic(
    image_folder: str | os.PathLike[str], label_folder: str | os.PathLike[str], output: str | os.PathLike[str]
) -> int:
    """Convert the pictures of Cityscapes (``CITY/*_gtFine_labelIds.png``); classes that do not count are void.

    Args:
        image_folder: ``leftImg8bit/train`` or ``leftImg8bit/val``.
        label_folder: ``gtFine/train`` or ``gtFine/val``.
        output: JSON file to write.

    Returns:
        The number of segments.
    """
    ending = "_leftImg8bit.png"
    paths = sorted(Path(image_folder).glob(f"*/*{ending}"))
    if not paths:
        raise FileNotFoundError(f"{image_folder} has no CITY/*{ending} images.")
    labels = Path(label_folder)
    pairs = [(path, labels / path.parent.name / path.name.replace(ending, "_gtFine_labelIds.png")) for path in paths]
    return _convert_label_maps(pairs, Path(image_folder), "cityscapes_semantic", output, largest=33)


def _convert_label_maps(
    pairs: Sequence[tuple[Path, Path]],
    image_folder: Path,
    class_list: str,
    output: str | os.PathLike[str],
    *,
    largest: int,
) -> int:
    """Write the segments of pictures whose values are category ids; other values up to ``largest`` are void."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    classes = dict(zip(CATEGORY_IDS[class_list], CLASS_NAMES[class_list], strict=True))
    for path, label_path in tracked(pairs, "convert", "image"):
        labels = read_indexed_png(label_path)
        if labels.max() > largest:
            raise ValueError(f"{label_path} must have values up to {largest}, got {labels.max()}.")
        labels = np.where(np.isin(labels, list(classes)), labels, 0)
        name = path.relative_to(image_folder).as_posix()
        images.append(
            {"id": len(images) + 1, "file_name": name, "height": labels.shape[0], "width": labels.shape[1]}
            | _void(labels)
        )
        for category_id, mask in _masks(labels, classes):
            annotations.append(_annotation(len(annotations) + 1, len(images), category_id, mask))
    categories = [{"id": key, "name": name} for key, name in classes.items()]
    write_json(output, {"categories": categories, "images": images, "annotations": annotations})
    return len(annotations)


def _masks(numbers: np.ndarray, wanted: Mapping[int, object]) -> Iterator[tuple[int, np.ndarray]]:
    for number in np.unique(numbers).tolist():
        if number in wanted:
            yield number, numbers == number


def _void(numbers: np.ndarray) -> dict[str, Any]:
    """What an image says of its pixels without a label."""
    mask = numbers == 0
    return {"ignore_segmentation": encode_masks(mask[None])[0]} if mask.any() else {}


def _annotation(annotation_id: int, image_id: int, category_id: int, mask: np.ndarray) -> dict[str, Any]:
    rle = encode_masks(mask[None])[0]
    return {
        "id": annotation_id,
        "image_id": image_id,
        "category_id": category_id,
        "iscrowd": 0,
        "segmentation": rle,
        "bbox": list(rle_box(rle)),
        "area": rle_area(rle),
    }
