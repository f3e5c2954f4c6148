"""Everything that is wrong with a dataset on the disk, and what is in it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from video_mask2former.data.annotation_format import (
    AnnotationDocument,
    Problem,
    as_id,
    find_problems,
    read_document,
    video_problems,
)
from video_mask2former.data.image_files import read_image
from video_mask2former.data.segmentations import pack_segmentation, segmentation_problem, unpack_mask
from video_mask2former.messages import shortened
from video_mask2former.progress import tracked


@dataclass
class ClassStatistics:
    """What there is of one class.

    Attributes:
        name: The class.
        num_videos: Videos it occurs in.
        num_tracks: Instances.
        num_masks: Masks that are not empty.
        num_pixels: Pixels of all masks.
        num_crowd: Tracks that mark a group; they count above too.
    """

    name: str
    num_videos: int = 0
    num_tracks: int = 0
    num_masks: int = 0
    num_pixels: int = 0
    num_crowd: int = 0


@dataclass(frozen=True)
class DatasetReport:
    """The result of a check.

    Attributes:
        problems: In the order of the file; those of image files last.
        classes: By category id.
        num_videos: Videos, or images.
        num_frames: Frames of all videos.
    """

    problems: tuple[Problem, ...]
    classes: dict[int, ClassStatistics]
    num_videos: int
    num_frames: int

    @property
    def num_errors(self) -> int:
        """Problems that are not only suspicious."""
        return sum(problem.is_error for problem in self.problems)


def check_dataset(
    annotation_file: str | os.PathLike[str], image_folder: str | os.PathLike[str] | None = None
) -> DatasetReport:
    """Look for every problem of a dataset, without stopping at the first.

    Args:
        annotation_file: In the YouTube-VIS or the COCO format.
        image_folder: Folder of the images, every one of which is read; None looks at the annotations only.
    """
    try:
        document = read_document(annotation_file)
    except (FileNotFoundError, ValueError) as error:
        return DatasetReport((Problem(str(annotation_file), str(error)),), {}, 0, 0)
    problems = list(find_problems(document))
    classes = {
        category_id: ClassStatistics(str(category.get("name")))
        for category in document.categories
        if (category_id := as_id(category.get("id"))) is not None
    }
    problems += _mask_problems(document, classes)
    names = [video.get("file_names") for video in document.videos]
    if image_folder is not None:
        problems += _image_problems(document, Path(image_folder))
    num_frames = sum(len(name) for name in names if isinstance(name, list))
    return DatasetReport(tuple(problems), classes, len(document.videos), num_frames)


def _mask_problems(document: AnnotationDocument, classes: dict[int, ClassStatistics]) -> Iterator[Problem]:
    """Decode every mask of the tracks whose form is sound; count what is there."""
    sizes = {
        as_id(video.get("id")): (video["height"], video["width"])
        for video in document.videos
        if not any(True for _ in video_problems([video]))
    }
    seen: set[tuple[object, object]] = set()
    for annotation in tracked(document.annotations or [], "masks", "track"):
        place = f"video {shortened(annotation.get('video_id'))}, annotation {shortened(annotation.get('id'))}"
        size = sizes.get(as_id(annotation.get("video_id")))
        segmentations = annotation.get("segmentations")
        if not isinstance(segmentations, list) or size is None:
            continue  # find_problems has said so
        for name in ("bboxes", "areas"):
            values = annotation.get(name)
            if isinstance(values, list) and len(values) != len(segmentations):
                message = f"it has {len(values)} {name} for {len(segmentations)} segmentations."
                yield Problem(place, message, is_error=False)
        areas = []
        for frame_index, segmentation in enumerate(segmentations):
            if segmentation is None or segmentation_problem(segmentation, size) is not None:
                continue
            try:
                areas.append(int(unpack_mask(*pack_segmentation(segmentation, size), size).sum()))
            except ValueError as error:
                yield Problem(f"{place}, frame {frame_index}", f"the RLE cannot be read, {error}")
                continue
            if not areas[-1]:
                yield Problem(f"{place}, frame {frame_index}", "its mask is empty; null says that.", is_error=False)
        if not any(areas):
            yield Problem(place, "it has no mask on any frame, so that it cannot be found.")
        _count(annotation, [area for area in areas if area], classes, seen)


def _count(
    annotation: dict[str, Any],
    areas: list[int],
    classes: dict[int, ClassStatistics],
    seen: set[tuple[object, object]],
) -> None:
    category_id = as_id(annotation.get("category_id"))
    if category_id is None or category_id not in classes:
        return
    statistics = classes[category_id]
    occurrence = (annotation["category_id"], annotation["video_id"])
    statistics.num_videos += occurrence not in seen
    seen.add(occurrence)
    statistics.num_tracks += 1
    statistics.num_crowd += annotation.get("iscrowd") == 1
    statistics.num_masks += len(areas)
    statistics.num_pixels += sum(areas)


def _image_problems(document: AnnotationDocument, image_folder: Path) -> Iterator[Problem]:
    """Read every frame, several at a time."""
    frames = [
        (f"video {video['id']}, frame {index}", image_folder / name, (video["height"], video["width"]))
        for video in document.videos
        if not any(True for _ in video_problems([video]))
        for index, name in enumerate(video["file_names"])
    ]
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        found = pool.map(lambda frame: _image_problem(*frame), frames)
        for problem in tracked(found, "images", "image", total=len(frames)):
            if problem is not None:
                yield problem


def _image_problem(place: str, path: Path, size: tuple[int, int]) -> Problem | None:
    try:
        read_image(path, size)
    except (OSError, ValueError) as error:
        return Problem(place, str(error))
    return None
