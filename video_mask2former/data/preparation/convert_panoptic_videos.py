"""Videos with a class for every pixel (VIPSeg, VSPW, KITTI-STEP) to YouTube-VIS files, stuff included, void ignored."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from video_mask2former.data.class_names import CLASS_NAMES
from video_mask2former.data.evaluation_videos import EvaluationSet
from video_mask2former.data.image_files import read_image
from video_mask2former.data.label_maps import masks_of_numbers
from video_mask2former.data.preparation.dataset_writer import DatasetWriter, TrackAnnotation
from video_mask2former.progress import tracked
from video_mask2former.rle import Rle, decode_rle

KITTI_STEP_CLASSES = CLASS_NAMES["cityscapes_semantic"]
"""The classes of KITTI-STEP, which are those of Cityscapes."""
_KITTI_STEP_THINGS = ("person", "car")
_KITTI_STEP_VOID = 255


def convert_labelled_videos(data: EvaluationSet, output: str | os.PathLike[str]) -> int:
    """Convert VIPSeg or VSPW, as :func:`~video_mask2former.data.evaluation_sets.open_evaluation_set` opens them.

    Categories are numbered from 1, things first, which is the order of the published models.

    Returns:
        The number of videos.
    """
    assert data.image_folder is not None
    order = sorted(range(len(data.class_names)), key=lambda label: (not data.is_thing[label], label))
    ids = {label: number for number, label in enumerate(order, start=1)}
    stuff = {ids[label] for label, is_thing in enumerate(data.is_thing) if not is_thing}
    writer = DatasetWriter(
        {ids[label]: name for label, name in enumerate(data.class_names)}, str(data.path), stuff=stuff
    )
    for video in tracked(data, "convert", "video"):
        truth = video.ground_truth()
        names = [path.relative_to(data.image_folder).as_posix() for path in video.paths or ()]
        void = [np.ones(truth.size, bool) for _ in names]
        for track in truth.tracks:
            for index, rle in track.segmentations.items():
                void[index] &= ~decode_rle(rle)
        tracks = [TrackAnnotation(ids[track.label], track.segmentations, track.is_crowd) for track in truth.tracks]
        writer.add_video(names, truth.size, tracks, ignored=void)
    writer.write(output)
    return len(data)


def convert_kitti_step(
    image_folder: str | os.PathLike[str], map_folder: str | os.PathLike[str], output: str | os.PathLike[str]
) -> int:
    """Convert KITTI-STEP: PNGs whose red is the class (255 void), and green and blue the number of the instance.

    Args:
        image_folder: ``training/image_02`` of KITTI's tracking benchmark: a folder of PNGs for each video.
        map_folder: ``panoptic_maps/train`` or ``val``: the same, of maps.
        output: File to write.

    Returns:
        The number of videos.
    """
    categories = dict(enumerate(KITTI_STEP_CLASSES))
    things = [label for label, name in categories.items() if name in _KITTI_STEP_THINGS]
    writer = DatasetWriter(categories, "KITTI-STEP", stuff=set(categories) - set(things))
    folders = sorted(path for path in Path(map_folder).iterdir() if path.is_dir())
    if not folders:
        raise FileNotFoundError(f"{map_folder} has no folders of videos.")
    for folder in tracked(folders, "convert", "video"):
        masks: dict[tuple[int, int], dict[int, Rle]] = {}
        paths = sorted(folder.glob("*.png"))
        void, size = [], (0, 0)
        for index, path in enumerate(paths):
            colours = read_image(path).astype(np.int64)
            size = (colours.shape[0], colours.shape[1])
            void.append(colours[..., 0] == _KITTI_STEP_VOID)
            numbers = colours[..., 0] * 65536 + colours[..., 1] * 256 + colours[..., 2]
            for number, rle in masks_of_numbers(numbers):
                label, instance = divmod(number, 65536)
                if label == _KITTI_STEP_VOID:
                    continue
                if label not in categories:
                    raise ValueError(f"{path}: the class {label} is not one of 0 to {max(categories)} or 255 (void).")
                masks.setdefault((label, instance), {})[index] = rle
        tracks = [
            # the instance 0 of a thing is a crowd
            TrackAnnotation(label, masks[label, instance], is_crowd=label in things and instance == 0)
            for label, instance in sorted(masks)
        ]
        names = [f"{folder.name}/{path.name}" for path in paths]
        missing = [name for name in names if not (Path(image_folder) / name).is_file()]
        if missing or not names:
            raise FileNotFoundError(f"no image {Path(image_folder) / (missing or [folder.name])[0]}.")
        writer.add_video(names, size, tracks, ignored=void)
    writer.write(output)
    return len(folders)
