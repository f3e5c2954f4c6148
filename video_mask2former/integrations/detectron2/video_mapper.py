"""Records of videos, and of images that become clips, to inputs of the video models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from detectron2.config import configurable
from torch import Tensor

from video_mask2former.data.frame_sampler import sample_around
from video_mask2former.data.transforms import Transform
from video_mask2former.integrations.detectron2.batches import to_instances
from video_mask2former.integrations.detectron2.records import (
    clip_target,
    in_format,
    new_generator,
    read_clip,
    transform_of,
)
from video_mask2former.structures import ClipTarget


class YTVISDatasetMapper:
    """A random clip of a video in training, the whole video otherwise.

    All frames of a clip are changed alike: one size, one flip.

    Args:
        is_train: Whether it is for training.
        augmentations: What is done to every clip.
        image_format: "RGB" or "BGR".
        sampling_frame_num: Frames of a clip, T.
        sampling_frame_range: Farthest frame from the reference frame, on either side.
        num_classes: K, the class of an object on the frames that it is not on.
    """

    @configurable
    def __init__(
        self,
        is_train: bool = True,
        *,
        augmentations: Transform,
        image_format: str = "RGB",
        sampling_frame_num: int = 2,
        sampling_frame_range: int = 20,
        num_classes: int = 40,
    ) -> None:
        self.is_train = is_train
        self.augmentations = augmentations
        self.image_format = image_format
        self.sampling_frame_num = sampling_frame_num
        self.sampling_frame_range = sampling_frame_range
        self.num_classes = num_classes

    @classmethod
    def from_config(cls, cfg: Any, is_train: bool = True) -> dict[str, Any]:
        """The arguments that a ``cfg`` stands for."""
        return {
            "is_train": is_train,
            "augmentations": transform_of(cfg, is_train=is_train, is_of_images=False),
            "image_format": cfg.INPUT.FORMAT,
            "sampling_frame_num": cfg.INPUT.SAMPLING_FRAME_NUM,
            "sampling_frame_range": cfg.INPUT.SAMPLING_FRAME_RANGE,
            "num_classes": cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES,
        }

    def __call__(self, dataset_dict: Mapping[str, Any]) -> dict[str, Any]:
        """The input that a record of :func:`load_ytvis_json` makes.

        Returns:
            The record with ``image``, a list of T frames ``(3, H, W)`` uint8, and in training ``instances``, a list of
            T; in place of its annotations.
        """
        names, annotations = dataset_dict["file_names"], dataset_dict.get("annotations")
        rng = new_generator()
        indices = tuple(range(len(names)))
        if self.is_train:
            indices = sample_around(len(names), self.sampling_frame_num, self.sampling_frame_range, rng)
        size = dataset_dict["height"], dataset_dict["width"]
        frames = read_clip([names[index] for index in indices], size)
        shown = [annotations[index] if self.is_train and annotations else [] for index in indices]
        frames, target = self.augmentations(frames, clip_target(shown, size), rng)
        kept = {key: value for key, value in dataset_dict.items() if key != "annotations"}
        made = _video_input(in_format(frames, self.image_format), target if self.is_train else None, self.num_classes)
        return kept | made | {"file_names": [names[index] for index in indices], "frame_indices": list(indices)}


class CocoClipDatasetMapper:
    """A clip made of one image, with a camera that moves from frame to frame, in training; the image otherwise.

    Args:
        is_train: Whether it is for training.
        augmentations: What is done to every clip.
        image_format: "RGB" or "BGR".
        sampling_frame_num: Frames of a clip, T.
        num_classes: K, the class of an object on the frames that it is not on.
    """

    @configurable
    def __init__(
        self,
        is_train: bool = True,
        *,
        augmentations: Transform,
        image_format: str = "RGB",
        sampling_frame_num: int = 2,
        num_classes: int = 80,
    ) -> None:
        self.is_train = is_train
        self.augmentations = augmentations
        self.image_format = image_format
        self.sampling_frame_num = sampling_frame_num
        self.num_classes = num_classes

    @classmethod
    def from_config(cls, cfg: Any, is_train: bool = True) -> dict[str, Any]:
        """The arguments that a ``cfg`` stands for."""
        return {
            "is_train": is_train,
            "augmentations": transform_of(cfg, is_train=is_train, is_of_images=True),
            "image_format": cfg.INPUT.FORMAT,
            "sampling_frame_num": cfg.INPUT.SAMPLING_FRAME_NUM,
            "num_classes": cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES,
        }

    def __call__(self, dataset_dict: Mapping[str, Any]) -> dict[str, Any]:
        """The input that a record of an image makes; see :meth:`YTVISDatasetMapper.__call__`."""
        num_frames = self.sampling_frame_num if self.is_train else 1
        names, size = [dataset_dict["file_name"]] * num_frames, (dataset_dict["height"], dataset_dict["width"])
        annotations = dataset_dict.get("annotations") if self.is_train else None
        numbered = [{**annotation, "id": index} for index, annotation in enumerate(annotations or [])]
        target = clip_target([numbered] * num_frames, size)
        frames, target = self.augmentations(read_clip(names, size), target, new_generator())
        kept = {key: value for key, value in dataset_dict.items() if key not in ("annotations", "file_name")}
        made = _video_input(in_format(frames, self.image_format), target if self.is_train else None, self.num_classes)
        return kept | made | {"file_names": names, "length": num_frames}


def _video_input(frames: Tensor, target: ClipTarget | None, num_classes: int) -> dict[str, Any]:
    instances = [] if target is None else [to_instances(target, index, num_classes) for index in range(len(frames))]
    return {"image": [frame.contiguous() for frame in frames], "instances": instances}
