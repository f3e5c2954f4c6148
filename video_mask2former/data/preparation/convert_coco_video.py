"""The COCO video format (images with a video and a place in it, annotations per image) to the YouTube-VIS format."""

from __future__ import annotations

import os
from collections import defaultdict
from typing import Any

from video_mask2former.data.annotation_format import read_json
from video_mask2former.data.preparation.dataset_writer import DatasetWriter, TrackAnnotation
from video_mask2former.data.segmentations import MaskKind, pack_segmentation, segmentation_problem, unpack_rle
from video_mask2former.rle import Rle

TRACK_FIELDS = ("instance_id", "track_id")
FRAME_FIELDS = ("frame_id", "frame_index")


def convert_coco_video(annotation_file: str | os.PathLike[str], output: str | os.PathLike[str]) -> int:
    """Join the images of each video and the annotations of each instance, and write the annotation file.

    Images are ordered by ``frame_id`` (or ``frame_index``); one ``instance_id`` (or ``track_id``) is one track.

    Returns:
        The number of videos.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it lacks something, or holds something wrong.
    """
    document = read_json(annotation_file)
    try:
        writer, num_videos = _convert(document)
    except ValueError as error:
        raise ValueError(f"{annotation_file}: {error}") from error
    writer.write(output)
    return num_videos


def _convert(document: dict[str, Any]) -> tuple[DatasetWriter, int]:
    images_of_video = defaultdict(list)
    for image in sorted(_entries(document, "images"), key=lambda image: _number(image, FRAME_FIELDS)):
        images_of_video[_number(image, ("video_id",))].append(image)
    annotations_of_image: dict[int, list[dict[str, Any]]] = {
        _number(image, ("id",)): [] for image in document["images"]
    }
    for annotation in _entries(document, "annotations"):
        image_id = _number(annotation, ("image_id",))
        if image_id not in annotations_of_image:
            raise ValueError(f"annotation {annotation.get('id')}: there is no image {image_id}.")
        annotations_of_image[image_id].append(annotation)
    categories = {_number(entry, ("id",)): str(_field(entry, ("name",))) for entry in _entries(document, "categories")}
    _entries(document, "videos")
    writer = DatasetWriter(categories)
    for video_id, images in sorted(images_of_video.items()):
        sizes = {(_number(image, ("height",)), _number(image, ("width",))) for image in images}
        if len(sizes) > 1:
            raise ValueError(f"the images of video {video_id} have several sizes: {sorted(sizes)}.")
        [size] = sizes
        tracks = _tracks([annotations_of_image[image["id"]] for image in images], size)
        writer.add_video([str(_field(image, ("file_name",))) for image in images], size, tracks)
    return writer, len(images_of_video)


def _tracks(annotations_of_frame: list[list[dict[str, Any]]], size: tuple[int, int]) -> list[TrackAnnotation]:
    masks: dict[tuple[int, int, bool], dict[int, Rle]] = defaultdict(dict)
    for frame_index, instances in enumerate(annotations_of_frame):
        for annotation in instances:
            instance_id = _number(annotation, TRACK_FIELDS)
            track = (instance_id, _number(annotation, ("category_id",)), bool(annotation.get("iscrowd", 0)))
            if frame_index in masks[track]:
                raise ValueError(f"instance {instance_id} occurs twice on image {annotation['image_id']}.")
            rle = _rle(annotation, size)
            if rle is not None:
                masks[track][frame_index] = rle
    return [
        TrackAnnotation(category_id, segmentations, is_crowd)
        for (_, category_id, is_crowd), segmentations in sorted(masks.items())
    ]


def _rle(annotation: dict[str, Any], size: tuple[int, int]) -> Rle | None:
    segmentation = annotation.get("segmentation")
    problem = segmentation_problem(segmentation, size)
    if problem is not None:
        raise ValueError(f"annotation {annotation.get('id')}: {problem}")
    kind, data = pack_segmentation(segmentation, size)
    try:
        return None if kind == MaskKind.ABSENT else unpack_rle(kind, data, size)
    except ValueError as error:
        raise ValueError(f"annotation {annotation.get('id')}: the RLE cannot be read, {error}") from error


def _entries(document: dict[str, Any], key: str) -> list[dict[str, Any]]:
    entries = document.get(key)
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ValueError(f"it must have a list of objects '{key}', as the COCO video format has.")
    return entries


def _number(entry: dict[str, Any], names: tuple[str, ...]) -> int:
    value = _field(entry, names)
    if type(value) is not int:
        raise ValueError(f"'{names[0]}' must be an integer, got {value!r} in entry {entry.get('id')}.")
    return value


def _field(entry: dict[str, Any], names: tuple[str, ...]) -> Any:
    """The first of some fields that an entry has."""
    for name in names:
        if name in entry:
            return entry[name]
    raise ValueError(
        f"it must have '{' or '.join(names)}' in every entry of its kind, as the COCO video format has; "
        f"got {sorted(entry)} in entry {entry.get('id')}."
    )
