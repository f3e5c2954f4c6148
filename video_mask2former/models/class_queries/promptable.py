"""Class-agnostic masks from promptable models of Hugging Face's transformers: SAM and SAM 2, always frozen."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from video_mask2former.option_values import PositiveInt, Share

# Of cv2.floodFill: the number of neighbours, and the value of the mask, eight bits up
_EIGHT_NEIGHBOURS = 8
_FILL_WITH_ONE = 1 << 8


@dataclass(frozen=True)
class PromptedMasks:
    """Masks that prompts gave on ``N`` frames.

    Attributes:
        logits: ``(N, P, h, w)``, over the whole frame.
        quality: What the model thinks they are worth, ``(N, P)`` in [0, 1].
    """

    logits: Tensor
    quality: Tensor


class PromptableModel(nn.Module, ABC):
    """Something that gives a mask for a point or a box. It is never trained, and stays in evaluation mode.

    Attributes:
        level_channels: Channels of the image features, finest level first.
        pads: Whether frames are padded right or below to a square, which masks and prompts then cover.
    """

    level_channels: tuple[int, ...]
    pads: bool = False

    @abstractmethod
    def embed(self, frames: Tensor) -> list[Tensor]:
        """Image features of frames ``(N, 3, H, W)`` in 0..255, finest first, ``(N, C_l, h_l, w_l)``."""

    @abstractmethod
    def from_points(self, levels: list[Tensor], points_xy: Tensor) -> PromptedMasks:
        """The best mask of each point; ``points_xy (N, P, 2)`` in [0, 1]."""

    @abstractmethod
    def from_boxes(self, levels: list[Tensor], boxes_xyxy: Tensor) -> PromptedMasks:
        """The best mask of each box; ``boxes_xyxy (N, P, 4)`` in [0, 1]."""


class HuggingFacePromptable(PromptableModel):
    """SAM or SAM 2 from a local folder, as ``save_pretrained`` writes it; needs transformers.

    SAM 2 sees frames stretched to a square, SAM frames padded to one.

    Args:
        folder: With ``config.json`` and the weights; there is none by default.

    Raises:
        ImportError: If transformers is not installed.
        FileNotFoundError: If there is no such folder.
        ValueError: If it holds another kind of model.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, folder: str = "") -> None:
        super().__init__()
        try:
            import transformers
        except ImportError as error:
            raise ImportError(
                "promptable models come from Hugging Face's transformers, which is not installed: "
                "pip install video-mask2former[promptable]."
            ) from error
        if not os.path.isfile(os.path.join(folder, "config.json")):
            raise FileNotFoundError(
                f"no config.json in {folder!r}. Name a folder of SAM or SAM 2 that transformers wrote, "
                "or that was downloaded from Hugging Face; nothing is downloaded here."
            )
        kind = transformers.AutoConfig.from_pretrained(folder, local_files_only=True).model_type
        classes = {"sam": "SamModel", "sam2": "Sam2Model", "sam2_video": "Sam2Model"}
        if kind not in classes:
            raise ValueError(f"{folder} must hold one of {', '.join(classes)}, got {kind!r}.")
        self.model: Any = getattr(transformers, classes[kind]).from_pretrained(folder, local_files_only=True)
        self.is_sam2 = kind != "sam"
        self.pads = not self.is_sam2
        self.model.requires_grad_(False)
        config = self.model.config
        size = config.prompt_encoder_config.image_size
        self.side = int(size if isinstance(size, int) else size[0])
        hidden = config.mask_decoder_config.hidden_size
        self.level_channels = (hidden // 8, hidden // 4, hidden) if self.is_sam2 else (hidden,)
        mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
        self.register_buffer("mean", 255 * torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", 255 * torch.tensor(std).view(3, 1, 1), persistent=False)
        self.train(False)

    def train(self, mode: bool = True) -> HuggingFacePromptable:
        """Stays in evaluation mode."""
        return super().train(False)

    @torch.no_grad()
    def embed(self, frames: Tensor) -> list[Tensor]:
        """See :meth:`PromptableModel.embed`."""
        normalised = (frames - self.mean) / self.std
        if self.pads:
            height, width = frames.shape[2:]
            side = max(height, width)
            normalised = F.pad(normalised, (0, side - width, 0, side - height))
        size = (self.side, self.side)
        square = F.interpolate(normalised, size=size, mode="bilinear", align_corners=False, antialias=True)
        embeddings = self.model.get_image_embeddings(square)
        return list(embeddings) if self.is_sam2 else [embeddings]

    def from_points(self, levels: list[Tensor], points_xy: Tensor) -> PromptedMasks:
        """See :meth:`PromptableModel.from_points`."""
        labels = torch.ones(*points_xy.shape[:2], 1, dtype=torch.int64, device=points_xy.device)
        return self._run(levels, input_points=self.side * points_xy[:, :, None], input_labels=labels)

    def from_boxes(self, levels: list[Tensor], boxes_xyxy: Tensor) -> PromptedMasks:
        """See :meth:`PromptableModel.from_boxes`."""
        return self._run(levels, input_boxes=self.side * boxes_xyxy)

    @torch.no_grad()
    def _run(self, levels: list[Tensor], **prompts: Tensor) -> PromptedMasks:
        embeddings: Any = levels if self.is_sam2 else levels[0]
        output = self.model(image_embeddings=embeddings, multimask_output=True, **prompts)
        quality, best = output.iou_scores.max(dim=2)  # (N, P)
        index = best[:, :, None, None, None].expand(-1, -1, 1, *output.pred_masks.shape[3:])
        return PromptedMasks(output.pred_masks.gather(2, index).squeeze(2), quality.clamp(0, 1))


class ColourRegions(PromptableModel):
    """The connected region of like colour around a point, or around the middle of a box; nothing is learned.

    Good enough for drawn videos, and to try everything around a promptable model without the weights of one. A region
    is worth as much as stays of it at half the tolerance, as SAM's masks are at another threshold.

    Args:
        tolerance: Largest difference of a colour channel inside a region, of 255.
        stride: Pixels of the frame per position of the masks.
        smallest: Regions of a smaller share of the frame are worth nothing.
    """

    level_channels = (6, 6, 6)

    def __init__(self, tolerance: float = 24.0, stride: PositiveInt = 2, smallest: Share = 0.005) -> None:
        super().__init__()
        self.tolerance = tolerance
        self.stride = stride
        self.smallest = smallest

    def embed(self, frames: Tensor) -> list[Tensor]:
        """Mean and spread of the colours at three strides."""
        levels = []
        for stride in (self.stride, 4 * self.stride, 8 * self.stride):
            mean = F.avg_pool2d(frames, stride, ceil_mode=True)
            square = F.avg_pool2d(frames.square(), stride, ceil_mode=True)
            levels.append(torch.cat((mean, (square - mean.square()).clamp(min=0).sqrt()), dim=1) / 255)
        return levels

    @torch.no_grad()
    def from_points(self, levels: list[Tensor], points_xy: Tensor) -> PromptedMasks:
        """See :meth:`PromptableModel.from_points`."""
        colours = levels[0][:, :3]  # (N, 3, h, w)
        height, width = colours.shape[2:]
        places = (points_xy.cpu() * torch.tensor([width, height])).long().clamp(min=0)
        places = places.minimum(torch.tensor([width - 1, height - 1]))
        pictures = colours.permute(0, 2, 3, 1).float().cpu().contiguous().numpy()
        region, core = (
            torch.from_numpy(_regions(pictures, places, tolerance / 255)).to(colours)  # (N, P, h, w)
            for tolerance in (self.tolerance, self.tolerance / 2)
        )
        share = region.flatten(2).mean(dim=2)
        stable = core.flatten(2).mean(dim=2) / share
        return PromptedMasks(20 * region - 10, stable * (1 - share) * (share >= self.smallest))

    def from_boxes(self, levels: list[Tensor], boxes_xyxy: Tensor) -> PromptedMasks:
        """See :meth:`PromptableModel.from_boxes`."""
        return self.from_points(levels, (boxes_xyxy[..., :2] + boxes_xyxy[..., 2:]) / 2)


def _regions(pictures: np.ndarray, places: Tensor, tolerance: float) -> np.ndarray:
    """Regions around ``places (N, P, 2)`` (x, y) of pictures ``(N, h, w, 3)``: ``(N, P, h, w)`` uint8, 0 or 1."""
    height, width = pictures.shape[1:3]
    regions = np.zeros((*places.shape[:2], height + 2, width + 2), np.uint8)
    flags = _EIGHT_NEIGHBOURS | cv2.FLOODFILL_FIXED_RANGE | cv2.FLOODFILL_MASK_ONLY | _FILL_WITH_ONE
    for picture, points, masks in zip(pictures, places.tolist(), regions, strict=True):
        for point, mask in zip(points, masks, strict=True):
            cv2.floodFill(picture, mask, point, (0, 0, 0), (tolerance,) * 3, (tolerance,) * 3, flags)
    return np.ascontiguousarray(regions[:, :, 1:-1, 1:-1])  # without the frame that the function wants


PROMPTABLE_MODELS: dict[str, type[PromptableModel]] = {
    "huggingface": HuggingFacePromptable,
    "colour_regions": ColourRegions,
}


def grid_of_points(points_per_side: int, like: Tensor) -> Tensor:
    """Points of a regular grid as (x, y) in [0, 1], ``(points_per_side ** 2, 2)``."""
    centres = (torch.arange(points_per_side, device=like.device, dtype=like.dtype) + 0.5) / points_per_side
    y, x = torch.meshgrid(centres, centres, indexing="ij")
    return torch.stack((x, y), dim=-1).flatten(0, 1)


def boxes_of(mask_logits: Tensor) -> Tensor:
    """Boxes around the masks ``(..., h, w)``, as (x0, y0, x1, y1) in [0, 1]; the whole frame where one is empty."""
    is_inside = mask_logits > 0
    edges = []
    for axis in (-2, -1):
        present = is_inside.any(dim=axis)  # along the other axis
        side = present.shape[-1]
        index = torch.arange(side, device=mask_logits.device)
        first = torch.where(present, index, side).amin(dim=-1)
        last = torch.where(present, index, -1).amax(dim=-1)
        is_empty = last < 0
        edges.append((torch.where(is_empty, 0, first) / side, torch.where(is_empty, side, last + 1) / side))
    (x0, x1), (y0, y1) = edges
    return torch.stack((x0, y0, x1, y1), dim=-1).to(mask_logits.dtype)
