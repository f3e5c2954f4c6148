"""What an exported model says of itself, in ``export.json`` beside its graphs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TypedDict

from video_mask2former.atomic import atomic_path
from video_mask2former.documents import read_json
from video_mask2former.option_values import MaskQualityChoice, parse_value

MANIFEST = "export.json"
VERSION = 1
GraphFormat = Literal["onnx", "torch"]
SUFFIXES: dict[str, str] = {"onnx": ".onnx", "torch": ".pt2"}
FRAME_STEP, WINDOW_STEP, QUERY_STEP = "frame_step", "window_step", "window_step_from_queries"


class Manifest(TypedDict):
    """The content of ``export.json``.

    ``fixed_size`` is the padded height and width of the only frames that the graphs take, null where any size goes;
    smaller frames are filled up with the colour ``fill``. ``window`` is how many frames the window step takes, null for
    any number. ``features`` names what the frame step gives and the window step takes, ``outputs`` what the window step
    gives. ``duplicate_iou`` and the fields after it are those of the model, which act outside of the graphs.
    """

    version: int
    format: GraphFormat
    precision: Literal["float32", "int8"]
    num_classes: int
    class_names: Sequence[str]
    num_queries: int
    input_sides: tuple[int, int]
    size_divisibility: int
    fixed_size: tuple[int, int] | None
    fill: tuple[int, int, int]
    window: int | None
    features: Sequence[str]
    outputs: Sequence[str]
    propagates: bool
    duplicate_iou: float
    split_share: float
    preferred_tracker: str | None
    mask_quality: MaskQualityChoice
    online_window: int
    is_frame_by_frame: bool


def is_exported(folder: Path) -> bool:
    """Whether a folder holds an exported model."""
    return (folder / MANIFEST).is_file()


def read_manifest(folder: Path) -> Manifest:
    """Read ``export.json``.

    Raises:
        FileNotFoundError: If it or a graph is missing.
        ValueError: If it does not have the form, or was written by a later version.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise FileNotFoundError(
            f"{folder} has no {MANIFEST}, so it is no exported model. Make one with video-mask2former export."
        )
    document = read_json(path, dict, "export manifest")
    if document.get("version") != VERSION:
        raise ValueError(f"{path} has version {document.get('version')!r}, this package reads {VERSION}. Export again.")
    manifest: Manifest = parse_value(document, Manifest, "", str(path))
    for step in (FRAME_STEP, WINDOW_STEP, *([QUERY_STEP] if manifest["propagates"] else [])):
        graph = graph_path(folder, step, manifest["format"])
        if not graph.is_file():
            raise FileNotFoundError(f"{path} names {graph}, which is not there. Export again.")
    return manifest


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write ``export.json``."""
    with atomic_path(folder / MANIFEST) as temporary:
        temporary.write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")


def graph_path(folder: Path, step: str, form: GraphFormat) -> Path:
    """The file of a step."""
    return folder / f"{step}{SUFFIXES[form]}"
