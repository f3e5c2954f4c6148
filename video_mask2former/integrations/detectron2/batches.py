"""detectron2's input dicts to clips and targets, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from detectron2.structures import BitMasks, Boxes, Instances
from torch import Tensor

from video_mask2former.structures import ClipTarget

Record = Mapping[str, Any]


def clips_of(batch: Sequence[Record], fill: Tensor) -> list[Tensor]:
    """The clip ``(T, 3, H, W)`` of each input; an image is a clip of one frame.

    Args:
        batch: Inputs whose ``image`` is a tensor ``(3, H, W)`` or a list of them. Frames of one clip that differ in
            size, as some published augmentations make them, are padded on the right and below.
        fill: What they are padded with, ``(3, 1, 1)``: the mean of the model, so that it becomes zero.

    Raises:
        ValueError: If an input has no image.
    """
    return [_clip(_frames_of(record), fill) for record in batch]


def targets_of(batch: Sequence[Record], clips: Sequence[Tensor]) -> list[ClipTarget]:
    """The annotated instances of each input, on the device of the clips.

    The rows of all ``instances`` of a clip are the same objects; ``gt_ids`` of -1 says that one is not on a frame. An
    object has one class in the clip, that of a frame that it is on.

    Raises:
        ValueError: If an input has no instances, or not one for each frame.
    """
    return [_target(record, clip) for record, clip in zip(batch, clips, strict=True)]


def to_instances(target: ClipTarget, frame: int, num_classes: int) -> Any:
    """One frame of a target as ``Instances``; an object that is not on it has class ``num_classes`` and id -1.

    Args:
        target: The objects of a clip.
        frame: Which of its frames.
        num_classes: K.
    """
    masks = target.masks[:, frame]
    is_seen = masks.flatten(1).any(dim=1)
    ids = torch.arange(len(target)) if target.instance_ids is None else target.instance_ids
    instances = Instances(tuple(masks.shape[1:]))
    instances.gt_classes = torch.where(is_seen, target.labels, num_classes)
    instances.gt_ids = torch.where(is_seen, ids, -1)
    instances.gt_masks = BitMasks(masks)
    instances.gt_boxes = Boxes(boxes_of(masks))
    return instances


def boxes_of(masks: Tensor) -> Tensor:
    """The box around each mask ``(N, H, W)``, x and y of two corners, ``(N, 4)``; zeros where it is empty."""
    boxes = torch.zeros(len(masks), 4)
    for box, mask in zip(boxes, masks, strict=True):
        rows, columns = mask.any(dim=1).nonzero()[:, 0], mask.any(dim=0).nonzero()[:, 0]
        if len(rows):
            box[:] = torch.stack([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
    return boxes


def output_size_of(record: Record, frame_size: tuple[int, int]) -> tuple[int, int]:
    """Height and width that results are wanted at; those of the input where it does not say."""
    return int(record.get("height", frame_size[0])), int(record.get("width", frame_size[1]))


def _frames_of(record: Record) -> list[Tensor]:
    frames = record.get("image")
    if frames is None or len(frames) == 0:
        raise ValueError(f"an input must have an 'image': a tensor (3, H, W) or a list of them, got {sorted(record)}.")
    return [frames] if isinstance(frames, Tensor) else list(frames)


def _clip(frames: list[Tensor], fill: Tensor) -> Tensor:
    sizes = {tuple(frame.shape[-2:]) for frame in frames}
    if len(sizes) == 1:
        return torch.stack(frames)
    height, width = (max(size[axis] for size in sizes) for axis in (0, 1))
    clip = fill.to(frames[0].device).expand(len(frames), 3, height, width).clone()
    for place, frame in zip(clip, frames, strict=True):
        place[:, : frame.shape[1], : frame.shape[2]] = frame
    return clip


def _target(record: Record, clip: Tensor) -> ClipTarget:
    instances = record.get("instances")
    if instances is None:
        raise ValueError(f"training needs 'instances' in every input, got {sorted(record)}.")
    frames = [instances] if isinstance(instances, Instances) else list(instances)
    if len(frames) != len(clip) or len({len(frame) for frame in frames}) > 1:
        raise ValueError(
            f"'instances' must be one for each of the {len(clip)} frames, with the same objects in every one, got "
            f"{len(frames)} with {[len(frame) for frame in frames]} objects."
        )
    size = (clip.shape[2], clip.shape[3])
    masks = torch.stack([_masks(frame, size) for frame in frames], dim=1)  # (N, T, H, W)
    labels = torch.stack([frame.gt_classes.cpu() for frame in frames], dim=1)
    if all(frame.has("gt_ids") for frame in frames):
        is_there = torch.stack([frame.gt_ids.cpu() for frame in frames], dim=1) != -1
    else:
        is_there = torch.ones_like(labels, dtype=torch.bool)
    kept = is_there.any(dim=1)
    first = is_there.int().argmax(dim=1, keepdim=True)
    return ClipTarget(labels.gather(1, first)[kept, 0], masks[kept]).to(clip.device)


def _masks(frame: Any, size: tuple[int, int]) -> Tensor:
    """The masks of one frame ``(N, H, W)``, padded to the size of the clip."""
    masks = frame.gt_masks
    tensor: Tensor = masks if isinstance(masks, Tensor) else masks.tensor
    return F.pad(tensor.bool().cpu(), (0, size[1] - tensor.shape[2], 0, size[0] - tensor.shape[1]))
