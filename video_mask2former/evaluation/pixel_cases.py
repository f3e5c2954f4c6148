"""Worst and best cases of panoptic and semantic segmentation, as instances that can be drawn."""

from __future__ import annotations

from pathlib import Path

from video_mask2former.evaluation.evaluation_page import Case
from video_mask2former.evaluation.panoptic_files import PanopticFile
from video_mask2former.evaluation.pixel_evaluation import SemanticFolder
from video_mask2former.evaluation.segment_maps import instances_of_labels, instances_of_panoptic
from video_mask2former.metrics import LabelMap

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")


def panoptic_case(
    annotations: PanopticFile, predictions: PanopticFile, images: Path | None, key: str, quality: float
) -> Case:
    """One image or video of a panoptic file."""
    truth, prediction = (
        instances_of_panoptic(file.read(key, 0, annotations.category_ids)) for file in (annotations, predictions)
    )
    paths = None
    if images is not None:
        paths = tuple(images / frame.image_path for frame in annotations.samples[key].frames)
    return Case(key, quality, prediction, truth, paths)


def semantic_case(
    annotations: SemanticFolder,
    predictions: SemanticFolder,
    images: Path | None,
    name: str,
    quality: float,
    *,
    num_classes: int,
    ignore_label: int,
) -> Case:
    """One image of a folder of label maps."""
    truth, prediction = (
        instances_of_labels(LabelMap(0, folder.read(name, ignore_label)), num_classes)
        for folder in (annotations, predictions)
    )
    return Case(name, quality, prediction, truth, None if images is None else (image_path(images, name),))


def image_path(folder: Path, name: str) -> Path:
    """The image of a label map, whatever its suffix.

    Raises:
        FileNotFoundError: If there is none.
    """
    for suffix in IMAGE_SUFFIXES:
        path = folder / f"{name}{suffix}"
        if path.is_file():
            return path
    raise FileNotFoundError(f"no image {folder / name} with one of the suffixes {', '.join(IMAGE_SUFFIXES)}.")
