"""The containers that travel between rooms, checked when they are made.

Shape legend, used in every file::

    B clips in the batch   T frames in a clip   C channels   H, W height, width
    h, w height, width at a feature level (stride 4, 8, 16 or 32 of the padded frames)
    Q queries   N instances   K classes (class logits have K + 1 columns, "no object" last)
"""

from __future__ import annotations

from video_mask2former.structures.clips import ClipFeatures, ClipTarget
from video_mask2former.structures.outputs import ClipOutput, class_probabilities
from video_mask2former.structures.videos import FrameInstances, Track, VideoInstances

__all__ = [
    "ClipFeatures",
    "ClipOutput",
    "ClipTarget",
    "FrameInstances",
    "Track",
    "VideoInstances",
    "class_probabilities",
]
