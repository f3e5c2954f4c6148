"""SA-V (SAM 2, arXiv:2408.00714): masklets, on every fourth frame, to the YouTube-VIS format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from video_mask2former.data.preparation.imports.collected import (
    CollectedTrack,
    CollectedVideo,
    rasterise,
    write_collected,
)
from video_mask2former.data.preparation.imports.frame_folders import annotation_files, frame_names
from video_mask2former.documents import read_json
from video_mask2former.messages import shortened
from video_mask2former.rle import Rle

FRAME_STEP = 4
"""Videos have 24 frames a second, of which 6 are annotated."""

CLASS_NAME = "object"


def import_sa_v(source: Path, images: Path | None, output: Path) -> int:
    """Convert ``VIDEO_manual.json`` and ``VIDEO_auto.json`` files and write the annotation file.

    The videos have the annotated frames, every fourth one, and objects of one class, "object". Manual and automatic
    masklets of a video are put together.

    Args:
        source: A file, or a folder of files.
        images: Frames of the videos at their full rate, see :func:`frame_names`; None names them by number.
        output: The annotation file; its file names are relative to ``images``.

    Returns:
        The number of videos.

    Raises:
        FileNotFoundError: If there are no such files.
        ValueError: If they are not annotations of SA-V.
    """
    documents: dict[str, list[Path]] = {}
    for path in annotation_files(source, ".json"):
        documents.setdefault(path.stem.removesuffix("_manual").removesuffix("_auto"), []).append(path)
    videos = []
    for name, paths in documents.items():
        lengths, sizes = set(), set()
        tracks: list[CollectedTrack] = []
        for path in paths:
            document = read_json(path, dict, "file of SA-V")
            height, width = (_size(document, side, path) for side in ("video_height", "video_width"))
            masklets = document.get("masklet")
            if not isinstance(masklets, list) or not masklets or not all(isinstance(each, list) for each in masklets):
                raise ValueError(f"{path} must have 'masklet', a list of lists of masks, got {shortened(masklets)}.")
            lengths.add(len(masklets))
            sizes.add((height, width))
            tracks += _tracks(masklets, (height, width), path)
        if len(lengths) > 1 or len(sizes) > 1:
            raise ValueError(f"the files of {name} differ in frames or size: {lengths}, {sizes}.")
        [num_annotated], [size] = lengths, sizes
        needed = (num_annotated - 1) * FRAME_STEP + 1
        files = frame_names(images, name, needed, is_alone=len(documents) == 1)
        videos.append(CollectedVideo(files[:needed:FRAME_STEP], size, tracks))
    write_collected(output, videos, [CLASS_NAME], "converted from SA-V")
    return len(videos)


def _size(document: dict[str, Any], key: str, path: Path) -> int:
    value = document.get(key)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if type(value) is not int or value < 1:
        raise ValueError(f"{path} must have {key!r}, an integer, as files of SA-V have, got {shortened(value)}.")
    return value


def _tracks(masklets: list[list[Any]], size: tuple[int, int], path: Path) -> list[CollectedTrack]:
    tracks = [CollectedTrack(CLASS_NAME) for _ in range(max(map(len, masklets)))]
    for index, masks in enumerate(masklets):
        for number, mask in enumerate(masks):
            tracks[number].add(index, _mask(mask, size, f"{path}, frame {index}, masklet {number}"))
    return tracks


def _mask(mask: Any, size: tuple[int, int], place: str) -> Rle | None:
    if mask is None or (isinstance(mask, dict) and not mask.get("counts")):
        return None
    return rasterise(mask, size, place)
