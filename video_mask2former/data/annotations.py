"""Annotation files in the YouTube-VIS format (2019, 2021, 2022, OVIS, custom), and COCO files as 1-frame videos."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from video_mask2former.data.annotation_format import (
    AnnotationDocument,
    find_problems,
    paused_garbage_collection,
    read_document,
)
from video_mask2former.data.packed_videos import PackedVideos, pack_videos
from video_mask2former.data.segmentations import MaskKind, packed_counts, unpack_mask, unpack_rle
from video_mask2former.rle import PackedRles, measure_packed
from video_mask2former.structures import ClipTarget, Track, VideoInstances

_logger = logging.getLogger(__name__)
_Mask = TypeVar("_Mask")


@dataclass(frozen=True)
class VideoRecord:
    """What a file says of one video.

    Attributes:
        video_id: The file's id.
        size: Height and width of its frames.
        file_names: One for each frame, relative to the folder of the images.
        annotation_ids: The file's id of each of the N instances.
        labels: Contiguous class index of each.
        is_crowd: Whether each marks a group rather than one object.
    """

    video_id: int
    size: tuple[int, int]
    file_names: tuple[str, ...]
    annotation_ids: tuple[int, ...]
    labels: tuple[int, ...]
    is_crowd: tuple[bool, ...]

    @property
    def num_frames(self) -> int:
        """Length of the video."""
        return len(self.file_names)


@dataclass(frozen=True)
class AnnotationSet:
    """The annotated videos of one file, ordered by id, in buffers that worker processes share.

    Attributes:
        path: The file.
        class_names: Name of each class index: the categories of the file, sorted by id.
        category_ids: The file's category id of each class index.
        is_thing: Whether each class has countable objects, which all have unless the file says otherwise.
        has_annotations: False where the file lists videos only, as validation sets with hidden annotations do.
        packed: The buffers.
    """

    path: Path
    class_names: tuple[str, ...]
    category_ids: tuple[int, ...]
    is_thing: tuple[bool, ...]
    has_annotations: bool
    packed: PackedVideos

    def __len__(self) -> int:
        return self.packed.video_ids.shape[0]

    def __getitem__(self, video_index: int) -> VideoRecord:
        if not 0 <= video_index < len(self):
            raise IndexError(f"video_index must be in [0, {len(self)}), got {video_index}.")
        packed, rows = self.packed, self._annotations_of(video_index)
        return VideoRecord(
            video_id=int(packed.video_ids[video_index]),
            size=self.size(video_index),
            file_names=packed.file_names(video_index),
            annotation_ids=tuple(packed.annotation_ids[rows].tolist()),
            labels=tuple(packed.labels[rows].tolist()),
            is_crowd=tuple(packed.is_crowd[rows].tolist()),
        )

    def size(self, video_index: int) -> tuple[int, int]:
        """Height and width of a video."""
        height, width = self.packed.sizes[video_index].tolist()
        return height, width

    def num_frames(self, video_index: int) -> int:
        """Length of a video."""
        return int(self.packed.frame_offsets[video_index + 1] - self.packed.frame_offsets[video_index])

    @property
    def is_of_images(self) -> bool:
        """Whether every video is one frame, as in COCO."""
        return bool((self.packed.frame_offsets.diff() == 1).all())

    def annotated_videos(self) -> np.ndarray:
        """Positions of the videos that have an instance (crowd is none) with a mask, ``(V',)`` int64, ascending."""
        packed = self.packed
        if packed.annotation_ids.numel() == 0:
            return np.zeros(0, np.int64)
        has_mask = np.logical_or.reduceat(
            packed.mask_kinds.numpy() != MaskKind.ABSENT, packed.mask_offsets[:-1].numpy()
        )
        video_of_annotation = np.repeat(np.arange(len(self)), packed.annotation_offsets.diff().numpy())
        return np.unique(video_of_annotation[has_mask & ~packed.is_crowd.numpy()])

    def visible_instances(self, video_index: int) -> np.ndarray:
        """Which instances the file has a mask for, by frame; a group of objects (crowd) is not an instance.

        Returns:
            ``(N, T)`` bool, N counting crowd as well.
        """
        rows, num_frames = self._annotations_of(video_index), self.num_frames(video_index)
        start = int(self.packed.mask_offsets[rows.start])
        kinds = self.packed.mask_kinds[start : start + (rows.stop - rows.start) * num_frames].numpy()
        is_visible = kinds.reshape(-1, num_frames) != MaskKind.ABSENT
        visible: np.ndarray = is_visible & ~self.packed.is_crowd[rows].numpy()[:, None]
        return visible

    def clip_target(self, video_index: int, frame_indices: tuple[int, ...]) -> ClipTarget:
        """Masks of the instances that are visible on at least one of some frames.

        Crowd is not an instance: its pixels are to be ignored, as the file's own ignored regions are. A pixel of an
        instance is not, whatever else covers it.

        Raises:
            ValueError: If an RLE is malformed, naming file, video, annotation and frame.
        """
        is_visible = self.visible_instances(video_index)[:, list(frame_indices)]
        first = self._annotations_of(video_index).start
        rows = first + np.flatnonzero(is_visible.any(axis=1))
        masks = torch.zeros(len(rows), len(frame_indices), *self.size(video_index), dtype=torch.bool)
        for instance, row in enumerate(rows.tolist()):
            for position in np.flatnonzero(is_visible[row - first]).tolist():
                mask = self._unpack(unpack_mask, video_index, row, frame_indices[position])
                masks[instance, position] = torch.from_numpy(mask)
        chosen = torch.from_numpy(rows)
        ignored = self._ignored(video_index, frame_indices)
        is_labelled = self.packed.labelled_classes[video_index]
        return ClipTarget(
            self.packed.labels[chosen],
            masks,
            self.packed.annotation_ids[chosen],
            labelled_classes=None if bool(is_labelled.all()) else is_labelled.nonzero().flatten(),
            ignored=None if ignored is None else ignored & ~masks.any(dim=0),
        )

    def ground_truth(self, video_index: int) -> VideoInstances:
        """All annotated tracks of a video, crowd included and marked, as evaluation reads them.

        Raises:
            ValueError: If the file has no annotations, or an RLE is malformed.
        """
        if not self.has_annotations:
            raise ValueError(
                f"{self.path} has no annotations: those of this set are hidden. "
                "Evaluate on a local split of the training set (video-mask2former data split)."
            )
        record = self[video_index]
        rows = self._annotations_of(video_index)
        tracks = [
            Track(track_id, label, 1.0, self._segmentations(video_index, row, record.num_frames), is_crowd=is_crowd)
            for row, track_id, label, is_crowd in zip(
                range(rows.start, rows.stop), record.annotation_ids, record.labels, record.is_crowd, strict=True
            )
        ]
        return VideoInstances(
            tuple(tracks), record.num_frames, record.size, class_names=self.class_names, video_id=record.video_id
        )

    def iterate_ground_truth(self) -> Iterator[VideoInstances]:
        """The annotated tracks of every video, one video at a time."""
        for video_index in range(len(self)):
            yield self.ground_truth(video_index)

    def _ignored(self, video_index: int, frame_indices: tuple[int, ...]) -> torch.Tensor | None:
        """Pixels of crowd and of the file's ignored regions, ``(T, H, W)`` bool; None where there are none."""
        rows = self._annotations_of(video_index)
        crowd = rows.start + np.flatnonzero(self.packed.is_crowd[rows].numpy())
        ignored = np.zeros((len(frame_indices), *self.size(video_index)), bool)
        for mask, frame_index in zip(ignored, frame_indices, strict=True):
            kind, data = self.packed.ignored(video_index, frame_index)
            if kind != MaskKind.ABSENT:
                mask |= self._checked(unpack_mask, kind, data, video_index, f"ignored region, frame {frame_index}")
            for row in crowd.tolist():
                mask |= self._unpack(unpack_mask, video_index, row, frame_index)
        return torch.from_numpy(ignored) if ignored.any() else None

    def _segmentations(self, video_index: int, row: int, num_frames: int) -> PackedRles:
        """The masks of a track that are not empty."""
        size = self.size(video_index)
        frames, counts = [], []
        for frame, (kind, data) in enumerate(self.packed.masks(row, num_frames)):
            if kind != MaskKind.ABSENT:
                frames.append(frame)
                counts.append(packed_counts(kind, data, size))
        try:
            packed = PackedRles(size, frames, counts)
            areas = measure_packed([packed])[0]
        except ValueError:
            for frame in frames:  # finds which
                self._unpack(unpack_rle, video_index, row, frame)
            raise
        return packed.select(areas > 0)

    def _annotations_of(self, video_index: int) -> slice:
        offsets = self.packed.annotation_offsets
        return slice(int(offsets[video_index]), int(offsets[video_index + 1]))

    def _unpack(
        self,
        unpack: Callable[[MaskKind, bytes, tuple[int, int]], _Mask],
        video_index: int,
        row: int,
        frame_index: int,
    ) -> _Mask:
        kind, data = self.packed.mask(row, frame_index)
        place = f"annotation {self.packed.annotation_ids[row]}, frame {frame_index}"
        return self._checked(unpack, kind, data, video_index, place)

    def _checked(
        self,
        unpack: Callable[[MaskKind, bytes, tuple[int, int]], _Mask],
        kind: MaskKind,
        data: bytes,
        video_index: int,
        place: str,
    ) -> _Mask:
        try:
            return unpack(kind, data, self.size(video_index))
        except ValueError as error:
            raise ValueError(
                f"{self.path}: video {self.packed.video_ids[video_index]}, {place}: the RLE cannot be read, {error} "
                "video-mask2former data check lists every problem of a dataset."
            ) from error


def load_annotations(path: str | os.PathLike[str]) -> AnnotationSet:
    """Read an annotation file in the YouTube-VIS or the COCO format.

    Category ids may be any integers; class indices count them in sorted order.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If something in it is wrong; the message names file, video and annotation.
    """
    with paused_garbage_collection():
        return _load(read_document(path))


def _load(document: AnnotationDocument) -> AnnotationSet:
    warnings = []
    for problem in find_problems(document):
        if problem.is_error:
            raise ValueError(
                f"{document.path}: {problem} video-mask2former data check lists every problem of a dataset."
            )
        warnings.append(problem)
    if warnings:
        _logger.warning("%s: %d things are doubtful, first: %s", document.path, len(warnings), warnings[0])
    categories = sorted(document.categories, key=lambda category: int(category["id"]))
    category_ids = tuple(int(category["id"]) for category in categories)
    return AnnotationSet(
        path=document.path,
        class_names=_distinct_names([category["name"] for category in categories], category_ids),
        category_ids=category_ids,
        is_thing=tuple(bool(category.get("isthing", 1)) for category in categories),
        has_annotations=document.annotations is not None,
        packed=pack_videos(
            document.videos, document.annotations or [], {value: index for index, value in enumerate(category_ids)}
        ),
    )


def _distinct_names(names: Sequence[str], category_ids: Sequence[int]) -> tuple[str, ...]:
    """The names, with the id put to one that came before: reports distinguish classes by their names."""
    return tuple(
        f"{name} ({category_id})" if name in names[:index] else name
        for index, (name, category_id) in enumerate(zip(names, category_ids, strict=True))
    )
