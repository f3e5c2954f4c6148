"""A dataset to measure a model on, whatever form its annotations have."""

from __future__ import annotations

import mmap
import os
import re
from pathlib import Path
from typing import Literal

from video_mask2former.data.annotations import load_annotations
from video_mask2former.data.catalog import locate_dataset, locate_label_pictures
from video_mask2former.data.class_names import CLASS_NAMES
from video_mask2former.data.evaluation_videos import (
    EvaluationSet,
    EvaluationVideos,
    LabelledImages,
    LabelledVideos,
    PanopticVideos,
)
from video_mask2former.data.label_maps import LabelMapFolder
from video_mask2former.data.panoptic_files import load_panoptic

AnnotationKind = Literal["videos", "images", "panoptic"]


def open_evaluation_set(
    annotations: str | os.PathLike[str],
    images: str | os.PathLike[str] | None,
    *,
    classes: str | None = None,
    label_offset: int = 0,
    may_be_hidden: bool = False,
) -> EvaluationSet:
    """Open annotations of whatever form.

    Args:
        annotations: A YouTube-VIS, COCO, COCO panoptic or VIPSeg file, a folder of label maps, or the list of videos
            of VSPW (``VSPW_480p/val.txt``).
        images: Folder of the images, None if only results are measured.
        classes: Classes of label maps: the name of a list, or a text file with a name on each line.
        label_offset: Taken off the values of label maps.
        may_be_hidden: Accept files that list videos without annotations: they can be predicted, not measured.

    Raises:
        FileNotFoundError: If something is not there.
        ValueError: If something in it is wrong.
    """
    folder = None if images is None else Path(images)
    if folder is not None and not folder.is_dir():
        raise FileNotFoundError(f"no folder of images {folder}.")
    if Path(annotations).is_dir():
        return LabelledImages(LabelMapFolder(Path(annotations), label_offset), _class_list(classes), folder)
    if Path(annotations).suffix == ".txt" and Path(annotations).is_file():
        return _shown(
            LabelledVideos(Path(annotations), _class_list(classes or "vspw"), label_offset or 1), may_be_hidden
        )
    kind = annotation_kind(annotations)
    if kind == "panoptic":
        return _shown(PanopticVideos(load_panoptic(annotations), folder), may_be_hidden)
    data = EvaluationVideos(load_annotations(annotations), folder, is_of_images=kind == "images")
    return _shown(data, may_be_hidden)


def locate_evaluation_set(
    dataset: str,
    root: str | os.PathLike[str] | None,
    images: str | os.PathLike[str] | None = None,
    *,
    as_label_pictures: bool = False,
    may_be_hidden: bool = False,
) -> EvaluationSet:
    """Open a dataset by its name.

    Args:
        dataset: A name of the catalog, or ``IMAGES::ANNOTATIONS.json``.
        root: Folder of the datasets.
        images: Folder of the images, in place of that of the catalog.
        as_label_pictures: Take what says something of every pixel, where a dataset has that besides instances.
        may_be_hidden: See :func:`open_evaluation_set`.

    Raises:
        FileNotFoundError: If something is not there.
        ValueError: If the catalog has no such name, or something in it is wrong.
    """
    pictures = locate_label_pictures(dataset, root) if as_label_pictures else None
    paths = pictures or locate_dataset(dataset, root)
    # ADE20K is the only folder of label maps in the catalog
    classes, label_offset = ("ade20k_semantic", 1) if paths.annotation_file.is_dir() else (None, 0)
    return open_evaluation_set(
        paths.annotation_file,
        images or paths.image_folder,
        classes=classes,
        label_offset=label_offset,
        may_be_hidden=may_be_hidden,
    )


def annotation_kind(path: str | os.PathLike[str]) -> AnnotationKind:
    """Whether a file annotates objects in videos (YouTube-VIS), in images (COCO), or every pixel (COCO panoptic).

    Raises:
        FileNotFoundError: If there is no such file.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"no annotation file {path}.")
    if first_key(Path(path), ("segments_info",)):
        return "panoptic"
    # a file of VIPSeg without annotations: its videos list images, each with a name of its own
    is_of_instances = first_key(Path(path), ("file_names", "segmentation", "segmentations"))
    if first_key(Path(path), ("videos",)) and first_key(Path(path), ("video_id",)) and not is_of_instances:
        return "panoptic"
    return "videos" if first_key(Path(path), ("videos",)) else "images"


def first_key(path: Path, keys: tuple[str, ...]) -> str | None:
    """Which of some keys comes first in a JSON file, None if none does."""
    if path.stat().st_size == 0:
        return None
    pattern = re.compile(rb'"(' + b"|".join(key.encode() for key in keys) + rb')"\s*:')
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        match = pattern.search(content)
        return None if match is None else match[1].decode()


def _shown(data: EvaluationSet, may_be_hidden: bool) -> EvaluationSet:
    """The dataset, if its annotations are there or need not be."""
    if not (data.has_annotations or may_be_hidden):
        kind = "images" if data.is_of_images else "videos"
        raise ValueError(
            f"{data.path} lists {kind} without annotations, as validation sets whose annotations are hidden do. "
            "Evaluate on a local split of the training set (video-mask2former data split)."
        )
    return data


def _class_list(classes: str | None) -> tuple[str, ...]:
    if classes is None:
        raise ValueError(f"label maps need the names of their classes: --classes with one of {', '.join(CLASS_NAMES)}.")
    if classes in CLASS_NAMES:
        return CLASS_NAMES[classes]
    if not Path(classes).is_file():
        raise FileNotFoundError(f"{classes} is not a file, nor one of the class lists {', '.join(CLASS_NAMES)}.")
    lines = Path(classes).read_text(encoding="utf-8").splitlines()
    return tuple(line.strip() for line in lines if line.strip())
