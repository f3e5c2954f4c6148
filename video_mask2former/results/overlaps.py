"""Overlapping masks resolved to one label per pixel."""

from __future__ import annotations

import numpy as np

from video_mask2former.rle import Rle, decode_rle, encode_masks
from video_mask2former.structures import FrameInstances


def resolve_overlaps(masks: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Give each pixel to the best-scored mask that covers it; equal scores go to the earlier mask.

    Args:
        masks: ``(N, H, W)`` bool.
        scores: ``(N,)``.

    Returns:
        Label map ``(H, W)`` int32, 0 where no mask is, ``n + 1`` where mask ``n`` wins.

    Raises:
        ValueError: If the shapes do not fit each other, or a score is not a number.
    """
    masks, scores = np.asarray(masks), np.asarray(scores)
    if masks.ndim != 3 or masks.dtype != np.bool_ or scores.shape != masks.shape[:1]:
        raise ValueError(
            f"masks must be (N, H, W) bool and scores (N,), got {masks.shape} {masks.dtype} and {scores.shape}."
        )
    labels = np.zeros(masks.shape[1:], dtype=np.int32)
    for index in _worst_first(scores):
        labels[masks[index]] = index + 1
    return labels


def label_map(instances: FrameInstances) -> np.ndarray:
    """The frame's label map ``(H, W)`` int32: 0 for background, ``n + 1`` for instance ``n``, best score on top."""
    labels = np.zeros(instances.size, dtype=np.int32)
    for index in _worst_first(np.asarray(instances.scores, dtype=np.float64)):
        labels[_decode_checked(instances, index)] = index + 1
    return labels


def without_overlaps(instances: FrameInstances) -> FrameInstances:
    """The same instances with each pixel left to the best-scored one; those that lose all their pixels are dropped."""
    labels = label_map(instances)
    pixels = np.bincount(labels.ravel(), minlength=len(instances) + 1)[1:]
    kept = [index for index in range(len(instances)) if pixels[index] > 0]
    masks = [encode_masks((labels == index + 1)[None])[0] for index in kept]
    return FrameInstances(
        instances.frame_index,
        instances.size,
        tuple(instances.track_ids[index] for index in kept),
        tuple(instances.labels[index] for index in kept),
        tuple(instances.scores[index] for index in kept),
        tuple(masks),
    )


def _worst_first(scores: np.ndarray) -> list[int]:
    """Drawing order: the best score last, and of equal ones the earliest last."""
    if np.isnan(scores).any():
        raise ValueError(f"scores must be numbers, got NaN at {np.flatnonzero(np.isnan(scores))[:3].tolist()}.")
    return [int(index) for index in np.argsort(-scores, kind="stable")[::-1]]


def _decode_checked(instances: FrameInstances, index: int) -> np.ndarray:
    rle: Rle = instances.segmentations[index]
    if tuple(rle["size"]) != tuple(instances.size):
        raise ValueError(
            f"mask {index} of frame {instances.frame_index} is {tuple(rle['size'])} (height, width), "
            f"the frame is {tuple(instances.size)}."
        )
    return decode_rle(rle)
