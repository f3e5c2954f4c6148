"""Pictures and files of a result whose video can be read again."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from video_mask2former.data.class_names import known_things
from video_mask2former.inference.outputs import (
    FILE_NAMES,
    VIDEO_ID,
    FrameOutputs,
    OutputChoice,
    write_result_files,
)
from video_mask2former.inference.predictor import read_frames
from video_mask2former.remote_files import Store, is_stored, send_folder
from video_mask2former.results import write_tracks, write_youtube_vis
from video_mask2former.structures import FrameInstances, VideoInstances
from video_mask2former.video_io import open_video
from video_mask2former.video_io.image_source import IMAGE_SUFFIXES
from video_mask2former.visualization.plot import plot_frame


def known_stuff(class_names: Sequence[str]) -> frozenset[int]:
    """The classes without countable objects, by the list that the names are; a result does not say it itself."""
    things = known_things(class_names, len(class_names))
    return frozenset(label for label, is_thing in enumerate(things) if not is_thing)


def plot_instances(instances: FrameInstances, image: np.ndarray | Image.Image) -> Image.Image:
    """A frame with its instances drawn on it, see :meth:`FrameInstances.plot`."""
    return plot_frame(instances, image, known_stuff(instances.class_names))


def plot(video: VideoInstances, frame_index: int, image: np.ndarray | Image.Image | None = None) -> Image.Image:
    """A frame with its instances drawn on it, see :meth:`VideoInstances.plot`."""
    instances = video.at_frame(frame_index)
    if image is None:
        if video.source is None:
            raise ValueError("this result does not come from a file: give the frame itself, plot(frame_index, image).")
        with open_video(video.source, start=frame_index, end=frame_index + 1) as reader:
            image = next(iter(reader))
    return plot_instances(instances, image)


def save(video: VideoInstances, folder: str | os.PathLike[str]) -> list[str]:
    """Write the usual files of a result, see :meth:`VideoInstances.save`."""
    if is_stored(folder):
        parent, _, name = str(folder).rstrip("/").rpartition("/")
        with tempfile.TemporaryDirectory(prefix="video_mask2former_") as temporary:
            written = save(video, Path(temporary) / name)
            send_folder(Path(temporary) / name, Store(parent), name, last=FILE_NAMES["tracks"])
        return written
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    if video.source is None:
        write_tracks(place / FILE_NAMES["tracks"], video)
        write_youtube_vis(place / FILE_NAMES["results"], [replace(video, video_id=VIDEO_ID)])
        return [FILE_NAMES["tracks"], FILE_NAMES["results"]]
    choice = OutputChoice()
    path = Path(video.source)
    is_image = path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()
    with open_video(video.source) as reader:
        names, stuff = tuple(video.class_names), known_stuff(video.class_names)
        with FrameOutputs(place, choice, reader, names, is_image=is_image, stuff_labels=stuff) as outputs:
            for index, frame in read_frames(reader):
                if index < video.num_frames:
                    outputs.add(frame, video.at_frame(index))
            outputs.settle(video)
        write_result_files(place, choice, video, range(video.num_frames), reader)
    return choice.file_names(is_image=is_image)
