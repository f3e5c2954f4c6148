"""The YouTube-VIS and COCO annotation formats: reading the JSON, and saying what is wrong with it and where.

An image of a COCO file is treated as a video of one frame, so that everything after this file knows videos only.

Two keys are ours, for data in which "not annotated" does not mean "not there"; both may be left out:

- ``labelled_category_ids``, of a video, an image or the whole file: the categories of which every instance in view is
  annotated. Training does not take the others for background. Without the key that is every category.
- ``ignore_segmentations`` of a video (one for each frame, null where there is none), ``ignore_segmentation`` of an
  image: pixels that training does not look at. Crowd annotations say the same of theirs.
"""

from __future__ import annotations

import contextlib
import gc
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from video_mask2former import documents
from video_mask2former.data.segmentations import degenerate_polygons, segmentation_problem
from video_mask2former.messages import shortened
from video_mask2former.rle import MAX_PIXELS


@dataclass(frozen=True)
class Problem:
    """Something wrong with a dataset.

    Attributes:
        place: Where: "video 12, annotation 7, frame 3" or a file.
        message: What.
        is_error: Whether the dataset cannot be used with it; else it is only suspicious.
    """

    place: str
    message: str
    is_error: bool = True

    def __str__(self) -> str:
        return f"{self.place}: {self.message}"


@dataclass(frozen=True)
class AnnotationDocument:
    """The parsed JSON, in the YouTube-VIS form whatever form the file has.

    Attributes:
        path: The file.
        categories: ``{id, name}`` each.
        videos: ``{id, height, width, file_names}`` each, and ``labelled_category_ids`` and ``ignore_segmentations``
            where the file has them.
        annotations: ``{id, video_id, category_id, iscrowd, segmentations}`` each; None where the file has none, as in
            validation sets whose annotations are hidden.
    """

    path: Path
    categories: list[dict[str, Any]]
    videos: list[dict[str, Any]]
    annotations: list[dict[str, Any]] | None


def read_document(path: str | os.PathLike[str]) -> AnnotationDocument:
    """Read an annotation file, of videos or of images.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not JSON, or lacks the lists that make an annotation file.
    """
    return parse_document(read_json(path), Path(path))


def read_json(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a JSON file that holds an object.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not JSON, or holds something else.
    """
    with paused_garbage_collection():
        document: dict[str, Any] = documents.read_json(Path(path), dict, "annotation file")
    return document


def parse_document(document: dict[str, Any], path: Path) -> AnnotationDocument:
    """Bring parsed JSON into one form; ``path`` names it in errors.

    Raises:
        ValueError: If it lacks the lists that make an annotation file.
    """
    is_of_videos = "videos" in document
    videos = _require_objects(document, "videos" if is_of_videos else "images", path)
    if is_of_videos and videos and "images" in document and not any("file_names" in video for video in videos):
        raise ValueError(
            f"{path} seems to be in the COCO video format, whose images name their video. "
            "video-mask2former data convert-coco-video makes a YouTube-VIS file of it."
        )
    categories = _require_objects(document, "categories", path)
    annotations = None
    if document.get("annotations") is not None:
        annotations = _require_objects(document, "annotations", path)
    if not is_of_videos:
        videos = [_image_as_video(image) for image in videos]
    if "labelled_category_ids" in document:
        videos = [{"labelled_category_ids": document["labelled_category_ids"], **video} for video in videos]
    if not is_of_videos:
        annotations = None if annotations is None else [_instance_as_track(instance) for instance in annotations]
    return AnnotationDocument(path, categories, videos, annotations)


def find_problems(document: AnnotationDocument) -> Iterator[Problem]:
    """Everything wrong with the form of a document, in the order of the file."""
    category_ids = {as_id(category.get("id")) for category in document.categories}
    yield from category_problems(document.categories)
    yield from video_problems(document.videos)
    yield from labelling_problems(document.videos, category_ids)
    if document.annotations is not None:
        videos = {video.get("id"): video for video in document.videos if _is_usable(video)}
        yield from annotation_problems(document.annotations, videos, category_ids)


def category_problems(categories: list[dict[str, Any]]) -> Iterator[Problem]:
    """Problems of the list of categories."""
    if not categories:
        yield Problem("categories", "there must be at least one category.")
    seen: set[int] = set()
    names: set[str] = set()
    for index, category in enumerate(categories):
        place = f"categories[{index}]"
        category_id = as_id(category.get("id"))
        if category_id is None:
            yield Problem(place, f"its id must be an integer, got {shortened(category.get('id'))}.")
        elif category_id in seen:
            yield Problem(place, f"id {category_id} occurs twice.")
        else:
            seen.add(category_id)
        name = category.get("name")
        if not isinstance(name, str):
            yield Problem(place, f"its name must be a string, got {shortened(name)}.")
            continue
        if name in names:
            yield Problem(
                place, f"name {shortened(name)} occurs twice; from the second on, the id is put to it.", is_error=False
            )
        names.add(name)


def video_problems(videos: list[dict[str, Any]]) -> Iterator[Problem]:
    """Problems of the list of videos."""
    seen: set[object] = set()
    for index, video in enumerate(videos):
        video_id = video.get("id")
        if as_id(video_id) is None:
            yield Problem(f"videos[{index}]", f"its id must be an integer, got {shortened(video_id)}.")
            continue
        place = f"video {video_id}"
        if video_id in seen:
            yield Problem(place, f"id {video_id} occurs twice.")
        seen.add(video_id)
        height, width = video.get("height"), video.get("width")
        if type(height) is not int or type(width) is not int or min(height, width) < 1:
            yield Problem(place, f"its height and width must be positive integers, got {shortened([height, width])}.")
        elif height * width > MAX_PIXELS:
            yield Problem(place, f"a frame may have up to {MAX_PIXELS} pixels, got {shortened([height, width])}.")
        names = video.get("file_names")
        if not isinstance(names, list) or not names or not all(map(_is_name, names)):
            yield Problem(place, "its file_names must be a list of file names, one for each frame.")
        elif "length" in video and video["length"] != len(names):
            yield Problem(place, f"its length is {shortened(video['length'])}, but it has {len(names)} file_names.")


def labelling_problems(videos: list[dict[str, Any]], category_ids: set[int | None]) -> Iterator[Problem]:
    """Problems of what videos say of their own annotation, given the category ids."""
    for video in filter(_is_usable, videos):
        place = f"video {video['id']}"
        labelled = video.get("labelled_category_ids", [])
        if not isinstance(labelled, list):
            yield Problem(place, f"labelled_category_ids must be a list of category ids, got {shortened(labelled)}.")
        else:
            unknown = [value for value in labelled if as_id(value) not in category_ids - {None}]
            if unknown:
                name = shortened(unknown[0])
                yield Problem(place, f"its labelled_category_ids name {name}, which is not a category.")
        if video.get("ignore_segmentations") is not None:
            yield from _segmentation_problems(video["ignore_segmentations"], video, place, "ignore_segmentations")


def annotation_problems(
    annotations: list[dict[str, Any]], videos: Mapping[int | None, dict[str, Any]], category_ids: set[int | None]
) -> Iterator[Problem]:
    """Problems of the list of annotations, given the usable videos by id and the category ids."""
    seen: set[object] = set()
    for index, annotation in enumerate(annotations):
        if as_id(annotation.get("id")) is None:
            yield Problem(f"annotations[{index}]", f"its id must be an integer, got {shortened(annotation.get('id'))}.")
            continue
        if annotation["id"] in seen:
            yield Problem(_place(annotation), f"id {annotation['id']} occurs twice.")
        seen.add(annotation["id"])
        if as_id(annotation.get("category_id")) not in category_ids - {None}:
            yield Problem(_place(annotation), f"there is no category {shortened(annotation.get('category_id'))}.")
        if annotation.get("iscrowd", 0) not in (0, 1):
            yield Problem(_place(annotation), f"iscrowd must be 0 or 1, got {shortened(annotation['iscrowd'])}.")
        video = videos.get(as_id(annotation.get("video_id")))
        if video is None:
            yield Problem(_place(annotation), "there is no such video in the file, or its own entry is wrong.")
        else:
            yield from _track_problems(annotation, video)


def _track_problems(annotation: dict[str, Any], video: dict[str, Any]) -> Iterator[Problem]:
    yield from _segmentation_problems(annotation.get("segmentations"), video, _place(annotation), "segmentations")


def _segmentation_problems(segmentations: object, video: dict[str, Any], place: str, key: str) -> Iterator[Problem]:
    num_frames = len(video["file_names"])
    if not isinstance(segmentations, list) or len(segmentations) != num_frames:
        got = f"{len(segmentations)} of them" if isinstance(segmentations, list) else repr(segmentations)[:60]
        yield Problem(place, f"{key} must be a list of {num_frames}, null where absent, got {got}.")
        return
    size = (video["height"], video["width"])
    for frame_index, segmentation in enumerate(segmentations):
        message = segmentation_problem(segmentation, size)
        if message is not None:
            yield Problem(f"{place}, frame {frame_index}", message)
        elif type(segmentation) is list and (count := degenerate_polygons(segmentation)):
            message = f"{count} of its polygons have fewer than three points and are left out."
            yield Problem(f"{place}, frame {frame_index}", message, is_error=False)


@contextlib.contextmanager
def paused_garbage_collection() -> Iterator[None]:
    """An annotation file becomes millions of objects without cycles; looking for cycles meanwhile triples the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def as_id(value: object) -> int | None:
    """An id, or None where it is none: ids are integers."""
    return value if type(value) is int and -(2**63) <= value < 2**63 else None


def _is_name(name: object) -> bool:
    """Whether a file can be called so."""
    if not isinstance(name, str) or not name or "\0" in name:
        return False
    return name.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in name)


def _place(annotation: dict[str, Any]) -> str:
    return f"video {shortened(annotation.get('video_id'))}, annotation {annotation['id']}"


def _is_usable(video: dict[str, Any]) -> bool:
    return not any(True for _ in video_problems([video]))


def _require_objects(document: dict[str, Any], key: str, path: Path) -> list[dict[str, Any]]:
    values = document.get(key)
    if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
        found = ", ".join(document) or "nothing"
        raise ValueError(
            f"{path} must have a list of objects '{key}', as YouTube-VIS and COCO files do; it has: {found[:200]}."
        )
    return values


def _image_as_video(image: dict[str, Any]) -> dict[str, Any]:
    video: dict[str, Any] = {key: image.get(key) for key in ("id", "height", "width")}
    video["file_names"] = [image.get("file_name")]
    if "labelled_category_ids" in image:
        video["labelled_category_ids"] = image["labelled_category_ids"]
    if image.get("ignore_segmentation") is not None:
        video["ignore_segmentations"] = [image["ignore_segmentation"]]
    return video


def _instance_as_track(instance: dict[str, Any]) -> dict[str, Any]:
    track: dict[str, Any] = {key: instance[key] for key in ("id", "category_id", "iscrowd") if key in instance}
    return {**track, "video_id": instance.get("image_id"), "segmentations": [instance.get("segmentation")]}
