"""COCO with the classes of a video dataset: pretraining and joint training need the same classes in the same order."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from video_mask2former.data.annotation_format import parse_document, read_json
from video_mask2former.data.class_names import CATEGORY_IDS, CLASS_NAMES
from video_mask2former.data.preparation.dataset_writer import write_json

# The published correspondence: a bicycle is counted as a motorbike (not in OVIS, which has both), skis as a snowboard.
_ANIMALS = ("cat", "dog", "horse", "cow", "elephant", "bear", "zebra", "giraffe")
_YTVIS = {
    **{name: name for name in ("person", "airplane", "train", "truck", "boat", *_ANIMALS)},
    **{"bicycle": "motorbike", "motorcycle": "motorbike", "skis": "snowboard", "snowboard": "snowboard"},
    **{"skateboard": "skateboard", "surfboard": "surfboard", "tennis racket": "tennis_racket"},
}
SHARED_CLASSES: dict[str, Mapping[str, str]] = {
    "ytvis_2019": {**_YTVIS, "car": "sedan"},
    "ytvis_2021": {**_YTVIS, "car": "car", "bird": "bird", "frisbee": "flying_disc"},
    "ovis": {
        **{name: name.capitalize() for name in ("person", "bicycle", "motorcycle", "airplane", "boat", "sheep")},
        **{name: name.capitalize() for name in _ANIMALS},
        **{"car": "Vehical", "bus": "Vehical", "truck": "Vehical"},
    },
}
"""For each class list, the COCO classes it shares and what it calls them."""


def filter_coco(document: Mapping[str, Any], target: str) -> dict[str, Any]:
    """Keep the instances of shared classes under their new names, and the images that have any.

    Args:
        document: A parsed COCO instances file.
        target: One of :data:`SHARED_CLASSES`.

    Returns:
        A COCO document with all classes of ``target``, those without instances too.
    """
    if target not in SHARED_CLASSES:
        raise ValueError(f"target must be one of {', '.join(SHARED_CLASSES)}, got {target!r}.")
    new_ids = dict(zip(CLASS_NAMES[target], CATEGORY_IDS[target], strict=True))
    new_id_of = {
        category["id"]: new_ids[SHARED_CLASSES[target][category["name"]]]
        for category in document["categories"]
        if category["name"] in SHARED_CLASSES[target]
    }
    annotations = [
        {**annotation, "category_id": new_id_of[annotation["category_id"]]}
        for annotation in document["annotations"]
        if annotation["category_id"] in new_id_of
    ]
    used = {annotation["image_id"] for annotation in annotations}
    return {
        **document,
        "categories": [{"id": key, "name": name} for name, key in new_ids.items()],
        "images": [image for image in document["images"] if image["id"] in used],
        "annotations": annotations,
    }


def write_filtered_coco(
    annotation_file: str | os.PathLike[str], output: str | os.PathLike[str], target: str
) -> tuple[int, int]:
    """Filter a COCO instances file; returns the number of images and of instances that are left."""
    document = read_json(annotation_file)
    parse_document(document, Path(annotation_file))  # says clearly what is wrong where it is not such a file
    if "images" not in document or not document.get("annotations"):
        raise ValueError(f"{annotation_file} must have images and annotations, as COCO's instances files do.")
    filtered = filter_coco(document, target)
    write_json(output, filtered)
    return len(filtered["images"]), len(filtered["annotations"])
