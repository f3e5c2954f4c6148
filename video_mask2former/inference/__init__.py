"""Running models on videos and images."""

from __future__ import annotations

from video_mask2former.config import InferenceSettings
from video_mask2former.inference.api import segment_video, segment_videos, stream_video
from video_mask2former.inference.clips import ClipWindow, WindowPlan
from video_mask2former.inference.clock import StageClock
from video_mask2former.inference.frame_stream import FrameStream
from video_mask2former.inference.predictor import VideoPredictor
from video_mask2former.inference.segmentation_model import SegmentationModel
from video_mask2former.tasks.postprocess import (
    PanopticSegment,
    PanopticSegmentation,
    clip_instances,
    image_instances,
    image_panoptic,
    image_semantic,
)
from video_mask2former.tasks.recorder import TrackRecorder
from video_mask2former.tasks.selection import for_classes, select_instances

__all__ = [
    "ClipWindow",
    "FrameStream",
    "InferenceSettings",
    "PanopticSegment",
    "PanopticSegmentation",
    "SegmentationModel",
    "StageClock",
    "TrackRecorder",
    "VideoPredictor",
    "WindowPlan",
    "clip_instances",
    "for_classes",
    "image_instances",
    "image_panoptic",
    "image_semantic",
    "segment_video",
    "segment_videos",
    "select_instances",
    "stream_video",
]
