"""Overlap of mask tracks: exact pixel counts of intersections and unions, frame by frame, from RLE alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from video_mask2former.rle import Rle, rle_areas, rle_intersections
from video_mask2former.structures import Track


def track_areas(tracks: Sequence[Track]) -> list[np.ndarray]:
    """Pixels of each track on each frame it has a mask on (in the order of its ``segmentations``)."""
    areas = rle_areas([rle for track in tracks for rle in track.segmentations.values()])
    ends = np.cumsum([len(track.segmentations) for track in tracks], dtype=np.int64)
    return np.split(areas, ends[:-1]) if tracks else []


def track_intersections(first: Sequence[Track], second: Sequence[Track]) -> np.ndarray:
    """Pixels shared by every pair of tracks, summed over the frames, ``(len(first), len(second))`` int64."""
    shared = np.zeros((len(first), len(second)), np.int64)
    first_masks, second_masks = masks_by_frame(first), masks_by_frame(second)
    for frame_index, (rows, row_masks) in first_masks.items():
        if frame_index in second_masks:
            columns, column_masks = second_masks[frame_index]
            shared[np.ix_(rows, columns)] += rle_intersections(row_masks, column_masks)
    return shared


def track_iou(first: Sequence[Track], second: Sequence[Track]) -> np.ndarray:
    """IoU of every pair of tracks as volumes in space and time, ``(len(first), len(second))`` float64.

    The sum over the frames of the intersections divided by that of the unions. A frame with only one of the two adds
    its area to the union; where both are empty throughout, the IoU is 0.
    """
    if not first or not second:
        return np.zeros((len(first), len(second)))
    shared = track_intersections(first, second)
    first_areas = np.array([areas.sum() for areas in track_areas(first)])
    second_areas = np.array([areas.sum() for areas in track_areas(second)])
    union = first_areas[:, None] + second_areas[None] - shared
    return shared / np.maximum(union, 1)


def masks_by_frame(tracks: Sequence[Track]) -> Mapping[int, tuple[list[int], list[Rle]]]:
    """Frame index to the indices of the tracks that have a mask there, and those masks."""
    frames: dict[int, tuple[list[int], list[Rle]]] = {}
    for index, track in enumerate(tracks):
        for frame_index, rle in track.segmentations.items():
            indices, masks = frames.setdefault(frame_index, ([], []))
            indices.append(index)
            masks.append(rle)
    return frames
