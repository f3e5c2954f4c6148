"""Annotations of other tools and datasets as YouTube-VIS files: one table, a file of this package for each format."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from video_mask2former.data.preparation.convert_coco_video import convert_coco_video
from video_mask2former.data.preparation.convert_davis import convert_davis
from video_mask2former.data.preparation.convert_mots import convert_mots
from video_mask2former.data.preparation.imports.cvat import import_cvat
from video_mask2former.data.preparation.imports.labelme import import_labelme
from video_mask2former.data.preparation.imports.sa_v import import_sa_v


@dataclass(frozen=True)
class ImportFormat:
    """A format that annotations can be read from.

    Attributes:
        source: What its annotations are.
        images: What the images are, and whether they must be named.
        convert: Reads the annotations, with the images where they are named, and writes a YouTube-VIS file; returns
            the number of videos.
    """

    source: str
    images: str
    convert: Callable[[Path, Path | None, Path], int]


def import_annotations(name: str, source: Path, images: Path | None, output: Path) -> int:
    """Convert annotations of the format of a name, see ``IMPORTS``, and return the number of videos.

    Raises:
        FileNotFoundError: If the annotations or the images are not there.
        ValueError: If there is no such format, or the annotations are not of it.
    """
    if name not in IMPORTS:
        raise ValueError(f"the format must be one of {', '.join(IMPORTS)}, got {name!r}.")
    if not source.exists():
        raise FileNotFoundError(f"no such file or folder: {source}.")
    return IMPORTS[name].convert(source, images, output)


def _coco_video(source: Path, images: Path | None, output: Path) -> int:
    return convert_coco_video(source, output)


def _davis(source: Path, images: Path | None, output: Path) -> int:
    return convert_davis(_named(images, "DAVIS"), source, output)


def _mots(source: Path, images: Path | None, output: Path) -> int:
    return convert_mots(_named(images, "MOTS"), source, output)


def _named(images: Path | None, kind: str) -> Path:
    if images is None:
        raise ValueError(f"annotations of {kind} do not say how large the frames are: give the images, --images DIR.")
    return images


_FRAMES = "folder of a folder of frames, or a video file, for each; of one video also that itself"

IMPORTS: dict[str, ImportFormat] = {
    "cvat": ImportFormat("XML file of CVAT for video 1.1, or a folder of them", _FRAMES, import_cvat),
    "coco_video": ImportFormat("JSON file of CocoVID", "not needed", _coco_video),
    "sa_v": ImportFormat("VIDEO_manual.json or VIDEO_auto.json of SA-V, or a folder of them", _FRAMES, import_sa_v),
    "labelme": ImportFormat("folder of JSON files of LabelMe, or of such folders", "beside the JSON", import_labelme),
    "davis": ImportFormat("folder of a folder of indexed PNG files for each video", "folder of folders", _davis),
    "mots": ImportFormat("folder of VIDEO.txt files of MOTS", "folder of folders", _mots),
}
