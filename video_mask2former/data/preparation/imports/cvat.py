"""CVAT for video 1.1: tracks of polygons and masks to the YouTube-VIS format."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from video_mask2former.data.preparation.imports.collected import (
    CollectedTrack,
    CollectedVideo,
    rasterise,
    write_collected,
)
from video_mask2former.data.preparation.imports.frame_folders import annotation_files, frame_names
from video_mask2former.rle import Rle, check_size, decode_runs, encode_masks

MAX_FRAMES = 10_000_000


@dataclass(frozen=True)
class _Shape:
    frame: int
    is_outside: bool
    mask: Rle | None


def import_cvat(source: Path, images: Path | None, output: Path) -> int:
    """Convert an XML file, or a folder with one for each video, and write the annotation file.

    A video is called like its file. A shape lasts until the next one of its track, or, as in CVAT, to the end of the
    video. Tracks of one group and label are one object, in parts, as :func:`write_cvat` of the result files has them.

    Args:
        source: The file or folder.
        images: Frames of the videos, see :func:`frame_names`; None names them by number.
        output: The annotation file; its file names are relative to ``images``.

    Returns:
        The number of videos.

    Raises:
        FileNotFoundError: If there are no such files.
        ValueError: If they are not CVAT for video 1.1, or have tracks of other shapes than polygons and masks.
    """
    files = annotation_files(source, ".xml")
    videos, class_names = [], []
    for path in files:
        root = _parse(path)
        num_frames, size = _frames(root, path)
        class_names += [str(name.text) for name in root.iterfind(".//label/name")]
        tracks = _tracks(root, size, num_frames, str(path))
        names = frame_names(images, path.stem, num_frames, is_alone=len(files) == 1)[:num_frames]
        videos.append(CollectedVideo(names, size, tracks))
    write_collected(output, videos, class_names, f"converted from {source.name}, made with CVAT")
    return len(videos)


def _parse(path: Path) -> ElementTree.Element:
    try:
        root = ElementTree.parse(path).getroot()
    except ElementTree.ParseError as error:
        raise ValueError(f"{path} is not an XML file ({error}). Was it cut off?") from error
    if root.tag != "annotations":
        raise ValueError(f"{path} must have <annotations> at its top, as files of CVAT have, got <{root.tag}>.")
    if root.find("image") is not None:
        raise ValueError(f"{path} has images, not tracks: export it as CVAT for video 1.1 rather than for images.")
    return root


def _frames(root: ElementTree.Element, path: Path) -> tuple[int, tuple[int, int]]:
    """Length and frame size of a video, from the description of its task or job."""
    height, width = (_number(root.find(f".//original_size/{side}"), path, side) for side in ("height", "width"))
    check_size((height, width))
    num_frames = _number(next((found for found in root.iterfind("./meta/*/size")), None), path, "size")
    start = root.find("./meta/*/start_frame")
    first = 0 if start is None else _number(start, path, "start_frame", least=0)
    last = max((int(shape.get("frame", "0")) for shape in root.iterfind("./track/*")), default=0)
    num_frames = max(num_frames + first, last + 1)  # a job is a part of a task, whose frames are counted through
    if num_frames > MAX_FRAMES:
        raise ValueError(f"{path}: a video may have up to {MAX_FRAMES} frames, got {num_frames}.")
    return num_frames, (height, width)


def _number(element: ElementTree.Element | None, path: Path, name: str, least: int = 1) -> int:
    text = "" if element is None else (element.text or "").strip()
    if not text.isdecimal() or int(text) < least:
        raise ValueError(f"{path} must say the {name} of the video in its <meta>, as exports of CVAT do; got {text!r}.")
    return int(text)


def _tracks(root: ElementTree.Element, size: tuple[int, int], num_frames: int, path: str) -> list[CollectedTrack]:
    tracks: dict[tuple[str, str, str], CollectedTrack] = {}
    for element in root.iterfind("track"):
        track_id, label, group = (element.get(name, "") for name in ("id", "label", "group_id"))
        place = f"{path}, track {track_id}"
        if not label:
            raise ValueError(f"{place} has no label.")
        key = (label, group, "") if group not in ("", "0") else (label, "", track_id)
        track = tracks.setdefault(key, CollectedTrack(label))
        shapes = sorted((_shape(shape, size, place) for shape in element), key=lambda shape: shape.frame)
        for number, shape in enumerate(shapes):
            stop = shapes[number + 1].frame if number + 1 < len(shapes) else num_frames
            for frame in range(shape.frame, stop if not shape.is_outside else shape.frame):
                track.add(frame, shape.mask)
    return list(tracks.values())


def _shape(element: ElementTree.Element, size: tuple[int, int], place: str) -> _Shape:
    frame = element.get("frame", "")
    if not frame.isdecimal():
        raise ValueError(f"{place}: a shape must have a frame, got {frame!r}.")
    place = f"{place}, frame {frame}"
    is_outside = element.get("outside") == "1"
    try:
        if is_outside:
            mask = None
        elif element.tag == "polygon":
            pairs = [pair.split(",") for pair in element.get("points", "").split(";")]
            mask = rasterise([[float(value) for x, y in pairs for value in (x, y)]], size, place)
        elif element.tag == "mask":
            mask = _mask(element, size)
        else:
            raise ValueError(
                f"<{element.tag}> is no mask. Tracks must be polygons or masks; remove others from the task, or from "
                "the file."
            )
    except ValueError as error:
        text = str(error)
        raise ValueError(text if text.startswith(place) else f"{place}: {text}") from error
    return _Shape(int(frame), is_outside, mask)


def _mask(element: ElementTree.Element, size: tuple[int, int]) -> Rle | None:
    """Runs in the order of rows over a part of the frame, beginning with the background."""
    left, top, width, height = (int(element.get(name, "")) for name in ("left", "top", "width", "height"))
    if min(left, top) < 0 or min(width, height) < 1 or left + width > size[1] or top + height > size[0]:
        raise ValueError(f"the mask is at {left}, {top} with {width} x {height} pixels, beyond a frame of {size}.")
    runs = np.array([int(run) for run in element.get("rle", "").split(",")], np.int64)
    if runs.min() < 0:
        raise ValueError("the mask has a negative run.")
    mask = np.zeros(size, bool)
    mask[top : top + height, left : left + width] = decode_runs(runs, (width, height)).T
    return encode_masks(mask[None])[0] if mask.any() else None
