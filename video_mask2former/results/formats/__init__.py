"""Results as files of annotation tools and other datasets: one table, a file of this package for each format."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from video_mask2former.results.formats.coco_video import write_coco_video
from video_mask2former.results.formats.cvat import write_cvat
from video_mask2former.results.formats.label_studio import write_label_studio, write_label_studio_boxes
from video_mask2former.results.formats.mots_png import write_mots_png
from video_mask2former.structures import VideoInstances

Write = Callable[[VideoInstances, "str | os.PathLike[str]", "Sequence[int] | None"], None]


@dataclass(frozen=True)
class ResultFormat:
    """A format that tracks can be written in.

    Attributes:
        file_names: What the file, or the folder, is called beside the other results of a video, and what comes with it.
        content: What it is, in a few words.
        write: Writes the tracks of a video to a path. The third argument is the frames that were looked at, None for
            all; an object that is on none of the frames between two of them was not looked for there.
    """

    file_names: tuple[str, ...]
    content: str
    write: Write


_LABEL_STUDIO = ("label_studio.json", "label_studio.json.config.xml")
_LABEL_STUDIO_BOXES = ("label_studio_boxes.json", "label_studio_boxes.json.config.xml")

FORMATS: dict[str, ResultFormat] = {
    "cvat": ResultFormat(("cvat.xml",), "polygon tracks for CVAT (video 1.1)", write_cvat),
    "mots_png": ResultFormat(("mots_png",), "masks as 16-bit PNG files (MOTS PNG 1.0)", write_mots_png),
    "label_studio": ResultFormat(_LABEL_STUDIO, "polygons for Label Studio Enterprise", write_label_studio),
    "label_studio_boxes": ResultFormat(_LABEL_STUDIO_BOXES, "boxes for Label Studio", write_label_studio_boxes),
    "coco_video": ResultFormat(("coco_video.json",), "COCO with videos (CocoVID)", write_coco_video),
}


def find_format(name: str) -> ResultFormat:
    """The format of a name.

    Raises:
        ValueError: If there is none.
    """
    if name not in FORMATS:
        raise ValueError(f"the format must be one of {', '.join(FORMATS)}, got {name!r}.")
    return FORMATS[name]
