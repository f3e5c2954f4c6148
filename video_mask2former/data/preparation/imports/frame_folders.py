"""The frames that belong to an annotated video, by the name of the video."""

from __future__ import annotations

import logging
from pathlib import Path

from video_mask2former.data.preparation.dataset_writer import write_jpeg
from video_mask2former.video_io.image_source import find_images
from video_mask2former.video_io.reader import VIDEO_SUFFIXES, open_video

logger = logging.getLogger(__name__)


def annotation_files(source: Path, suffix: str) -> list[Path]:
    """The file itself, or all of a folder that end so, in order.

    Raises:
        FileNotFoundError: If there is none.
    """
    if source.is_file():
        return [source]
    files = sorted(source.glob(f"*{suffix}")) if source.is_dir() else []
    if not files:
        raise FileNotFoundError(f"{source} must be a file *{suffix}, or a folder of such, got none.")
    return files


def frame_names(images: Path | None, video: str, num_frames: int, *, is_alone: bool) -> list[str]:
    """Names of at least ``num_frames`` frames of a video, relative to the folder of all images.

    The frames are in ``images/VIDEO``; those of a file ``images/VIDEO.mp4`` (or another suffix) are written there
    first. Without a folder the names are ``VIDEO/000000.jpg`` and so on.

    Args:
        images: Folder of the images of all videos; of a video that is alone, also the folder of its frames itself.
        video: Name of the video.
        num_frames: How many frames are annotated.
        is_alone: Whether there is no other video.

    Raises:
        FileNotFoundError: If there are no frames, or fewer.
    """
    if images is None:
        return [f"{video}/{index:06d}.jpg" for index in range(num_frames)]
    folder = images / video
    if not folder.is_dir():
        files = [folder.with_name(video + suffix) for suffix in VIDEO_SUFFIXES]
        found = [file for file in files if file.is_file()]
        if found:
            _extract(found[0], folder)
        elif is_alone and images.is_dir():
            folder = images
        else:
            raise FileNotFoundError(f"no frames of {video}: {folder} is no folder, and there is no file {folder}.mp4.")
    try:
        paths = find_images(folder)
    except ValueError as error:
        raise FileNotFoundError(f"no frames of {video}: {error}") from error
    if len(paths) < num_frames:
        raise FileNotFoundError(f"{folder} has {len(paths)} images, the annotations of {video} need {num_frames}.")
    return [path.relative_to(images).as_posix() for path in paths]


def _extract(file: Path, folder: Path) -> None:
    """Write the frames of a video file as JPEG files; the folder appears when all are there."""
    logger.info("writing the frames of %s to %s", file, folder)
    partial = folder.with_name(folder.name + ".partial")
    with open_video(file) as reader:
        for index, image in enumerate(reader):
            write_jpeg(partial / f"{index:06d}.jpg", image)
    partial.replace(folder)
