"""Frames with rectangular objects."""

from __future__ import annotations

import numpy as np
import pytest

from video_mask2former.rle import encode_masks
from video_mask2former.structures import FrameInstances


def make_instances(size, rectangles, *, frame_index=0, first_id=1):
    """One instance per (top, left, bottom, right), labelled 0, 1, 2, ... with falling scores."""
    masks = np.zeros((len(rectangles), *size), dtype=bool)
    for index, (top, left, bottom, right) in enumerate(rectangles):
        masks[index, top:bottom, left:right] = True
    return FrameInstances(
        frame_index,
        size,
        tuple(range(first_id, first_id + len(rectangles))),
        tuple(range(len(rectangles))),
        tuple(0.9 - 0.1 * index for index in range(len(rectangles))),
        tuple(encode_masks(masks)),
    )


@pytest.fixture(scope="session")
def instances_maker():
    """Builder of instances: :func:`make_instances`."""
    return make_instances
