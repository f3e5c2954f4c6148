"""YouTube-VIS results: one entry per track with its masks on all frames of the video, and the submission zip."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from video_mask2former.atomic import atomic_path
from video_mask2former.documents import read_json_array
from video_mask2former.results.field_checks import (
    CategoryIds,
    class_index,
    class_indices,
    dataset_category,
    require,
    require_score,
    require_track,
)
from video_mask2former.results.json_array_file import JsonArrayFile, to_json
from video_mask2former.structures import Track, VideoInstances

SUBMISSION_MEMBER = "results.json"


class YoutubeVisWriter:
    """Writes ``results.json`` video by video; the file appears when the writer is closed without an error.

    Args:
        path: File to write.
        category_ids: The dataset's category id of each class index; ``label + 1`` if None.
    """

    def __init__(self, path: str | os.PathLike[str], category_ids: CategoryIds | None = None) -> None:
        self._array = JsonArrayFile(path)
        self._category_ids = category_ids
        self._video_ids: set[int] = set()

    def write(self, video: VideoInstances) -> None:
        """Append all tracks of one video.

        Raises:
            ValueError: If it has no ``video_id``, or one that was already written.
        """
        if video.video_id is None:
            raise ValueError("video.video_id must be set: the file tells videos apart by it. Use dataclasses.replace.")
        if video.video_id in self._video_ids:
            raise ValueError(f"video {video.video_id} was already written to this file.")
        self._video_ids.add(video.video_id)
        for track in video.tracks:
            header = {
                "video_id": video.video_id,
                "category_id": dataset_category(track.label, self._category_ids),
                "score": float(track.score),
            }
            self._array.append_text(_pieces(header, track, video.num_frames))

    def __enter__(self) -> YoutubeVisWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._array.__exit__(kind, error, trace)


def _pieces(header: dict[str, Any], track: Track, num_frames: int) -> Iterator[str]:
    """The entry of a track, mask by mask: those of a long video may be on the disk, and can stay there."""
    yield to_json(header)[:-1] + ',"segmentations":['
    for index in range(num_frames):
        yield ("," if index else "") + to_json(track.segmentations.get(index))
    yield "]}"


def write_youtube_vis(
    path: str | os.PathLike[str], videos: Iterable[VideoInstances], category_ids: CategoryIds | None = None
) -> None:
    """Write ``results.json`` of one or many videos; see :class:`YoutubeVisWriter`."""
    with YoutubeVisWriter(path, category_ids) as writer:
        for video in videos:
            writer.write(video)


def write_submission(
    path: str | os.PathLike[str], videos: Iterable[VideoInstances], category_ids: CategoryIds | None = None
) -> None:
    """Write the zip that the evaluation servers take: ``results.json`` at its root."""
    results = Path(path).with_name(f".{Path(path).name}.json")
    try:
        write_youtube_vis(results, videos, category_ids)
        pack_submission(results, path)
    finally:
        results.unlink(missing_ok=True)


def pack_submission(results: str | os.PathLike[str], path: str | os.PathLike[str]) -> None:
    """Put results that are written into the zip that the evaluation servers take."""
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(results, SUBMISSION_MEMBER)


def read_youtube_vis(
    path: str | os.PathLike[str], category_ids: CategoryIds | None = None
) -> dict[int, VideoInstances]:
    """Read ``results.json``.

    The file holds no track ids and no sizes: tracks are numbered from 1 in order, and a video's size is that of its
    masks, (0, 0) where all of them are null.

    Args:
        path: File to read.
        category_ids: The dataset's category id of each class index; ``category_id - 1`` if None.

    Returns:
        Each video that has predictions, by its id, in order of appearance.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it does not have the form; the message names the first entry that is wrong.
    """
    back = class_indices(category_ids)
    tracks: dict[int, list[Track]] = {}
    lengths: dict[int, int] = {}
    sizes: dict[int, tuple[int, int]] = {}
    for number, entry in enumerate(read_json_array(Path(path), "YouTube-VIS result file")):
        place = f"{path}, entry {number}"
        video_id: int = require(entry, "video_id", int, place)
        masks: list[Any] = require(entry, "segmentations", list, place)
        if lengths.setdefault(video_id, len(masks)) != len(masks):
            raise ValueError(
                f"{place}: 'segmentations' has {len(masks)} frames, earlier entries of video {video_id} have "
                f"{lengths[video_id]}."
            )
        segmentations = require_track(masks, sizes.get(video_id), place)
        if len(segmentations):
            sizes.setdefault(video_id, segmentations.size)
        label = class_index(require(entry, "category_id", int, place), back, place)
        of_video = tracks.setdefault(video_id, [])
        of_video.append(Track(len(of_video) + 1, label, require_score(entry, place), segmentations))
    return {
        video_id: VideoInstances(tuple(of_video), lengths[video_id], sizes.get(video_id, (0, 0)), video_id=video_id)
        for video_id, of_video in tracks.items()
    }
