"""What the image model answers, in detectron2's form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from detectron2.structures import Boxes, Instances

from video_mask2former.config import InferenceSettings
from video_mask2former.rle import decode_rle
from video_mask2former.structures import ClipOutput
from video_mask2former.tasks.postprocess import image_instances, image_panoptic, image_semantic

ImageTask = Literal["semantic", "instance", "panoptic"]


@dataclass(frozen=True)
class ImageAnswers:
    """Makes the answers that are asked for; attributes as in :class:`MaskFormer`."""

    tasks: tuple[ImageTask, ...]
    thing_classes: frozenset[int]
    top_k: int
    object_mask_threshold: float
    overlap_threshold: float
    resize_scores: bool = False
    fill: bool = False

    def __call__(self, output: ClipOutput, size: tuple[int, int]) -> dict[str, Any]:
        """The answers for an image.

        Args:
            output: A batch of one clip of one frame.
            size: Height and width that they are wanted at.
        """
        answers: dict[str, Any] = {}
        if "semantic" in self.tasks:
            answers["sem_seg"] = image_semantic(output, size, resize_scores=self.resize_scores)
        if "panoptic" in self.tasks:
            answers["panoptic_seg"] = self._panoptic(output, size)
        if "instance" in self.tasks:
            answers["instances"] = self._instances(output, size)
        return answers

    def _panoptic(self, output: ClipOutput, size: tuple[int, int]) -> tuple[torch.Tensor, list[dict[str, Any]]]:
        found = image_panoptic(
            output,
            size,
            self.thing_classes,
            object_mask_threshold=self.object_mask_threshold,
            overlap_threshold=self.overlap_threshold,
            fill=self.fill,
        )
        segments = [
            {"id": segment.segment_id, "isthing": segment.is_thing, "category_id": segment.label}
            for segment in found.segments
        ]
        return found.label_map.to(output.class_logits.device), segments

    def _instances(self, output: ClipOutput, size: tuple[int, int]) -> Any:
        settings = InferenceSettings.published(top_k=self.top_k)
        found = image_instances(output, size, settings)
        device = output.class_logits.device
        masks = torch.stack([torch.from_numpy(decode_rle(rle)) for rle in found.segmentations]).to(device).float()
        labels = torch.tensor(found.labels, device=device)
        scores = torch.tensor(found.scores, device=device)
        if "panoptic" in self.tasks:  # classes without countable objects have no instances
            is_thing = torch.tensor([label in self.thing_classes for label in found.labels], device=device)
            masks, labels, scores = masks[is_thing], labels[is_thing], scores[is_thing]
        result = Instances(size)
        result.pred_masks = masks
        result.pred_boxes = Boxes(torch.zeros(len(masks), 4, device=device))
        result.scores = scores
        result.pred_classes = labels
        return result
