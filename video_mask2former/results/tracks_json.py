"""``tracks.json``: the project's own file of tracks, for people and programs.

One JSON object; sizes are in pixels, indices count from 0, ``frame`` is the index in the source video::

    {
      "format": "video_mask2former.tracks", "version": 1,
      "video": {"path": "in.mp4", "video_id": null, "height": 720, "width": 1280, "frame_rate": "30000/1001",
                "num_frames": 289, "damage": null},
      "class_names": ["person", "dog"],
      "tracks": [
        {"id": 1, "label": 0, "class_name": "person", "score": 0.98, "is_crowd": false,
         "first_frame": 0, "last_frame": 288, "num_frames": 289, "frames": [
          {"frame": 0, "time_seconds": 0.0, "score": 0.97, "box_xywh": [10, 20, 300, 400], "area": 51234,
           "segmentation": {"size": [720, 1280], "counts": "..."}},
          ...

``frame_rate`` is an exact fraction or null, ``segmentation`` a compressed COCO RLE, ``class_name`` null where names are
unknown, ``score`` of a frame null where the method gives none, ``damage`` says what of the source could not be read.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from video_mask2former.atomic import atomic_path
from video_mask2former.documents import read_json
from video_mask2former.results.field_checks import (
    require,
    require_format,
    require_index,
    require_rate,
    require_rle,
    require_score,
)
from video_mask2former.rle import Rle, rle_area, rle_box
from video_mask2former.structures import Track, VideoInstances

FORMAT = "video_mask2former.tracks"
VERSION = 1
_LONE_SURROGATES = "backslashreplace"  # the escape that JSON has for them


def write_tracks(
    path: str | os.PathLike[str],
    video: VideoInstances,
    *,
    source: str | None = None,
    timestamps: Sequence[float] | None = None,
    damage: str | None = None,
) -> None:
    """Write ``tracks.json``; it appears when it is complete.

    Args:
        path: File to write.
        video: The tracks.
        source: Path of the video they are from.
        timestamps: Time of each frame of the video in seconds, for variable frame rates; from the frame rate if None.
        damage: What of the source could not be read, in words.
    """
    if timestamps is not None and len(timestamps) != video.num_frames:
        raise ValueError(f"timestamps must have one time for each of {video.num_frames} frames, got {len(timestamps)}.")
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", errors=_LONE_SURROGATES) as file:
        file.writelines(tracks_text(video, source=source, timestamps=timestamps, damage=damage))


def read_tracks(path: str | os.PathLike[str]) -> VideoInstances:
    """Read ``tracks.json``.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it does not have the form; the message names the first thing that is wrong.
    """
    content = read_json(Path(path), dict, "tracks file")
    require_format(content, FORMAT, VERSION, str(path))
    place = f"{path}, 'video'"
    video = require(content, "video", dict, str(path))
    size = require_index(video, "height", place), require_index(video, "width", place)
    num_frames = require_index(video, "num_frames", place)
    names = require(content, "class_names", list, str(path))
    tracks = tuple(
        _read_track(entry, size, num_frames, f"{path}, track {number}")
        for number, entry in enumerate(require(content, "tracks", list, str(path)))
    )
    if len({track.track_id for track in tracks}) != len(tracks):
        raise ValueError(f"{path} has two tracks of one id.")
    video_id = require(video, "video_id", (int, type(None)), place)
    return VideoInstances(
        tracks, num_frames, size, require_rate(video, place), tuple(str(name) for name in names), video_id
    )


def tracks_text(
    video: VideoInstances,
    *,
    source: str | None = None,
    timestamps: Sequence[float] | None = None,
    damage: str | None = None,
) -> Iterator[str]:
    """The text of ``tracks.json`` piece by piece, arguments as of :func:`write_tracks`.

    One frame of a track is a line, so that people can read it and memory stays small.
    """
    header = {
        "path": source,
        "video_id": video.video_id,
        "height": video.size[0],
        "width": video.size[1],
        "frame_rate": None if video.frame_rate is None else str(video.frame_rate),
        "num_frames": video.num_frames,
        "damage": damage,
    }
    yield f'{{\n"format": {_dump(FORMAT)}, "version": {VERSION},\n"video": {_dump(header)},\n'
    yield f'"class_names": {_dump(list(video.class_names))},\n"tracks": ['
    for number, track in enumerate(video.tracks):
        yield ",\n" if number else "\n"
        yield _dump(_track_header(track, video.class_names))[:-1] + ', "frames": ['
        for position, index in enumerate(sorted(track.segmentations)):
            rle = track.segmentations[index]
            entry = {
                "frame": index,
                "time_seconds": _time(index, video, timestamps),
                "score": None if index not in track.frame_scores else float(track.frame_scores[index]),
                "box_xywh": [round(value) for value in rle_box(rle)],
                "area": rle_area(rle),
                "segmentation": rle,
            }
            yield (",\n  " if position else "\n  ") + _dump(entry)
        yield "]}"
    yield "\n]\n}\n"


def _track_header(track: Track, class_names: Sequence[str]) -> dict[str, Any]:
    return {
        "id": int(track.track_id),
        "label": int(track.label),
        "class_name": class_names[track.label] if track.label < len(class_names) else None,
        "score": float(track.score),
        "is_crowd": track.is_crowd,
        "first_frame": min(track.segmentations, default=None),
        "last_frame": max(track.segmentations, default=None),
        "num_frames": len(track.segmentations),
    }


def _time(index: int, video: VideoInstances, timestamps: Sequence[float] | None) -> float | None:
    if timestamps is not None:
        return round(float(timestamps[index]), 6)
    return None if video.frame_rate is None else round(float(index / video.frame_rate), 6)


def _dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _read_track(entry: Any, size: tuple[int, int], num_frames: int, place: str) -> Track:
    segmentations: dict[int, Rle] = {}
    scores: dict[int, float] = {}
    for number, frame in enumerate(require(entry, "frames", list, place)):
        at = f"{place}, frames[{number}]"
        index = require_index(frame, "frame", at)
        if index >= num_frames or index in segmentations:
            raise ValueError(f"{at}: frame {index} comes twice or is beyond the video of {num_frames} frames.")
        segmentations[index] = require_rle(require(frame, "segmentation", dict, at), size, at)
        if frame.get("score") is not None:
            scores[index] = require_score(frame, at)
    return Track(
        require(entry, "id", int, place),
        require_index(entry, "label", place),
        require_score(entry, place),
        segmentations,
        scores,
        require(entry, "is_crowd", bool, place),
    )
