"""Mask logits to masks of the original frames, run-length encoded, without ever holding many of them at once.

The published order of operations is kept: upsample to the padded input, crop the padding, resize to the original size,
threshold at zero.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from video_mask2former.mask_logits import MaskLogits
from video_mask2former.rle import Rle, encode_masks, kernels
from video_mask2former.rle.kernels import RleKernels
from video_mask2former.tasks.mask_quality import MaskQuality

# Logits, and copies of the features they are made of, that may exist at once
MAX_CHUNK_BYTES = 128 * 2**20


@dataclass(frozen=True)
class MaskGeometry:
    """How mask logits lie on the original frames; all sizes are (height, width).

    Attributes:
        padded_size: What the logits cover: the frames as the model saw them, padding included.
        frame_size: The frames as the model saw them, at the top left of it.
        output_size: The original frames.
    """

    padded_size: tuple[int, int]
    frame_size: tuple[int, int]
    output_size: tuple[int, int]

    def __post_init__(self) -> None:
        if self.frame_size[0] > self.padded_size[0] or self.frame_size[1] > self.padded_size[1]:
            raise ValueError(f"frame_size must fit into padded_size, got {self.frame_size} and {self.padded_size}.")


def upsample_logits(logits: Tensor, geometry: MaskGeometry, quality: MaskQuality | None = None) -> Tensor:
    """Logits ``(N, T, h, w)`` on the original frames, ``(N, T, *output_size)``; added to ``quality`` on the way."""
    height, width = geometry.frame_size
    logits = _bilinear(logits, geometry.padded_size)[..., :height, :width]
    if quality is not None and quality.size == "model":
        quality.add_all(logits)
    logits = _bilinear(logits, geometry.output_size)
    if quality is not None and quality.size == "original":
        quality.add_all(logits)
    return logits


def upsample_probabilities(logits: Tensor, geometry: MaskGeometry) -> Tensor:
    """Mask probabilities ``(N, H, W)`` of logits ``(N, h, w)``, made between the two resizes."""
    height, width = geometry.frame_size
    logits = _bilinear(logits[:, None], geometry.padded_size)[..., :height, :width]
    return _bilinear(logits.sigmoid(), geometry.output_size)[:, 0]


def encode_clip_masks(
    mask_logits: MaskLogits,
    geometry: MaskGeometry,
    *,
    scores: Sequence[float] | None = None,
    frames_per_chunk: int | None = None,
    quality: MaskQuality | None = None,
) -> Iterator[list[Rle | None]]:
    """Threshold and encode the masks of a clip, frame after frame.

    Args:
        mask_logits: Of a batch of one clip and of the N reported objects only.
        geometry: How they lie on the original frames.
        scores: If given, N of them, each pixel goes to one object at most: that with the greatest product of its
            score and its mask probability there. Otherwise masks may overlap.
        frames_per_chunk: Frames whose logits are multiplied out at once; chosen by memory if None. The result does
            not depend on it.
        quality: Called with the N masks of each frame before the frame is yielded.

    Yields:
        For each frame, the mask of each object, None where it is empty.
    """
    batch, num_instances, num_frames, height, width = mask_logits.shape
    if batch != 1:
        raise ValueError(f"masks are encoded for one clip at a time, got a batch of {batch}.")
    if scores is not None and len(scores) != num_instances:
        raise ValueError(f"scores must be one per object, got {len(scores)} for {num_instances} objects.")
    # A CPU upsamples mask by mask, so only the small logits of a chunk exist; other devices upsample whole chunks
    embeddings = mask_logits.embeddings
    one_by_one = embeddings.device.type == "cpu" and embeddings.dtype != torch.float64
    pixels = height * width if one_by_one else geometry.output_size[0] * geometry.output_size[1]
    # the product needs the features of a chunk with channels first, which is a copy
    num_values = pixels * num_instances + height * width * embeddings.shape[-1]
    chunk = frames_per_chunk or max(1, MAX_CHUNK_BYTES // (4 * num_values))
    compiled = kernels() if one_by_one and scores is None and quality is None else None
    for start in range(0, num_frames, chunk):
        logits = mask_logits.frames(start, min(start + chunk, num_frames)).dense()[0]
        if compiled is not None:
            for index in range(logits.shape[1]):
                yield _encode_small(compiled, logits[:, index], geometry)
            continue
        frames: Iterator[Iterator[np.ndarray | None]]
        if one_by_one:
            frames = (_upsample_each(logits[:, index], geometry, quality) for index in range(logits.shape[1]))
        else:
            frames = _upsample_all(logits, geometry, as_logits=scores is not None, quality=quality)
        for masks in frames:
            yield _encode(masks) if scores is None else _encode_apart(masks, scores)


def _encode_small(compiled: RleKernels, logits: Tensor, geometry: MaskGeometry) -> list[Rle | None]:
    """The masks of one frame from their logits ``(N, h, w)``, without a mask that is not encoded."""
    sizes = (geometry.padded_size, geometry.frame_size, geometry.output_size)
    return compiled.encode_logits(logits.float().numpy(), *sizes, num_threads=torch.get_num_threads())


def _bilinear(maps: Tensor, size: tuple[int, int]) -> Tensor:
    if tuple(maps.shape[-2:]) == tuple(size):
        return maps
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=False)


# Masks of one frame travel below as arrays (W, H), column after column, which is the order RLE counts pixels in; the
# array is None where the mask is known to be empty. They hold logits, or booleans where only the sign is asked for.


def _upsample_each(logits: Tensor, geometry: MaskGeometry, quality: MaskQuality | None) -> Iterator[np.ndarray | None]:
    """Upsample the logits of one frame ``(N, h, w)`` one by one: what fits a cache is several times faster."""
    for index, small in enumerate(logits.float().numpy()):
        if small.max() <= 0:  # interpolation cannot make a positive value of these
            yield None
            continue
        columns = np.ascontiguousarray(small.T)
        columns = _bilinear_cv2(columns, geometry.padded_size)
        columns = columns[: geometry.frame_size[1], : geometry.frame_size[0]]
        if quality is not None and quality.size == "model":
            quality.add(index, columns)
        columns = _bilinear_cv2(columns, geometry.output_size)
        if quality is not None and quality.size == "original":
            quality.add(index, columns)
        yield columns


def _bilinear_cv2(columns: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """As :func:`_bilinear`, of an array (W, H)."""
    if columns.shape == (size[1], size[0]):
        return columns
    return cv2.resize(columns, size, interpolation=cv2.INTER_LINEAR)


def _upsample_all(
    logits: Tensor, geometry: MaskGeometry, *, as_logits: bool, quality: MaskQuality | None
) -> Iterator[Iterator[np.ndarray | None]]:
    """Upsample the logits of a chunk ``(N, T, h, w)`` where they are, and bring them over frame by frame."""
    upsampled = upsample_logits(logits, geometry, quality).transpose(2, 3)  # (N, T, W, H)
    values = upsampled if as_logits else upsampled > 0
    for index in range(values.shape[1]):
        yield iter(values[:, index].contiguous().cpu().numpy())


def _encode(masks: Iterable[np.ndarray | None]) -> list[Rle | None]:
    return [None if columns is None else _encode_one(columns > 0) for columns in masks]


def _encode_apart(masks: Iterable[np.ndarray | None], scores: Sequence[float]) -> list[Rle | None]:
    """Give each pixel to the object with the greatest product of score and mask probability."""
    owner: np.ndarray | None = None
    best: np.ndarray | None = None
    for index, (columns, score) in enumerate(zip(masks, scores, strict=True)):
        if columns is None:
            continue
        if owner is None or best is None:
            owner, best = np.full(columns.shape, -1, np.int32), np.zeros(columns.shape, np.float32)
        inside = columns > 0
        weights = score / (1.0 + np.exp(-columns[inside]))
        is_winner = weights > best[inside]
        won = np.flatnonzero(inside)[is_winner]
        owner.flat[won] = index
        best.flat[won] = weights[is_winner]
    if owner is None:
        return [None] * len(scores)
    return [_encode_one(owner == index) for index in range(len(scores))]


def _encode_one(columns: np.ndarray) -> Rle | None:
    return encode_masks(columns.T[None])[0] if columns.any() else None
