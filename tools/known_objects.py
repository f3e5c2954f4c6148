"""Videos of coloured blobs, and models that are right about them whatever their weights are.

What tracking, run-length encoding, drawing and writing cost depends on what is found. A model with random weights finds
nothing sensible; wrapped in :class:`KnownObjects` it takes as long as it does, and reports the blobs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from video_mask2former.mask_logits import MaskLogits
from video_mask2former.models import VideoMask2Former
from video_mask2former.structures import ClipFeatures, ClipOutput

COLOURS = ((230, 40, 40), (40, 220, 50), (50, 60, 235), (235, 225, 40), (40, 220, 225), (220, 50, 215))
STRIDE = 4
# Largest difference of a channel, up to which a pixel counts as one of a blob
TOLERANCE = 70.0


class KnownObjects(nn.Module):
    """Runs a model in full, and reports the blobs of :func:`moving_blobs` in place of its masks.

    Args:
        model: The model; its queries are at least as many as there are colours.
    """

    def __init__(self, model: VideoMask2Former) -> None:
        super().__init__()
        self.model = model
        self.class_names: Sequence[str] = model.class_names
        self.num_classes = model.num_classes
        self.input_sides = model.input_sides
        self._num_channels = 0
        self.train(model.training)

    def encode(self, frames: Tensor) -> ClipFeatures:
        """The model's features, with a map for each colour behind the mask features."""
        features = self.model.encode(frames)
        batch, num_frames, self._num_channels, height, width = features.mask_features.shape
        padding = (0, STRIDE * width - frames.shape[4], 0, STRIDE * height - frames.shape[3])
        pixels = F.avg_pool2d(F.pad(frames.flatten(0, 1).float(), padding), STRIDE)  # (B * T, 3, h, w)
        colours = torch.tensor(COLOURS, dtype=torch.float32, device=frames.device)
        distance = (pixels[:, None] - colours[:, :, None, None]).abs().amax(dim=2)
        maps = (8.0 * (1.0 - distance / TOLERANCE)).unflatten(0, (batch, num_frames))
        return replace(features, mask_features=torch.cat([features.mask_features, maps], dim=2))

    def decode(self, features: ClipFeatures, initial_queries: Tensor | None = None) -> ClipOutput:
        """The model's output, in which the first queries are sure of one colour each."""
        own = replace(features, mask_features=features.mask_features[:, :, : self._num_channels])
        output = self.model.decode(own, initial_queries)
        maps = features.mask_features[:, :, self._num_channels :]
        found = torch.arange(len(COLOURS))
        is_there = (maps > 0).flatten(3).any(dim=3).any(dim=1)  # (B, number of colours)
        embeddings = maps.new_full((*output.class_logits.shape[:2], len(COLOURS)), -1.0)
        embeddings[:, found] = torch.eye(len(COLOURS), device=maps.device)
        logits = torch.zeros_like(output.class_logits, dtype=torch.float32)
        logits[..., -1] = 6.0
        logits[:, found, found % self.num_classes] = torch.where(is_there, 12.0, 0.0)
        # each colour's embedding is its own; those of the other queries are the model's
        looks = output.query_embeddings.to(torch.float32, copy=True)
        looks[:, found] = 10.0 * torch.eye(len(COLOURS), looks.shape[2], device=looks.device)
        return replace(
            output,
            class_logits=logits,
            mask_logits=MaskLogits(embeddings, maps),
            query_embeddings=looks,
            auxiliary=(),
        )


def moving_blobs(num_frames: int, size: tuple[int, int]) -> Iterator[np.ndarray]:
    """Frames ``(H, W, 3)`` made one by one: blobs of one colour each, with uneven outlines, over a grey texture."""
    rng = np.random.default_rng(0)
    small = rng.integers(90, 170, (-(-size[0] // 8), -(-size[1] // 8)), dtype=np.uint8)
    ground = cv2.cvtColor(cv2.resize(small, size[::-1], interpolation=cv2.INTER_LINEAR), cv2.COLOR_GRAY2RGB)
    angles = np.linspace(0.0, 2.0 * np.pi, 72, endpoint=False)
    for index in range(num_frames):
        frame = ground.copy()
        for number, colour in enumerate(COLOURS):
            uneven = 1.0 + 0.2 * np.sin(5 * angles + 0.1 * index) + 0.1 * np.sin(17 * angles + number)
            radius = size[0] * (0.08 + 0.02 * number) * uneven
            centre_x = size[1] * (0.5 + 0.4 * np.sin(0.013 * index + 1.05 * number))
            centre_y = size[0] * (0.5 + 0.3 * np.cos(0.017 * index + 1.7 * number))
            outline = np.stack([centre_x + radius * np.cos(angles), centre_y + radius * np.sin(angles)], axis=1)
            cv2.fillPoly(frame, [outline.round().astype(np.int32)], colour)
        yield frame
