"""LabelMe: a JSON file beside each frame, to the YouTube-VIS format."""

from __future__ import annotations

import base64
import binascii
import logging
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from video_mask2former.data.image_files import read_image
from video_mask2former.data.preparation.imports.collected import (
    CollectedTrack,
    CollectedVideo,
    rasterise,
    write_collected,
)
from video_mask2former.documents import read_json
from video_mask2former.messages import shortened
from video_mask2former.rle import Rle, encode_masks
from video_mask2former.video_io.image_source import find_images
from video_mask2former.video_io.picture_files import decode_image

logger = logging.getLogger(__name__)

CIRCLE_POINTS = 64


def import_labelme(source: Path, images: Path | None, output: Path) -> int:
    """Convert a folder of frames with LabelMe's JSON files, or a folder of such folders, and write the annotation file.

    Shapes of one label and ``group_id`` are one object, in all frames. A shape without ``group_id`` is an object of its
    own, on its frame only, as LabelMe itself has it. Frames without a JSON file are frames without objects.

    Args:
        source: The folder, or a folder with one for each video.
        images: The same, where the images are elsewhere; None is ``source``.
        output: The annotation file; its file names are relative to ``images``.

    Returns:
        The number of videos.

    Raises:
        FileNotFoundError: If there are no such files, or no images.
        ValueError: If a file is not LabelMe's, or has shapes that are no masks (points, lines).
    """
    folders = [source] if any(source.glob("*.json")) else sorted(path for path in source.iterdir() if path.is_dir())
    folders = [folder for folder in folders if any(folder.glob("*.json"))]
    if not folders:
        raise FileNotFoundError(f"{source} must be a folder of JSON files, or of folders of such, got none.")
    root = images or source
    videos = []
    for folder in folders:
        place = root / folder.relative_to(source)
        frames = find_images(place)
        size: tuple[int, int] = read_image(frames[0]).shape[:2]
        names = [frame.relative_to(root).as_posix() for frame in frames]
        videos.append(CollectedVideo(names, size, _tracks(folder, frames, size)))
    write_collected(output, videos, [], f"converted from {source.name}, made with LabelMe")
    return len(videos)


def _tracks(folder: Path, frames: list[Path], size: tuple[int, int]) -> list[CollectedTrack]:
    index_of_frame = {frame.stem: index for index, frame in enumerate(frames)}
    tracks: dict[tuple[Any, ...], CollectedTrack] = {}
    num_alone = 0
    for path in sorted(folder.glob("*.json")):
        if path.stem not in index_of_frame:
            raise FileNotFoundError(f"{path} has no image {path.stem} beside it.")
        document = read_json(path, dict, "file of LabelMe")
        shapes = document.get("shapes")
        if not isinstance(shapes, list) or not all(isinstance(shape, dict) for shape in shapes):
            raise ValueError(f"{path} must have 'shapes', a list of objects, as files of LabelMe have.")
        for number, shape in enumerate(shapes):
            place = f"{path}, shape {number}"
            label, group = shape.get("label"), shape.get("group_id")
            if not isinstance(label, str) or not label:
                raise ValueError(f"{place} must have a label, got {shortened(label)}.")
            num_alone += group is None
            key = (label, path.stem, number) if group is None else (label, group)
            tracks.setdefault(key, CollectedTrack(label)).add(index_of_frame[path.stem], _mask(shape, size, place))
    if num_alone:
        logger.info("%s: %d shapes have no group_id, so that each is an object on its frame only", folder, num_alone)
    return list(tracks.values())


def _mask(shape: dict[str, Any], size: tuple[int, int], place: str) -> Rle | None:
    kind = shape.get("shape_type", "polygon")
    try:
        points = np.array(shape.get("points"), np.float64).reshape(-1, 2)
    except (TypeError, ValueError):
        raise ValueError(f"{place}: 'points' must be a list of [x, y], got {shortened(shape.get('points'))}.") from None
    if kind == "mask":
        return _picture_mask(shape.get("mask"), points, size, place)
    if kind in ("rectangle", "circle") and len(points) != 2:
        raise ValueError(f"{place}: a {kind} has two points, got {len(points)}.")
    if kind == "rectangle":
        (x0, y0), (x1, y1) = points
        points = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])
    elif kind == "circle":
        center, edge = points
        angles = np.linspace(0, 2 * np.pi, CIRCLE_POINTS, endpoint=False)
        points = center + np.hypot(*(edge - center)) * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    elif kind != "polygon":
        raise ValueError(f"{place}: a {shortened(kind)} is no mask. Polygons, rectangles, circles and masks are.")
    return rasterise([points.ravel().tolist()], size, place)


def _picture_mask(data: Any, points: np.ndarray, size: tuple[int, int], place: str) -> Rle | None:
    """A PNG in base64, over the box from the first point to the second."""
    try:
        png = np.frombuffer(base64.b64decode(data, validate=True), np.uint8)
    except (TypeError, binascii.Error) as error:
        raise ValueError(f"{place}: 'mask' must be a PNG in base64 ({error}).") from error
    part = decode_image(png, cv2.IMREAD_GRAYSCALE, Path(f"{place}, mask")) > 0
    x, y = (int(value) for value in np.floor(points.min(axis=0)))
    canvas = np.zeros((max(size[0], y + part.shape[0]), max(size[1], x + part.shape[1])), bool)
    if min(x, y) < 0 or canvas.size > 4 * size[0] * size[1]:
        raise ValueError(f"{place}: the mask is at {x}, {y}, beyond a frame of {size}.")
    canvas[y : y + part.shape[0], x : x + part.shape[1]] = part
    mask = np.ascontiguousarray(canvas[: size[0], : size[1]])
    return encode_masks(mask[None])[0] if cv2.countNonZero(mask.view(np.uint8)) else None
