"""Predictions in files, checked against the annotations that they are measured on."""

from __future__ import annotations

import contextlib
import lzma
import os
import shutil
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from video_mask2former.data.annotations import AnnotationSet
from video_mask2former.data.evaluation_sets import first_key
from video_mask2former.documents import read_json
from video_mask2former.messages import shortened
from video_mask2former.metrics import without_classes
from video_mask2former.results import read_coco_detections, read_youtube_vis
from video_mask2former.rle import MAX_PIXELS
from video_mask2former.structures import FrameInstances, Track, VideoInstances

_MEMBER = "results.json"
_ZIP_ERRORS = (
    *(zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, zlib.error, ValueError, OSError, LookupError),
    *(OverflowError, MemoryError, struct.error, lzma.LZMAError),
)
_MOST_COMPRESSED = 200  # times smaller: masks are far from it


def annotated_areas(path: str | os.PathLike[str]) -> dict[int, float] | None:
    """Annotation id to the area that a COCO file states; None if it does not state all of them."""
    annotations = read_json(Path(path), dict, "annotation file").get("annotations") or []
    if not all(annotation.get("area") is not None for annotation in annotations):
        return None
    areas = {}
    for annotation in annotations:
        area = annotation["area"]
        if not isinstance(area, (int, float)) or not 0 <= area <= MAX_PIXELS:
            raise ValueError(
                f"{path}, annotation {annotation['id']}: 'area' must be a number of pixels, got {shortened(area)}."
            )
        areas[annotation["id"]] = float(area)
    return areas


def read_predictions(
    path: str | os.PathLike[str], annotations: AnnotationSet, *, is_class_agnostic: bool = False
) -> dict[int, VideoInstances]:
    """Read the predictions of each video (or image) that has any, by its id.

    Args:
        path: ``results.json`` of tracks (YouTube-VIS) or detections (COCO), or a zip or folder that holds it.
        annotations: What they are measured on; category ids must be those of its file.
        is_class_agnostic: Take any category id, and give every prediction the label 0.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If something in it is wrong, or does not fit the annotations.
    """
    category_ids = None if is_class_agnostic else annotations.category_ids
    with _unpacked(Path(path)) as file:
        if file.is_file() and first_key(file, ("image_id", "video_id")) == "image_id":
            frames = read_coco_detections(file, category_ids)
            predictions = {
                image_id: VideoInstances(tracks_of_image(frame), 1, frame.size, video_id=image_id)
                for image_id, frame in frames.items()
            }
        else:
            predictions = read_youtube_vis(file, category_ids)
    if is_class_agnostic:
        predictions = {video_id: without_classes(prediction) for video_id, prediction in predictions.items()}
    position = {int(video_id): index for index, video_id in enumerate(annotations.packed.video_ids)}
    return {
        video_id: _checked(prediction, video_id, annotations, position, path)
        for video_id, prediction in predictions.items()
    }


def _checked(
    prediction: VideoInstances,
    video_id: int,
    annotations: AnnotationSet,
    position: Mapping[int, int],
    path: str | os.PathLike[str],
) -> VideoInstances:
    """The prediction with the size of its video, if it fits the video."""
    if video_id not in position:
        raise ValueError(
            f"{path}: video {video_id} is not in {annotations.path}, whose ids go from {min(position, default=None)} "
            f"to {max(position, default=None)}. Are these the annotations of the same split?"
        )
    size, num_frames = annotations.size(position[video_id]), annotations.num_frames(position[video_id])
    if prediction.num_frames != num_frames:
        raise ValueError(
            f"{path}: segmentations of video {video_id} must be a list of {num_frames}, one for each frame and null "
            f"where the object is absent, got {prediction.num_frames}."
        )
    if prediction.size not in (size, (0, 0)):
        raise ValueError(
            f"{path}: masks of video {video_id} must have the size of its frames, height x width = {size[0]} x "
            f"{size[1]}, got {prediction.size[0]} x {prediction.size[1]}."
        )
    return replace(prediction, size=size)


def tracks_of_image(frame: FrameInstances, frame_index: int = 0) -> tuple[Track, ...]:
    """The instances of an image as tracks of one frame, in their order."""
    fields = zip(frame.labels, frame.scores, frame.segmentations, strict=True)
    return tuple(
        Track(track_id, label, score, {frame_index: rle})
        for track_id, (label, score, rle) in enumerate(fields, start=1)
    )


@contextlib.contextmanager
def _unpacked(path: Path) -> Iterator[Path]:
    """The JSON file itself: ``path``, in a folder there, or what a zip there holds, unpacked as long as the context."""
    if path.is_dir() and (path / _MEMBER).is_file():
        path = path / _MEMBER
    if path.suffix == ".zip" and path.is_file() and not zipfile.is_zipfile(path):
        raise ValueError(f"{path} is not a zip file, or it was cut off.")
    if not path.is_file() or not zipfile.is_zipfile(path):
        yield path
        return
    with tempfile.TemporaryDirectory() as folder, _open_zip(path) as archive:
        if _MEMBER not in archive.namelist():
            raise ValueError(f"{path} must hold {_MEMBER} at its root, it holds: {shortened(archive.namelist())}.")
        unpacked = Path(folder) / _MEMBER
        _unpack(archive, path, unpacked)
        try:
            yield unpacked
        except ValueError as error:
            raise ValueError(str(error).replace(str(unpacked), f"{path}:{_MEMBER}")) from error


def _open_zip(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except _ZIP_ERRORS as error:
        raise ValueError(f"{path} is a damaged zip file: {error}.") from error


def _unpack(archive: zipfile.ZipFile, path: Path, target: Path) -> None:
    entry = archive.getinfo(_MEMBER)
    if entry.file_size > _MOST_COMPRESSED * entry.compress_size + 2**26:
        raise ValueError(f"{path}: {_MEMBER} would unpack from {entry.compress_size} to {entry.file_size} bytes.")
    try:
        with archive.open(entry) as source, target.open("wb") as file:
            shutil.copyfileobj(source, file)
    except _ZIP_ERRORS as error:
        raise ValueError(f"{path}: {_MEMBER} in it cannot be unpacked: {error}. Pack it again, plainly.") from error
