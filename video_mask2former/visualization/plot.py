"""One frame as a picture."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from PIL import Image

from video_mask2former.structures import FrameInstances
from video_mask2former.visualization.mask_annotator import MaskAnnotator


def plot_frame(
    instances: FrameInstances, image: np.ndarray | Image.Image, stuff_labels: Collection[int] = ()
) -> Image.Image:
    """A frame, uint8 RGB, with its instances drawn on it, stuff lightly."""
    frame = np.asarray(image.convert("RGB") if isinstance(image, Image.Image) else image)
    return Image.fromarray(MaskAnnotator(stuff_labels=stuff_labels).annotate(frame, instances, instances.class_names))
