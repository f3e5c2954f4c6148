"""Overlap of mask tracks: exact pixel counts of intersections and unions, frame by frame, from RLE alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from video_mask2former.rle import PackedRles, measure_packed, shared_pixels
from video_mask2former.structures import Track


@dataclass(frozen=True)
class TrackMasks:
    """What is known of the M masks of N tracks, those of a track one after the other, and of P pairs of tracks.

    Attributes:
        owners: Index of the track of each mask, ``(M,)``.
        frames: Its frame, ``(M,)``.
        areas: Its pixels, ``(M,)``.
        boxes: Its tight box as (x, y, width, height), zeros for an empty one, ``(M, 4)``.
        mask_pairs: Indices of the two masks of each pair of tracks on each frame that both are on, ``(S, 2)``.
        pair_of: Which pair of tracks that is, ``(S,)``.
        shared: Pixels that the two masks share, ``(S,)``.
    """

    owners: np.ndarray
    frames: np.ndarray
    areas: np.ndarray
    boxes: np.ndarray
    mask_pairs: np.ndarray
    pair_of: np.ndarray
    shared: np.ndarray

    def sums(self, num_tracks: int) -> np.ndarray:
        """Pixels of each track on all frames, ``(N,)`` int64."""
        return _sums(self.owners, self.areas, num_tracks)

    def shared_sums(self, num_pairs: int) -> np.ndarray:
        """Pixels that each pair of tracks shares on all frames, ``(P,)`` int64."""
        return _sums(self.pair_of, self.shared, num_pairs)


def measure_tracks(tracks: Sequence[Track], pairs: np.ndarray | None = None) -> TrackMasks:
    """Measure all masks of some tracks at once, and what the two tracks of each pair share.

    Args:
        tracks: N tracks of one video.
        pairs: Indices of the tracks of each pair, ``(P, 2)``.

    Raises:
        ValueError: If the masks are not of one size, or one is malformed.
    """
    masks = [PackedRles.of(track.segmentations) for track in tracks]
    owners = np.repeat(np.arange(len(tracks)), [len(part) for part in masks])
    frames = np.concatenate([np.asarray(part.frames, np.int64) for part in masks] or [np.zeros(0, np.int64)])
    pairs = np.zeros((0, 2), np.int64) if pairs is None else pairs
    mask_pairs, pair_of = _pairs_of_masks(owners, frames, pairs, len(tracks))
    areas, boxes = measure_packed(masks)
    return TrackMasks(owners, frames, areas, boxes, mask_pairs, pair_of, shared_pixels(masks, mask_pairs))


def _pairs_of_masks(
    owners: np.ndarray, frames: np.ndarray, pairs: np.ndarray, num_tracks: int
) -> tuple[np.ndarray, np.ndarray]:
    columns, column_of = np.unique(frames, return_inverse=True)
    table = np.full((num_tracks, len(columns)), -1, np.int64)
    table[owners, column_of] = np.arange(len(owners))
    first, second = table[pairs[:, 0]], table[pairs[:, 1]]  # (P, frames)
    is_on_both = (first >= 0) & (second >= 0)
    return np.stack([first[is_on_both], second[is_on_both]], 1), np.nonzero(is_on_both)[0]


def every_pair(first: Sequence[int], second: Sequence[int]) -> np.ndarray:
    """All pairs of an index of the one and one of the other, the second running faster, ``(P, 2)``."""
    rows, columns = np.meshgrid(np.asarray(first, np.int64), np.asarray(second, np.int64), indexing="ij")
    return np.stack([rows.ravel(), columns.ravel()], 1)


def track_areas(tracks: Sequence[Track]) -> list[np.ndarray]:
    """Pixels of each track on each frame it has a mask on (in the order of its ``segmentations``)."""
    measured = measure_tracks(tracks)
    ends = np.cumsum([len(track.segmentations) for track in tracks], dtype=np.int64)
    return np.split(measured.areas, ends[:-1]) if tracks else []


def track_intersections(first: Sequence[Track], second: Sequence[Track]) -> np.ndarray:
    """Pixels shared by every pair of tracks, summed over the frames, ``(len(first), len(second))`` int64."""
    tracks = [*first, *second]
    pairs = every_pair(range(len(first)), range(len(first), len(tracks)))
    return measure_tracks(tracks, pairs).shared_sums(len(pairs)).reshape(len(first), len(second))


def track_iou(first: Sequence[Track], second: Sequence[Track]) -> np.ndarray:
    """IoU of every pair of tracks as volumes in space and time, ``(len(first), len(second))`` float64.

    The sum over the frames of the intersections divided by that of the unions. A frame with only one of the two adds
    its area to the union; where both are empty throughout, the IoU is 0.
    """
    tracks = [*first, *second]
    pairs = every_pair(range(len(first)), range(len(first), len(tracks)))
    return iou_of_pairs(measure_tracks(tracks, pairs), pairs, len(tracks)).reshape(len(first), len(second))


def iou_of_pairs(measured: TrackMasks, pairs: np.ndarray, num_tracks: int) -> np.ndarray:
    """IoU of each of the pairs of tracks that were measured, as :func:`track_iou`, ``(P,)`` float64."""
    volumes, shared = measured.sums(num_tracks), measured.shared_sums(len(pairs))
    return shared / np.maximum(volumes[pairs].sum(1) - shared, 1)


def _sums(groups: np.ndarray, values: np.ndarray, num_groups: int) -> np.ndarray:
    # floats hold whole numbers of up to 2^53 pixels exactly
    sums: np.ndarray = np.bincount(groups, values, minlength=num_groups).astype(np.int64)
    return sums
