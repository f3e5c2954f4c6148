"""Records of images to inputs of the image model, under the names of the published mappers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from detectron2.config import configurable
from detectron2.structures import Instances

from video_mask2former.data.label_maps import LabelMapFolder
from video_mask2former.data.panoptic_files import read_segment_ids
from video_mask2former.data.transforms import Transform
from video_mask2former.integrations.detectron2.records import (
    clip_target,
    in_format,
    new_generator,
    read_clip,
    transform_of,
)
from video_mask2former.structures import ClipTarget


class ImageDatasetMapper:
    """One mapper for all kinds of annotations of images; the record tells which it has.

    It has segments (``pan_seg_file_name`` with ``segments_info``), instances (``annotations``) or a class for each
    pixel (``sem_seg_file_name``), looked for in this order.

    Args:
        is_train: Whether it is for training.
        augmentations: What is done to every image.
        image_format: "RGB" or "BGR".
        ignore_label: Value of the pixels of a class map that say nothing.
    """

    @configurable
    def __init__(
        self,
        is_train: bool = True,
        *,
        augmentations: Transform,
        image_format: str = "RGB",
        ignore_label: int = 255,
    ) -> None:
        self.is_train = is_train
        self.augmentations = augmentations
        self.image_format = image_format
        self.ignore_label = ignore_label

    @classmethod
    def from_config(cls, cfg: Any, is_train: bool = True) -> dict[str, Any]:
        """The arguments that a ``cfg`` stands for."""
        return {
            "is_train": is_train,
            "augmentations": transform_of(cfg, is_train=is_train, is_of_images=False),
            "image_format": cfg.INPUT.FORMAT,
            "ignore_label": cfg.MODEL.SEM_SEG_HEAD.IGNORE_VALUE,
        }

    def __call__(self, dataset_dict: Mapping[str, Any]) -> dict[str, Any]:
        """The input that a record makes.

        Returns:
            The record with ``image`` ``(3, H, W)`` uint8, and in training ``instances`` with ``gt_classes`` and
            ``gt_masks`` ``(N, H, W)``; in place of its annotations.

        Raises:
            ValueError: If a record for training has no annotations.
        """
        size = dataset_dict["height"], dataset_dict["width"]
        target = self._target(dataset_dict, size) if self.is_train else clip_target([[]], size)
        frames = read_clip([dataset_dict["file_name"]], size)
        frames, target = self.augmentations(frames, target, new_generator())
        made: dict[str, Any] = {"image": in_format(frames, self.image_format)[0].contiguous()}
        if self.is_train:
            instances = Instances(tuple(frames.shape[2:]))
            instances.gt_classes = target.labels
            instances.gt_masks = target.masks[:, 0]
            made["instances"] = instances
        return {key: value for key, value in dataset_dict.items() if key != "annotations"} | made

    def _target(self, record: Mapping[str, Any], size: tuple[int, int]) -> ClipTarget:
        if "pan_seg_file_name" in record:
            segment_map = read_segment_ids(Path(record["pan_seg_file_name"]))
            segments = [segment for segment in record["segments_info"] if not segment.get("iscrowd", 0)]
            parts = [(int(segment["category_id"]), segment_map == segment["id"]) for segment in segments]
        elif "annotations" in record:
            return clip_target([[{**item, "id": index} for index, item in enumerate(record["annotations"])]], size)
        elif "sem_seg_file_name" in record:
            path = Path(record["sem_seg_file_name"])
            label_map = LabelMapFolder(path.parent).read(path.stem)
            labels = sorted(set(label_map.flatten().tolist()) - {self.ignore_label})
            parts = [(label, label_map == label) for label in labels]
        else:
            raise ValueError(
                "a record for training must have 'annotations', 'pan_seg_file_name' or 'sem_seg_file_name', got "
                f"{sorted(record)}."
            )
        masks = [torch.as_tensor(mask)[None] for _, mask in parts]
        stacked = torch.stack(masks) if masks else torch.zeros(0, 1, *size, dtype=torch.bool)
        return ClipTarget(torch.tensor([label for label, _ in parts], dtype=torch.int64), stacked)


class MaskFormerInstanceDatasetMapper(ImageDatasetMapper):
    """Of images with instances."""


class MaskFormerPanopticDatasetMapper(ImageDatasetMapper):
    """Of images with segments."""


class MaskFormerSemanticDatasetMapper(ImageDatasetMapper):
    """Of images with a class for each pixel."""


class COCOInstanceNewBaselineDatasetMapper(ImageDatasetMapper):
    """Of images with instances, with large-scale jitter (``INPUT.DATASET_MAPPER_NAME`` ends in ``_lsj``)."""


class COCOPanopticNewBaselineDatasetMapper(ImageDatasetMapper):
    """Of images with segments, with large-scale jitter."""
