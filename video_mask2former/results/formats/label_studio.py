"""Label Studio: a task with predictions, to be imported beside the labelling configuration that is in the file.

Polygons are regions of ``VideoVectorLabels``, which Label Studio Enterprise and its cloud have. The open-source
edition has boxes, ``VideoRectangle``, only.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from xml.sax.saxutils import quoteattr

import numpy as np

from video_mask2former._version import __version__
from video_mask2former.atomic import atomic_path
from video_mask2former.outlines import mask_outlines
from video_mask2former.results.formats.cvat import EDITABLE_TOLERANCE
from video_mask2former.results.formats.frame_files import class_list
from video_mask2former.rle import Rle, rle_box
from video_mask2former.structures import Track, VideoInstances

CONTROL, OBJECT, BOX_CONTROL = "objects", "video", "box"

# The sequence of a shape, one key frame of it a mask
Shapes = list[dict[int, dict[str, Any]]]


def write_label_studio(
    video: VideoInstances,
    path: str | os.PathLike[str],
    frame_indices: Sequence[int] | None = None,
    *,
    tolerance: float = EDITABLE_TOLERANCE,
) -> None:
    """Write the tracks of a video as polygons for Label Studio, and ``PATH.config.xml`` to set up a project with.

    Each part of a mask is a region: those of track 3 are ``track-3``, ``track-3-2``, ... Holes are joined to the
    outline by a slit.

    Args:
        video: The tracks; ``source`` is what the task has as its video: replace it by an address that the browser can
            read.
        path: JSON file to write.
        frame_indices: The frames that were looked at; None is all. Between two of them Label Studio interpolates.
        tolerance: How far, in pixels, a polygon may be off the edge of its mask; 0.2 is exact, with many points.
    """

    def shapes(track: Track, frames: Sequence[int]) -> Shapes:
        return _polygon_shapes(track, frames, video.size, tolerance)

    header = {"from_name": CONTROL, "type": "videovectorlabels"}
    _write(video, path, frame_indices, shapes, header, _config(video, "VideoVectorLabels", ' closable="true"'))


def write_label_studio_boxes(
    video: VideoInstances, path: str | os.PathLike[str], frame_indices: Sequence[int] | None = None
) -> None:
    """Write the boxes of tracks for Label Studio, and ``PATH.config.xml``; arguments of :func:`write_label_studio`."""

    def shapes(track: Track, frames: Sequence[int]) -> Shapes:
        found = {index: track.segmentations[index] for index in frames if index in track.segmentations}
        return [{index: _box(rle, video.size) for index, rle in found.items()}]

    config = _config(video, "Labels", "", f'  <VideoRectangle name="{BOX_CONTROL}" toName="{OBJECT}"/>\n')
    _write(video, path, frame_indices, shapes, {"from_name": BOX_CONTROL, "type": "videorectangle"}, config)


def _write(
    video: VideoInstances,
    path: str | os.PathLike[str],
    frame_indices: Sequence[int] | None,
    shapes_of: Callable[[Track, Sequence[int]], Shapes],
    header: dict[str, str],
    config: str,
) -> None:
    looked_at = range(video.num_frames) if frame_indices is None else frame_indices
    regions = []
    for track in video.tracks:
        for number, shapes in enumerate(shapes_of(track, looked_at), start=1):
            if shapes:
                region_id = f"track-{track.track_id}" + (f"-{number}" if number > 1 else "")
                regions.append(_region(video, track, region_id, list(_sequence(video, shapes, looked_at)), header))
    scores = [track.score for track in video.tracks]
    prediction = {
        "model_version": f"video-mask2former {__version__}",
        "score": float(np.mean(scores)) if scores else 0.0,
        "result": regions,
    }
    task = {"data": {OBJECT: video.source or ""}, "predictions": [prediction]}
    with atomic_path(f"{os.fspath(path)}.config.xml") as temporary:
        temporary.write_text(config, encoding="utf-8")
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps([task], separators=(",", ":")), encoding="utf-8")


def _region(
    video: VideoInstances, track: Track, region_id: str, sequence: list[dict[str, Any]], header: dict[str, str]
) -> dict[str, Any]:
    rate = video.frame_rate
    duration = {} if rate is None else {"duration": float(video.num_frames / rate)}
    value = {"framesCount": video.num_frames, **duration, "sequence": sequence, "labels": [video.class_name(track)]}
    return {
        "id": region_id,
        **header,
        "to_name": OBJECT,
        "original_height": video.size[0],
        "original_width": video.size[1],
        "image_rotation": 0,
        "score": track.score,
        "value": value,
    }


def _sequence(
    video: VideoInstances, shapes: dict[int, dict[str, Any]], frame_indices: Sequence[int]
) -> Iterator[dict[str, Any]]:
    """Key frames, counted from 1. A shape lives on after one that is enabled, so the last before a gap is not."""
    for position, index in enumerate(frame_indices):
        if index not in shapes:
            continue
        following = frame_indices[position + 1] if position + 1 < len(frame_indices) else None
        time = {} if video.frame_rate is None else {"time": float(index / video.frame_rate)}
        yield {"frame": index + 1, "enabled": following in shapes, **time, **shapes[index]}


def _polygon_shapes(track: Track, frame_indices: Sequence[int], size: tuple[int, int], tolerance: float) -> Shapes:
    parts: Shapes = []
    to_percent = 100 / np.array([size[1], size[0]])
    for index in frame_indices:
        rle = track.segmentations.get(index)
        for number, polygon in enumerate([] if rle is None else mask_outlines(rle, tolerance)):
            if number == len(parts):
                parts.append({})
            parts[number][index] = {"closed": True, "vertices": _vertices(polygon * to_percent)}
    return parts


def _vertices(points: np.ndarray) -> list[dict[str, Any]]:
    vertices: list[dict[str, Any]] = []
    for number, (x, y) in enumerate(points):
        before = {"prevPointId": f"p{number - 1}"} if number else {}
        vertices.append({"id": f"p{number}", "x": round(x, 4), "y": round(y, 4), "isBezier": False, **before})
    return vertices


def _box(rle: Rle, size: tuple[int, int]) -> dict[str, Any]:
    x, y, width, height = rle_box(rle)
    across, down = 100 / size[1], 100 / size[0]
    return {"x": x * across, "y": y * down, "width": width * across, "height": height * down, "rotation": 0}


def _config(video: VideoInstances, tag: str, options: str, more: str = "") -> str:
    rate = "" if video.frame_rate is None else f' frameRate="{float(video.frame_rate):.3f}"'
    labels = "".join(f"    <Label value={quoteattr(name)}/>\n" for name in class_list(video))
    return (
        f'<View>\n  <Video name="{OBJECT}" value="${OBJECT}"{rate}/>\n{more}'
        f'  <{tag} name="{CONTROL}" toName="{OBJECT}"{options}>\n{labels}  </{tag}>\n</View>\n'
    )
