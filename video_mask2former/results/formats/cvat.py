"""CVAT for video 1.1: tracks of polygons, which CVAT imports, shows and lets people edit.

CVAT takes masks, too, but keeps only the first one of a track.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from xml.sax.saxutils import escape, quoteattr

import numpy as np

from video_mask2former.atomic import atomic_path
from video_mask2former.outlines import mask_outlines
from video_mask2former.results.formats.frame_files import class_list, video_name
from video_mask2former.structures import Track, VideoInstances

EDITABLE_TOLERANCE = 1.0
"""Pixels that a polygon may be off: few points, which people can move."""


def write_cvat(
    video: VideoInstances,
    path: str | os.PathLike[str],
    frame_indices: Sequence[int] | None = None,
    *,
    tolerance: float = EDITABLE_TOLERANCE,
) -> None:
    """Write the tracks of a video as polygons; in CVAT: Upload annotations, "CVAT 1.1".

    A CVAT track has one polygon a frame. Where a mask has several parts, each further one is a track of its own, and
    the tracks of an object are a group; holes are joined to the outline by a slit. Scores are not kept.

    Args:
        video: The tracks.
        path: XML file to write.
        frame_indices: The frames that were looked at; None is all. Between two of them CVAT interpolates.
        tolerance: How far, in pixels, a polygon may be off the edge of its mask; 0.2 is exact, with many points.
    """
    looked_at = range(video.num_frames) if frame_indices is None else frame_indices
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.write('<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n  <version>1.1</version>\n')
        file.write(_meta(video))
        track_id = 0
        for group, track in enumerate(video.tracks, start=1):
            parts = _parts(track, looked_at, tolerance)
            name = quoteattr(video.class_name(track))
            for shapes in parts:
                group_id = f' group_id="{group}"' if len(parts) > 1 else ""
                file.write(f'  <track id="{track_id}" label={name} source="auto"{group_id}>\n')
                file.writelines(_polygons(shapes, looked_at))
                file.write("  </track>\n")
                track_id += 1
        file.write("</annotations>\n")


def _meta(video: VideoInstances) -> str:
    labels = "".join(
        f"        <label><name>{escape(name)}</name><type>any</type><attributes></attributes></label>\n"
        for name in class_list(video)
    )
    height, width = video.size
    return (
        "  <meta>\n    <task>\n"
        f"      <name>{escape(video_name(video))}</name>\n      <size>{video.num_frames}</size>\n"
        f"      <mode>interpolation</mode>\n      <start_frame>0</start_frame>\n"
        f"      <stop_frame>{video.num_frames - 1}</stop_frame>\n      <labels>\n{labels}      </labels>\n"
        f"      <original_size><width>{width}</width><height>{height}</height></original_size>\n"
        "    </task>\n  </meta>\n"
    )


def _parts(track: Track, frame_indices: Sequence[int], tolerance: float) -> list[dict[int, np.ndarray]]:
    """The polygons of a track by frame: the largest part of each mask, then the second largest, and so on."""
    parts: list[dict[int, np.ndarray]] = []
    for index in frame_indices:
        rle = track.segmentations.get(index)
        for number, polygon in enumerate([] if rle is None else mask_outlines(rle, tolerance)):
            if number == len(parts):
                parts.append({})
            parts[number][index] = polygon
    return parts


def _polygons(shapes: dict[int, np.ndarray], frame_indices: Sequence[int]) -> Iterator[str]:
    """A key frame wherever the part is, and one that takes it out of sight where it no longer is."""
    last: np.ndarray | None = None
    for index in frame_indices:
        shape = shapes.get(index)
        if shape is not None:
            yield _polygon(index, shape, is_outside=False)
        elif last is not None:
            yield _polygon(index, last, is_outside=True)
        last = shape


def _polygon(frame_index: int, points: np.ndarray, *, is_outside: bool) -> str:
    text = ";".join(f"{x:.2f},{y:.2f}" for x, y in points)
    return (
        f'    <polygon frame="{frame_index}" keyframe="1" outside="{int(is_outside)}" occluded="0" '
        f'points="{text}" z_order="0"></polygon>\n'
    )
