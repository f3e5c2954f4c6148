"""Folders of indexed PNG masks, as DAVIS and YouTube-VOS have them, to the YouTube-VIS format."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np

from video_mask2former.data.image_files import read_image
from video_mask2former.data.preparation.dataset_writer import DatasetWriter, TrackAnnotation
from video_mask2former.progress import tracked
from video_mask2former.rle import Rle, encode_masks
from video_mask2former.video_io.picture_files import decode_image, read_bytes

IGNORED_INDEX = 255
"""The border that some masks draw around objects: neither object nor background."""

_DEFAULT_CLASS = "object"
_IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")


def convert_davis(
    image_folder: str | os.PathLike[str],
    mask_folder: str | os.PathLike[str],
    output: str | os.PathLike[str],
    class_names: Mapping[str, Mapping[str, str]] | None = None,
) -> int:
    """Convert ``VIDEO/FRAME.png`` masks, whose pixel values are object numbers, and write the annotation file.

    Frames without a mask file count as frames without objects.

    Args:
        image_folder: Has a folder of images for each video.
        mask_folder: Has a folder of the same name of PNG files, named as the images are.
        output: The annotation file; its file names are relative to ``image_folder``.
        class_names: Class of each object, by video and object number, as ``davis_semantics.json`` of DAVIS 2017 has
            it; None makes every object an "object".

    Returns:
        The number of videos.
    """
    image_folder, mask_folder = Path(image_folder), Path(mask_folder)
    videos = sorted(path.name for path in mask_folder.iterdir() if path.is_dir()) if mask_folder.is_dir() else []
    if not videos:
        raise FileNotFoundError(f"{mask_folder} must have a folder of PNG masks for each video, got none.")
    names = {name for objects in (class_names or {}).values() for name in objects.values()} or {_DEFAULT_CLASS}
    categories = {index + 1: name for index, name in enumerate(sorted(names))}
    id_of_name = {name: key for key, name in categories.items()}
    writer = DatasetWriter(categories, description=f"converted from {mask_folder.name}")
    for video in tracked(videos, "convert", "video"):
        images = sorted(path for path in _folder(image_folder / video).iterdir() if path.suffix in _IMAGE_SUFFIXES)
        if not images:
            raise FileNotFoundError(f"{image_folder / video} has no images ({', '.join(_IMAGE_SUFFIXES)}).")
        height, width = read_image(images[0]).shape[:2]
        objects = _objects([mask_folder / video / f"{image.stem}.png" for image in images], (height, width))
        tracks = [
            TrackAnnotation(id_of_name[_class_of(video, number, class_names)], masks)
            for number, masks in sorted(objects.items())
        ]
        writer.add_video([f"{video}/{image.name}" for image in images], (height, width), tracks)
    writer.write(output)
    return len(videos)


def read_indexed_png(path: Path) -> np.ndarray:
    """Object number of each pixel, ``(H, W)`` uint8, from a PNG with a palette or a grey one.

    OpenCV gives the colours of a palette; they are turned back into indices, the lowest one where a palette has a
    colour twice (as it has for the entries that are not in use).
    """
    data = read_bytes(path)
    picture = decode_image(data, cv2.IMREAD_UNCHANGED, path)
    palette = _palette(data.tobytes())
    if palette is None:
        if picture.ndim != 2 or picture.dtype != np.uint8:
            raise ValueError(f"{path} must have a palette or 8 bits of grey, got {picture.shape} {picture.dtype}.")
        return np.asarray(picture)
    colors = picture[..., 2::-1].astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)
    index_of_color = {int(color): index for index, color in reversed(list(enumerate(palette)))}
    unique, positions = np.unique(colors, return_inverse=True)
    indices = np.array([index_of_color[int(color)] for color in unique], np.uint8)
    return indices[positions].reshape(colors.shape)


def _objects(paths: list[Path], size: tuple[int, int]) -> dict[int, dict[int, Rle]]:
    """Masks of each object number, by frame index."""
    objects: dict[int, dict[int, Rle]] = {}
    for frame_index, path in enumerate(paths):
        if not path.is_file():
            continue
        numbers = read_indexed_png(path)
        if numbers.shape != size:
            raise ValueError(f"{path} must have the size of its image, {size}, got {numbers.shape}.")
        found = [int(number) for number in np.unique(numbers) if number not in (0, IGNORED_INDEX)]
        masks = encode_masks(numbers[None] == np.array(found, np.uint8).reshape(-1, 1, 1))
        for number, mask in zip(found, masks, strict=True):
            objects.setdefault(number, {})[frame_index] = mask
    return objects


def _class_of(video: str, number: int, class_names: Mapping[str, Mapping[str, str]] | None) -> str:
    if class_names is None:
        return _DEFAULT_CLASS
    if str(number) not in class_names.get(video, {}):
        raise ValueError(f"the class of object {number} of video {video} is not given; got {class_names.get(video)}.")
    return class_names[video][str(number)]


def _folder(path: Path) -> Path:
    if not path.is_dir():
        raise FileNotFoundError(f"no folder {path} with the images of the video.")
    return path


def _palette(png: bytes) -> list[int] | None:
    """Colours of the palette as 0xRRGGBB, None where the PNG has none (https://www.w3.org/TR/png/#11PLTE)."""
    start = 8
    while start + 8 <= len(png):
        length, kind = int.from_bytes(png[start : start + 4], "big"), png[start + 4 : start + 8]
        if kind == b"PLTE" and png[25] == 3:  # colour type, at a fixed place in the first chunk
            body = png[start + 8 : start + 8 + length]
            return [int.from_bytes(body[index : index + 3], "big") for index in range(0, length, 3)]
        start += 12 + length
    return None
