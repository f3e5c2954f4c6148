"""What the frames of a video are called in formats that name a file for each."""

from __future__ import annotations

from pathlib import Path

from video_mask2former.remote_files import is_address
from video_mask2former.structures import VideoInstances
from video_mask2former.video_io.image_source import IMAGE_SUFFIXES, find_images

NO_NAME = "video"


def video_name(video: VideoInstances) -> str:
    """The name of the file or folder that a video was read from, "video" where it came from none."""
    if video.source is None:
        return NO_NAME
    source = video.source.partition("?")[0].rstrip("/") if is_address(video.source) else video.source
    path = Path(source)
    return (path.name if path.is_dir() else path.stem) or NO_NAME


def frame_files(video: VideoInstances) -> list[str]:
    """A file name for each frame: the own names of a folder of images, else ``000000.jpg``, ``000001.jpg``, ..."""
    images: list[Path] = []
    if video.source is not None and not is_address(video.source):
        source = Path(video.source)
        if source.is_dir() or "*" in video.source:
            images = find_images(source)
        elif source.suffix.lower() in IMAGE_SUFFIXES:
            images = [source]
    if len(images) == video.num_frames:
        return [image.name for image in images]
    return [f"{index:06d}.jpg" for index in range(video.num_frames)]


def class_list(video: VideoInstances) -> list[str]:
    """The name of each class index that occurs, and of those before it."""
    count = max([len(video.class_names), *(track.label + 1 for track in video.tracks)])
    names = list(video.class_names[:count])
    return names + [f"class {index}" for index in range(len(names), count)]
