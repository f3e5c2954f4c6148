"""Tracks on their way from another format into a dataset: parts of masks, class names, and what is written of them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from video_mask2former.data.preparation.dataset_writer import DatasetWriter, TrackAnnotation
from video_mask2former.data.segmentations import pack_segmentation, segmentation_problem, unpack_rle
from video_mask2former.rle import Rle, merge_rles


@dataclass
class CollectedTrack:
    """An object of a video.

    Attributes:
        class_name: Its class.
        masks: By frame, parts of its mask.
    """

    class_name: str
    masks: dict[int, list[Rle]] = field(default_factory=dict)

    def add(self, frame_index: int, mask: Rle | None) -> None:
        """Add a part of the mask on a frame; None is nothing."""
        if mask is not None:
            self.masks.setdefault(frame_index, []).append(mask)


@dataclass(frozen=True)
class CollectedVideo:
    """A video with its objects.

    Attributes:
        file_names: Its frames.
        size: Height and width.
        tracks: Its objects.
    """

    file_names: Sequence[str]
    size: tuple[int, int]
    tracks: Sequence[CollectedTrack]


def rasterise(segmentation: Any, size: tuple[int, int], place: str) -> Rle | None:
    """The mask of a list of polygons or an RLE; None where it covers nothing.

    Raises:
        ValueError: If it is neither; ``place`` says in the message where.
    """
    problem = segmentation_problem(segmentation, size)
    if problem is not None:
        raise ValueError(f"{place}: {problem}")
    kind, data = pack_segmentation(segmentation, size)
    try:
        return unpack_rle(kind, data, size)
    except ValueError as error:
        raise ValueError(f"{place}: the RLE cannot be read, {error}") from error


def write_collected(
    output: str | os.PathLike[str],
    videos: Sequence[CollectedVideo],
    class_names: Sequence[str],
    description: str,
) -> None:
    """Write videos as a YouTube-VIS file.

    Args:
        output: The file.
        videos: What it holds.
        class_names: The classes, in order; those that tracks have and the list has not follow in order of appearance.
        description: What the dataset is.

    Raises:
        ValueError: If there is no class at all.
    """
    of_tracks = (track.class_name for video in videos for track in video.tracks)
    names = list(dict.fromkeys([*class_names, *of_tracks]))
    if not names:
        raise ValueError("there is no annotated object, and no class.")
    ids: Mapping[str, int] = {name: number for number, name in enumerate(names, start=1)}
    writer = DatasetWriter({number: name for name, number in ids.items()}, description=description)
    for video in videos:
        tracks = [
            TrackAnnotation(
                ids[track.class_name],
                {
                    frame: parts[0] if len(parts) == 1 else merge_rles(parts)
                    for frame, parts in sorted(track.masks.items())
                },
            )
            for track in video.tracks
        ]
        writer.add_video(video.file_names, video.size, tracks)
    writer.write(output)
