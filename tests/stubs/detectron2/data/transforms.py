"""The one transform that predictors use."""

from __future__ import annotations

import numpy as np
from fvcore.transforms.transform import Transform
from PIL import Image


class ResizeTransform(Transform):
    """To a given size, with Pillow."""

    def __init__(self, h: int, w: int, new_h: int, new_w: int) -> None:
        super().__init__()
        self._set_attributes(locals())

    def apply_image(self, img: np.ndarray) -> np.ndarray:
        return np.asarray(Image.fromarray(np.ascontiguousarray(img)).resize((self.new_w, self.new_h), Image.BILINEAR))

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        return coords * (self.new_w / self.w, self.new_h / self.h)


class ResizeShortestEdge:
    """The short side to a given length, the long one to no more than another."""

    def __init__(self, short_edge_length: list[int], max_size: int) -> None:
        self.short_edge_length, self.max_size = short_edge_length[0], max_size

    def get_transform(self, image: np.ndarray) -> ResizeTransform:
        height, width = image.shape[:2]
        scale = self.short_edge_length / min(height, width)
        scale = min(scale, self.max_size / max(height, width))
        return ResizeTransform(height, width, int(height * scale + 0.5), int(width * scale + 0.5))
