"""The COCO video format (images with a video and a place in it, annotations per image) to the YouTube-VIS format."""

from __future__ import annotations

import os
from collections import defaultdict
from typing import Any

from video_mask2former.data.annotation_format import read_json
from video_mask2former.data.preparation.dataset_writer import DatasetWriter, TrackAnnotation
from video_mask2former.data.segmentations import MaskKind, pack_segmentation, segmentation_problem, unpack_rle
from video_mask2former.rle import Rle


def convert_coco_video(annotation_file: str | os.PathLike[str], output: str | os.PathLike[str]) -> int:
    """Join the images of each video and the annotations of each instance, and write the annotation file.

    Images are ordered by ``frame_id``; annotations of one ``instance_id`` are one track.

    Returns:
        The number of videos.
    """
    document = read_json(annotation_file)
    for key in ("videos", "images", "annotations", "categories"):
        if not isinstance(document.get(key), list):
            raise ValueError(f"{annotation_file} must have a list '{key}', as the COCO video format has.")
    writer = DatasetWriter({category["id"]: category["name"] for category in document["categories"]})
    images_of_video = defaultdict(list)
    for image in sorted(document["images"], key=lambda image: int(_field(image, "frame_id", annotation_file))):
        images_of_video[_field(image, "video_id", annotation_file)].append(image)
    annotations_of_image = defaultdict(list)
    for annotation in document["annotations"]:
        annotations_of_image[_field(annotation, "image_id", annotation_file)].append(annotation)
    for video_id, images in sorted(images_of_video.items()):
        sizes = {(image["height"], image["width"]) for image in images}
        if len(sizes) > 1:
            raise ValueError(f"{annotation_file}: the images of video {video_id} have several sizes: {sorted(sizes)}.")
        tracks = _tracks([annotations_of_image[image["id"]] for image in images], sizes.pop(), annotation_file)
        size = (images[0]["height"], images[0]["width"])
        writer.add_video([image["file_name"] for image in images], size, tracks)
    writer.write(output)
    return len(images_of_video)


def _tracks(
    annotations_of_frame: list[list[dict[str, Any]]], size: tuple[int, int], source: str | os.PathLike[str]
) -> list[TrackAnnotation]:
    masks: dict[tuple[int, int, bool], dict[int, Rle]] = defaultdict(dict)
    for frame_index, instances in enumerate(annotations_of_frame):
        for annotation in instances:
            instance_id = _field(annotation, "instance_id", source)
            track = (instance_id, annotation["category_id"], bool(annotation.get("iscrowd", 0)))
            if frame_index in masks[track]:
                raise ValueError(f"{source}: instance {instance_id} occurs twice on image {annotation['image_id']}.")
            rle = _rle(annotation, size, source)
            if rle is not None:
                masks[track][frame_index] = rle
    return [
        TrackAnnotation(category_id, segmentations, is_crowd)
        for (_, category_id, is_crowd), segmentations in sorted(masks.items())
    ]


def _rle(annotation: dict[str, Any], size: tuple[int, int], source: str | os.PathLike[str]) -> Rle | None:
    segmentation = annotation.get("segmentation")
    problem = segmentation_problem(segmentation, size)
    if problem is not None:
        raise ValueError(f"{source}: annotation {annotation.get('id')}: {problem}")
    kind, data = pack_segmentation(segmentation, size)
    return None if kind == MaskKind.ABSENT else unpack_rle(kind, data, size)


def _field(entry: dict[str, Any], name: str, source: str | os.PathLike[str]) -> Any:
    if name not in entry:
        raise ValueError(
            f"{source} must have '{name}' in every entry of its kind, as the COCO video format has; "
            f"got {sorted(entry)} in entry {entry.get('id')}."
        )
    return entry[name]
