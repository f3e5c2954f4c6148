"""The outlines of masks as polygons, for the tools that draw and edit nothing else."""

from __future__ import annotations

import cv2
import numpy as np

from video_mask2former.rle import Rle, decode_box, rle_area, rle_box

EXACT_TOLERANCE = 0.2
"""Pixels. Outlines run a quarter of a pixel inside the edges of a mask, so that this changes no pixel."""


def mask_outlines(rle: Rle, tolerance: float = EXACT_TOLERANCE) -> list[np.ndarray]:
    """The outline of each part of a mask, the largest first: (x, y) of P points each, 3 or more, ``(P, 2)`` float64.

    A pixel (x, y) covers x to x + 1 and y to y + 1, as in COCO and in CVAT. Parts that touch at a corner are one. Holes
    are joined to the outline by a slit without width, so that one polygon, filled by any rule, is the part with its
    holes.

    Args:
        rle: The mask; an empty one has no outline.
        tolerance: How far, in pixels, a polygon may be off its outline in favour of fewer points. Up to
            ``EXACT_TOLERANCE`` it covers the centres of the pixels of the mask and of no others.

    Raises:
        ValueError: If the tolerance is negative.
    """
    if not tolerance >= 0:
        raise ValueError(f"tolerance must be 0 or more pixels, got {tolerance}.")
    if not rle_area(rle):
        return []
    x, y, width, height = (int(value) for value in rle_box(rle))
    pixels = decode_box(rle, (x, y, width, height)).view(np.uint8)
    # at twice the size an outline through the centres of its pixels is a quarter of a pixel inside the edge
    doubled = pixels.repeat(2, axis=0).repeat(2, axis=1)
    found, tree = cv2.findContours(doubled, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    outlines = [_simplified(contour[:, 0], 2 * tolerance) for contour in found]
    parts = {index: outline for index, outline in enumerate(outlines) if tree[0][index][3] < 0}
    for index, outline in enumerate(outlines):
        parent = int(tree[0][index][3])
        if parent >= 0:
            parts[parent] = _with_hole(parts[parent], outline)
    offset = np.array([x, y], np.float64)
    polygons = [(points + 0.5) / 2 + offset for points in parts.values()]
    return sorted(polygons, key=polygon_area, reverse=True)


def polygon_area(points: np.ndarray) -> float:
    """Area of a polygon ``(P, 2)``, in square pixels."""
    x, y = points.T
    return float(abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2)


def _simplified(points: np.ndarray, tolerance: float) -> np.ndarray:
    simple = cv2.approxPolyDP(points.astype(np.float32), tolerance, True)[:, 0]
    return (simple if len(simple) >= 3 else points).astype(np.float64)


def _with_hole(outline: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """One polygon that goes around the outline, over to the hole at its nearest point, around it, and back."""
    distances = ((outline[:, None] - hole[None]) ** 2).sum(axis=2)
    at, near = np.unravel_index(distances.argmin(), distances.shape)
    around = np.roll(hole, -int(near), axis=0)
    return np.concatenate([outline[: at + 1], around, around[:1], outline[at:]])
