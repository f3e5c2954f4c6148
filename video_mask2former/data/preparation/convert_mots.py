"""MOTS text annotations (KITTI MOTS, MOTSChallenge; arXiv:1902.03604) to the YouTube-VIS format."""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path

from video_mask2former.data.image_files import read_image
from video_mask2former.data.preparation.dataset_writer import DatasetWriter, TrackAnnotation
from video_mask2former.data.segmentations import MaskKind, unpack_rle
from video_mask2former.progress import tracked
from video_mask2former.rle import Rle

CATEGORIES = {1: "car", 2: "pedestrian"}
"""The classes that are annotated as instances."""

IGNORED_CLASS = 10
"""Regions whose content is not annotated; they become a crowd of each class."""

_IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")


def convert_mots(
    image_folder: str | os.PathLike[str], text_folder: str | os.PathLike[str], output: str | os.PathLike[str]
) -> int:
    """Convert ``VIDEO.txt`` (or ``VIDEO/gt/gt.txt``) files and write the annotation file.

    Each line is ``frame id class height width rle``; the frame is the number in the name of an image file.

    Args:
        image_folder: Has a folder of images for each video (or ``VIDEO/img1`` in it).
        text_folder: Has the text files.
        output: The annotation file; its file names are relative to ``image_folder``.

    Returns:
        The number of videos.
    """
    image_folder, text_folder = Path(image_folder), Path(text_folder)
    texts = {path.stem: path for path in sorted(text_folder.glob("*.txt"))}
    texts |= {path.parent.parent.name: path for path in sorted(text_folder.glob("*/gt/gt.txt"))}
    if not texts:
        raise FileNotFoundError(f"{text_folder} must have VIDEO.txt or VIDEO/gt/gt.txt files, got none.")
    writer = DatasetWriter(CATEGORIES, description=f"converted from {text_folder.name}")
    for video, path in tracked(texts.items(), "convert", "video"):
        folder = image_folder / video / "img1" if (image_folder / video / "img1").is_dir() else image_folder / video
        if not folder.is_dir():
            raise FileNotFoundError(f"no folder {folder} with the images of {path}.")
        images = sorted(image for image in folder.iterdir() if image.suffix in _IMAGE_SUFFIXES)
        if not images:
            raise FileNotFoundError(f"{folder} has no images ({', '.join(_IMAGE_SUFFIXES)}).")
        height, width = read_image(images[0]).shape[:2]
        index_of_number = {int(image.stem): index for index, image in enumerate(images)}
        tracks = _tracks(path, index_of_number, (height, width))
        names = [image.relative_to(image_folder).as_posix() for image in images]
        writer.add_video(names, (height, width), tracks)
    writer.write(output)
    return len(texts)


def _tracks(path: Path, index_of_number: dict[int, int], size: tuple[int, int]) -> list[TrackAnnotation]:
    masks: dict[tuple[int, int], dict[int, Rle]] = defaultdict(dict)
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        place = f"{path}, line {number}"
        if not line.strip():
            continue
        frame, track_id, class_id, rle = _parse_line(line, place)
        if frame not in index_of_number:
            raise ValueError(f"{place}: there is no image of frame {frame}.")
        if class_id not in (*CATEGORIES, IGNORED_CLASS):
            raise ValueError(f"{place}: the class must be one of {(*CATEGORIES, IGNORED_CLASS)}, got {class_id}.")
        if tuple(rle["size"]) != size:
            raise ValueError(f"{place}: the mask must have the size of its image, {size}, got {tuple(rle['size'])}.")
        if index_of_number[frame] in masks[class_id, track_id]:
            raise ValueError(f"{place}: object {track_id} was on frame {frame} before.")
        masks[class_id, track_id][index_of_number[frame]] = _checked(rle, place)
    tracks = []
    for (class_id, _), segmentations in sorted(masks.items()):
        if class_id == IGNORED_CLASS:
            tracks += [TrackAnnotation(category_id, segmentations, is_crowd=True) for category_id in CATEGORIES]
        else:
            tracks.append(TrackAnnotation(class_id, segmentations))
    return tracks


def _parse_line(line: str, place: str) -> tuple[int, int, int, Rle]:
    fields = line.split()
    if len(fields) != 6 or not all(field.isdecimal() for field in fields[:5]):
        raise ValueError(f"{place}: expected 'frame id class height width rle', got {line[:60]!r}.")
    frame, track_id, class_id, height, width = map(int, fields[:5])
    return frame, track_id, class_id, Rle(size=[height, width], counts=fields[5])


def _checked(rle: Rle, place: str) -> Rle:
    height, width = rle["size"]
    try:
        mask = unpack_rle(MaskKind.RLE, rle["counts"].encode(), (height, width))
    except ValueError as error:
        raise ValueError(f"{place}: the RLE cannot be read, {error}") from error
    if mask is None:
        raise ValueError(f"{place}: the mask is empty.")
    return mask
