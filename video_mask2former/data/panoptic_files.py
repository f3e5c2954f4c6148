"""Panoptic segmentations in files of the COCO form: a JSON of segments, and PNGs whose colours are segment ids.

Videos have the form of VIPSeg: the same, with the images and annotations of each video in one entry.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypedDict

import cv2
import numpy as np

from video_mask2former.atomic import atomic_path
from video_mask2former.data.label_maps import masks_of_numbers
from video_mask2former.documents import read_json
from video_mask2former.option_values import Range, parse_value
from video_mask2former.rle import Rle
from video_mask2former.structures import Track, VideoInstances
from video_mask2former.video_io.picture_files import decode_image, read_bytes

VOID = 0


_Id = Annotated[int, Range(at_least=-(2**63), at_most=2**63 - 1)]
_SegmentId = Annotated[int, Range(at_least=0, at_most=2**24 - 1)]


class _Category(TypedDict):
    id: _Id
    name: str
    isthing: int | bool


class _SegmentInfo(TypedDict):
    id: _SegmentId
    category_id: _Id


class _NamedFile(TypedDict):
    file_name: str


class _Image(_NamedFile):
    id: _Id | str


class _Frame(_NamedFile):
    segments_info: Sequence[_SegmentInfo]


class _ImageEntry(_Frame):
    image_id: _Id | str


class _VideoOfId(TypedDict):
    video_id: _Id | str


class _Video(_VideoOfId, total=False):
    images: Sequence[_NamedFile]


class _VideoEntry(_VideoOfId):
    annotations: Sequence[_Frame]


class _NeededContent(TypedDict):
    annotations: Sequence[Mapping[str, Any]]


class _Content(_NeededContent, total=False):
    """The keys of a panoptic file that are read, for images and for videos."""

    categories: Sequence[_Category]


@dataclass(frozen=True)
class Segment:
    """One entry of ``segments_info``."""

    id: int
    category_id: int
    is_crowd: bool


@dataclass(frozen=True)
class PanopticFrame:
    """One frame: its PNG (relative to the folder of PNGs), its image (empty where unknown), and its segments."""

    file_name: str
    image_name: str
    segments: tuple[Segment, ...]

    @property
    def image_path(self) -> str:
        """File of the image, relative to the folder of images: the name that is stated, or that of the PNG."""
        return self.image_name or str(Path(self.file_name).with_suffix(".jpg"))


@dataclass(frozen=True)
class PanopticSample:
    """One image or video: its id in the file, and its frames."""

    id: int | str
    frames: tuple[PanopticFrame, ...]


@dataclass(frozen=True)
class PanopticFile:
    """A panoptic annotation or result file.

    Attributes:
        path: The JSON file.
        folder: Folder of the PNGs.
        categories: ``{id, name, isthing}`` each; empty in result files.
        samples: Images or videos by their id as text.
        is_video: Whether they are videos.
        has_annotations: False where the videos are listed, and their annotations are kept by a server.
    """

    path: Path
    folder: Path
    categories: tuple[Mapping[str, Any], ...]
    samples: Mapping[str, PanopticSample]
    is_video: bool
    has_annotations: bool = True

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, by ascending category id."""
        return tuple(category["name"] for category in self.categories)

    @property
    def category_ids(self) -> tuple[int, ...]:
        """Category id of each class."""
        return tuple(category["id"] for category in self.categories)

    @property
    def is_thing(self) -> tuple[bool, ...]:
        """Whether each class has countable objects."""
        return tuple(bool(category["isthing"]) for category in self.categories)

    def read(self, key: str, category_ids: tuple[int, ...]) -> VideoInstances:
        """Read the segments of one sample; ``category_ids`` are those of the annotations.

        Raises:
            FileNotFoundError: If a PNG is missing.
            ValueError: If the file does not have the sample, a category is unknown, or a pixel is of no segment.
        """
        if key not in self.samples:
            raise ValueError(f"{self.path} has no entry for {key}; every annotated image or video needs one.")
        labels: dict[int, int] = {}
        crowd_ids: set[int] = set()
        masks: dict[int, dict[int, Rle]] = {}
        size: tuple[int, int] | None = None
        for frame_index, frame in enumerate(self.samples[key].frames):
            place = f"{self.path}, {frame.file_name}"
            for segment in frame.segments:
                if segment.category_id not in category_ids:
                    raise ValueError(f"{place}: category_id {segment.category_id} is not in the annotations.")
                labels[segment.id] = category_ids.index(segment.category_id)
                if segment.is_crowd:
                    crowd_ids.add(segment.id)
            ids = read_segment_ids(self.folder / frame.file_name)
            size = size or (ids.shape[0], ids.shape[1])
            if ids.shape != size:
                raise ValueError(f"{place}: all frames must have one size, got {ids.shape} after {size}.")
            for number, rle in masks_of_numbers(ids):
                if number != VOID and number not in labels:
                    raise ValueError(
                        f"{place}: segment {number} has pixels, but is not in segments_info. List it there, or paint "
                        "it 0 (void)."
                    )
                if number != VOID:
                    masks.setdefault(number, {})[frame_index] = rle
        if size is None:
            raise ValueError(f"{self.path}: {key} has no frames.")
        tracks = tuple(
            Track(number, label, 1.0, masks[number], is_crowd=number in crowd_ids)
            for number, label in labels.items()
            if number in masks
        )
        return VideoInstances(tracks, len(self.samples[key].frames), size)


def load_panoptic(path: str | os.PathLike[str], folder: str | os.PathLike[str] | None = None) -> PanopticFile:
    """Read the JSON of a panoptic annotation or result file.

    Args:
        path: The file.
        folder: Folder of the PNGs; None is the file's name without suffix, as COCO has it, or ``panomasksRGB`` beside
            the file, as VIPSeg has it.

    Raises:
        FileNotFoundError: If the file or the folder is missing.
        ValueError: If the file does not have the form.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no panoptic file {path}.")
    if folder is None:
        vipseg = path.with_name("panomasksRGB")
        folder = vipseg if vipseg.is_dir() and not path.with_suffix("").is_dir() else path.with_suffix("")
    folder = Path(folder)
    document = read_json(path, dict, "panoptic file")
    # result files list no videos, and files whose annotations are hidden nothing else
    is_hidden = "videos" in document and not document.get("annotations")
    if not (is_hidden or folder.is_dir()):
        raise FileNotFoundError(f"the PNGs of {path} are expected in the folder {folder}.")
    content = parse_value({"annotations": [], **document} if is_hidden else document, _Content, "", str(path))
    is_video = "videos" in content or any("video_id" in entry for entry in content["annotations"])
    read_samples = _hidden_samples if is_hidden else _video_samples if is_video else _image_samples
    samples = {str(sample.id): sample for sample in read_samples(content, str(path))}
    categories = sorted(content.get("categories", ()), key=lambda category: int(category["id"]))
    return PanopticFile(path, folder, tuple(categories), samples, is_video, has_annotations=not is_hidden)


def read_segment_ids(path: Path) -> np.ndarray:
    """Segment id of each pixel of a PNG, ``(H, W)`` int32: red + 256 green + 65536 blue."""
    colours = decode_image(read_bytes(path), cv2.IMREAD_COLOR, path)
    blue, green, red = np.moveaxis(colours.astype(np.int32), 2, 0)
    ids: np.ndarray = red + 256 * green + 65536 * blue
    return ids


def write_segment_ids(path: Path, segment_ids: np.ndarray) -> None:
    """Write segment ids ``(H, W)`` as a PNG; see :func:`read_segment_ids`."""
    channels = [segment_ids // 65536, segment_ids // 256 % 256, segment_ids % 256]
    with atomic_path(path) as temporary:
        temporary.write_bytes(cv2.imencode(".png", np.stack(channels, axis=2).astype(np.uint8))[1].tobytes())


def _image_samples(content: dict[str, Any], origin: str) -> list[PanopticSample]:
    images = parse_value(content.get("images", []), Sequence[_Image], "images", origin)
    entries = parse_value(content["annotations"], Sequence[_ImageEntry], "annotations", origin)
    names = {image["id"]: image["file_name"] for image in images}
    return [
        PanopticSample(entry["image_id"], (_frame(entry, entry["file_name"], names.get(entry["image_id"], "")),))
        for entry in entries
    ]


def _video_samples(content: dict[str, Any], origin: str) -> list[PanopticSample]:
    videos = parse_value(content.get("videos", []), Sequence[_Video], "videos", origin)
    images = {video["video_id"]: video.get("images", ()) for video in videos}
    samples = []
    for entry in parse_value(content["annotations"], Sequence[_VideoEntry], "annotations", origin):
        video_id, frames = str(entry["video_id"]), entry["annotations"]
        names = [f"{video_id}/{image['file_name']}" for image in images.get(entry["video_id"], ())]
        if names and len(names) != len(frames):
            raise ValueError(f"{origin}: video {video_id} has {len(names)} images and {len(frames)} annotated frames.")
        found = [
            _frame(frame, f"{video_id}/{frame['file_name']}", name)
            for frame, name in zip(frames, names or [""] * len(frames), strict=True)
        ]
        samples.append(PanopticSample(video_id, tuple(found)))
    return samples


def _hidden_samples(content: dict[str, Any], origin: str) -> list[PanopticSample]:
    samples = []
    for video in parse_value(content["videos"], Sequence[_Video], "videos", origin):
        names = [f"{video['video_id']}/{image['file_name']}" for image in video.get("images", ())]
        samples.append(PanopticSample(video["video_id"], tuple(PanopticFrame(name, name, ()) for name in names)))
    return samples


def _frame(entry: Mapping[str, Any], file_name: str, image_name: str) -> PanopticFrame:
    segments = tuple(
        Segment(segment["id"], segment["category_id"], bool(segment.get("iscrowd", 0)))
        for segment in entry["segments_info"]
    )
    return PanopticFrame(file_name, image_name, segments)
