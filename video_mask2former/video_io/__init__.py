"""Videos in and out: files, folders of images, arrays, cameras."""

from __future__ import annotations

from video_mask2former.video_io.reader import FrameChunk, VideoReader, VideoSource, open_video
from video_mask2former.video_io.writer import VideoWriter

__all__ = ["FrameChunk", "VideoReader", "VideoSource", "VideoWriter", "open_video"]
