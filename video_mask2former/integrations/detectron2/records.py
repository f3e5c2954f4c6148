"""Annotations of detectron2's records to targets, and the transforms that a ``cfg`` asks for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pycocotools import mask as coco_mask
from torch import Tensor

from video_mask2former.data.image_files import read_frames
from video_mask2former.data.segmentations import pack_segmentation, unpack_mask
from video_mask2former.data.transforms import ResizeShortSide, Transform
from video_mask2former.integrations.detectron2.config import convert_cfg
from video_mask2former.recipes.data import build_transform
from video_mask2former.structures import ClipTarget


def transform_of(cfg: Any, *, is_train: bool, is_of_images: bool) -> Transform:
    """What the ``INPUT`` section of a ``cfg`` says is done to clips: the published augmentations, or resizing only.

    Args:
        cfg: A ``CfgNode``.
        is_train: Whether it is for training.
        is_of_images: Whether clips are made of single images, each frame with a camera of its own.
    """
    config = convert_cfg(cfg)
    if is_train:
        return build_transform(config.data, is_of_images=is_of_images)
    return ResizeShortSide([cfg.INPUT.MIN_SIZE_TEST], cfg.INPUT.MAX_SIZE_TEST)


def read_clip(file_names: Sequence[str], size: tuple[int, int]) -> Tensor:
    """Frames ``(T, 3, H, W)`` uint8 RGB of some files; one that comes several times is read once."""
    unique = list(dict.fromkeys(file_names))
    frames = read_frames([Path(name) for name in unique], size)
    return frames[[unique.index(name) for name in file_names]]


def clip_target(frames: Sequence[Sequence[dict[str, Any]]], size: tuple[int, int]) -> ClipTarget:
    """The objects of some frames, by their ids; crowd is none.

    Args:
        frames: The annotations of each frame: ``id`` (their place in the list where they have none), contiguous
            ``category_id``, ``segmentation``.
        size: Height and width.
    """
    rows: dict[int, int] = {}
    labels: list[int] = []
    masks: list[Tensor] = []
    for index, frame in enumerate(frames):
        for place, annotation in enumerate(frame):
            if annotation.get("iscrowd", 0):
                continue
            object_id = int(annotation.get("id", place))
            if object_id not in rows:
                rows[object_id] = len(rows)
                labels.append(int(annotation["category_id"]))
                masks.append(torch.zeros(len(frames), *size, dtype=torch.bool))
            masks[rows[object_id]][index] = torch.from_numpy(decoded(annotation["segmentation"], size))
    stacked = torch.stack(masks) if masks else torch.zeros(0, len(frames), *size, dtype=torch.bool)
    return ClipTarget(torch.tensor(labels, dtype=torch.int64), stacked, torch.tensor(list(rows), dtype=torch.int64))


def decoded(segmentation: Any, size: tuple[int, int]) -> np.ndarray:
    """A mask ``(H, W)`` bool of polygons, an RLE of either kind, or a mask."""
    if isinstance(segmentation, np.ndarray):
        return segmentation.astype(bool)
    if isinstance(segmentation, dict) and isinstance(segmentation["counts"], bytes):
        mask: np.ndarray = coco_mask.decode(segmentation).astype(bool)
        return mask
    return unpack_mask(*pack_segmentation(segmentation, size), size)


def in_format(frames: Tensor, image_format: str) -> Tensor:
    """RGB frames ``(T, 3, H, W)`` in the order of channels that ``INPUT.FORMAT`` names.

    Raises:
        ValueError: If it is neither RGB nor BGR.
    """
    if image_format not in ("RGB", "BGR"):
        raise ValueError(f"INPUT.FORMAT must be RGB or BGR, got {image_format!r}.")
    return frames if image_format == "RGB" else frames.flip(1)


def new_generator() -> np.random.Generator:
    """A generator seeded by NumPy's global one, which detectron2 seeds in each of its workers."""
    return np.random.default_rng(int(np.random.randint(2**31)))
