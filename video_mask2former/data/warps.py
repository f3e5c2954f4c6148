"""Rotation of clips, and a random camera for images: affine maps of frames and masks."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from torch import Tensor

from video_mask2former.data.transforms import FILL_VALUE
from video_mask2former.structures import ClipTarget


class RandomRotation:
    """Turn the whole clip about its centre by one random angle; corners that nothing covers become grey.

    Args:
        max_degrees: Largest angle, either way.
    """

    def __init__(self, max_degrees: float) -> None:
        self.max_degrees = max_degrees

    def __call__(self, frames: Tensor, target: ClipTarget, rng: np.random.Generator) -> tuple[Tensor, ClipTarget]:
        degrees = rng.uniform(-self.max_degrees, self.max_degrees)
        matrix = window_matrix(frames.shape[2], frames.shape[3], degrees, 1.0, (0.5, 0.5))
        return warp_clip(frames, target, [matrix] * frames.shape[0])


class RandomCameraPerFrame:
    """Give every frame a random rotation and a random window of its own, resized to the full frame.

    It makes a clip of one image repeated T times: the instances move, turn and change their size.

    Args:
        max_degrees: Largest rotation, either way.
        min_window: Smallest side of the window, as a share of the frame's.
    """

    def __init__(self, max_degrees: float, min_window: float) -> None:
        if not 0 < min_window <= 1:
            raise ValueError(f"min_window must be in (0, 1], got {min_window}.")
        self.max_degrees = max_degrees
        self.min_window = min_window

    def __call__(self, frames: Tensor, target: ClipTarget, rng: np.random.Generator) -> tuple[Tensor, ClipTarget]:
        height, width = frames.shape[2:]
        matrices = [
            window_matrix(
                height,
                width,
                degrees=rng.uniform(-self.max_degrees, self.max_degrees),
                share=rng.uniform(self.min_window, 1.0),
                position=(rng.random(), rng.random()),
            )
            for _ in range(frames.shape[0])
        ]
        return warp_clip(frames, target, matrices)


def window_matrix(height: int, width: int, degrees: float, share: float, position: tuple[float, float]) -> np.ndarray:
    """The map that turns a frame about its centre, then enlarges a window of it to the full frame.

    Args:
        height: Of the frame.
        width: Of the frame.
        degrees: Angle, counter-clockwise as seen.
        share: Side of the window as a share of the frame's.
        position: Where the window is, (x, y) from 0 (left, top) to 1 (right, bottom).

    Returns:
        ``(2, 3)`` from source to result, in pixel indices (x, y).
    """
    centre = ((width - 1) / 2, (height - 1) / 2)
    matrix = cv2.getRotationMatrix2D(centre, degrees, 1.0)
    for axis, side in enumerate((width, height)):
        start = position[axis] * (1 - share) * side
        # Pixel x covers x to x + 1, so a window enlarges about the edge -0.5 of pixel indices.
        matrix[axis] /= share
        matrix[axis, 2] += (0.5 - start) / share - 0.5
    return np.asarray(matrix)


def warp_clip(frames: Tensor, target: ClipTarget, matrices: Sequence[np.ndarray]) -> tuple[Tensor, ClipTarget]:
    """Map every frame and its masks by a matrix ``(2, 3)`` of its own; frames bilinear, masks nearest."""
    height, width = frames.shape[2:]
    pixels = frames.permute(0, 2, 3, 1).numpy()
    warped = [
        cv2.warpAffine(
            frame, matrix, (width, height), flags=cv2.INTER_LINEAR, borderValue=(FILL_VALUE, FILL_VALUE, FILL_VALUE)
        )
        for frame, matrix in zip(pixels, matrices, strict=True)
    ]
    target = target.map_masks(lambda masks: _warp_masks(masks, matrices))
    return torch.from_numpy(np.stack(warped)).permute(0, 3, 1, 2), target


def _warp_masks(masks: Tensor, matrices: Sequence[np.ndarray]) -> Tensor:
    height, width = masks.shape[2:]
    warped = torch.zeros_like(masks, memory_format=torch.contiguous_format)
    for frame_index, matrix in enumerate(matrices):
        for instance in torch.nonzero(masks[:, frame_index].flatten(1).any(dim=1)).flatten().tolist():
            mask = masks[instance, frame_index].contiguous().view(torch.uint8).numpy()
            turned = cv2.warpAffine(mask, matrix, (width, height), flags=cv2.INTER_NEAREST)
            warped[instance, frame_index] = torch.from_numpy(turned).view(torch.bool)
    return warped
