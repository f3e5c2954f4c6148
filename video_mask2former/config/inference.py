"""How a model is run: every option of inference, for YAML, the command line and Python alike."""

# ruff: noqa: RUF009 (option() makes a dataclass field)
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, TypeAlias, TypedDict

from video_mask2former.config.schema import Section, check_types, option, to_mapping
from video_mask2former.option_values import MaskQualityChoice

Mode: TypeAlias = Literal["clip", "online"]
Remainder: TypeAlias = Literal["shift", "short"]
Precision: TypeAlias = Literal["float32", "bfloat16", "float16"]
SecondPass: TypeAlias = Literal["disk", "encode"]
Backend: TypeAlias = Literal["pyav", "decord"]
TrackerChoice: TypeAlias = str | Callable[[], Any]

DEFAULT_SIDES = (360, 1333)
"""Short side of the frames, and the most that the long side may have, where neither settings nor model say."""
PUBLISHED: dict[str, Any] = {
    "mode": "clip",
    "top_k": 10,
    "score_threshold": 0.0,
    "one_label_per_query": False,
    "keep_empty": True,
}
"""The protocol of the published numbers of videos, where it differs from the defaults."""


@dataclass(frozen=True)
class InferenceSettings(Section):
    """How a model is run on videos and images.

    The defaults are for people: one label per object, scores from 0.5, videos of any length. They hold for
    ``InferenceSettings()`` in Python, ``segment_video``, ``stream_video`` and the command ``predict``. The protocol of
    the published numbers is ``InferenceSettings.published()``: one clip, the ten best pairs of query and class. A
    configuration starts from it, since it says how its model is measured, and so do ``evaluate``, ``evaluate_model``,
    the evaluation while training and ``predict --published``.
    """

    mode: Mode = option(
        "online",
        "online decodes window by window and tracks objects across windows, in bounded memory; clip decodes the whole "
        "video, or windows of it, and gives results at the end.",
    )
    window: int | None = option(
        None, "Frames of a window; by default 1 online (GenVIS: its clips), the whole video as a clip.", at_least=1
    )
    overlap: int = option(0, "Frames that neighbouring windows share.", at_least=0)
    remainder: Remainder = option(
        "shift", "When too few frames are left, the last window is shifted back to its full length, or short."
    )
    tracker: TrackerChoice | None = option(
        None,
        "What gives objects their ids across windows: query (similarity of queries), overlap (masks on shared frames), "
        "motion (similarity, and boxes where they are expected), "
        "propagate (queries that start the next window), minvis (the published rule), bytetrack, ocsort, botsort, sort "
        "(boxes; package trackers), or module:Class, a custom tracker; by default overlap where windows overlap, else "
        "query.",
        python_only=True,
    )
    short_side: int | None = option(
        None, "Short side that frames are resized to for the model; by default what the model was made for.", at_least=1
    )
    max_side: int | None = option(
        None, "Most that the long side may have then; by default what the model was made for.", at_least=1
    )
    tile_side: int | None = option(
        None,
        "Side of square windows that each frame is seen through, after resizing; the mean of the class scores of all "
        "windows counts. For semantic segmentation; by default frames are seen whole.",
        at_least=1,
    )
    tile_stride: int | None = option(
        None,
        "Pixels from one such window to the next; by default as few windows as cover the frame, spread evenly.",
        at_least=1,
    )
    top_k: int = option(100, "Most objects of a video, or of any one frame while streaming.", at_least=1)
    score_threshold: float = option(0.5, "Least class probability of an object.", at_least=0, at_most=1)
    one_label_per_query: bool = option(
        True,
        "Report an object under its likeliest class only. The published protocol reports it under every class that is "
        "among the top k, which average precision rewards and people see as duplicates.",
    )
    keep_empty: bool = option(
        False, "Report objects that have no mask on any frame, which average precision counts as false alarms."
    )
    mask_quality: MaskQualityChoice | None = option(
        None,
        "Multiply the score of an object of a video by the mean probability inside its masks, over all frames, at the "
        "size that the model sees (model) or at the original size (original), or not (none); by default as the model "
        "was measured by its authors: VITA and GenVIS by the former, CTVIS by the latter.",
    )
    classes: tuple[str | int, ...] | None = option(None, "Names or indices of the classes reported; by default all.")
    resolve_overlaps: bool = option(False, "Give each pixel to one object at most.")
    chunk_size: int = option(4, "Frames that pass through the backbone at once.", at_least=1)
    dtype: Precision = option("float32", "Precision that the model runs in.")
    feature_dtype: Precision | None = option(
        None, "Precision that the features of a clip are kept in until they are decoded; by default as they come."
    )
    feature_device: str | None = option(
        None, "Device that the features of a clip are kept on, such as cpu; by default that of the model."
    )
    second_pass: SecondPass = option(
        "disk",
        "What the masks of a model with a refiner are made of, once it has seen the whole video: features of the first "
        "pass kept in a temporary file (disk; two bytes a channel and pixel of them), or frames that are read and "
        "encoded again (encode; takes no disk, more time, and a source that can be read twice).",
    )
    video_backend: Backend = option(
        "pyav", "Decoder of video files; PyAV steps in where decord is missing or cannot read a file."
    )
    compile: bool = option(
        False, "Compile the part of the model that sees one frame at a time; pays off on long videos."
    )

    def __post_init__(self) -> None:
        if not (self.tracker is None or isinstance(self.tracker, str) or callable(self.tracker)):
            raise ValueError(
                "tracker must be a name, or a class that makes trackers (each video gets its own), got an object of "
                f"type {type(self.tracker).__name__}."
            )
        check_types(self)
        super().__post_init__()
        if self.classes is not None and not self.classes:
            raise ValueError("classes must name at least one class, got an empty list. Leave it out for all classes.")
        if self.overlap and self.overlap >= (self.window or 1):
            window = "no window" if self.window is None else f"window {self.window}"
            raise ValueError(f"overlap must be less than window, got overlap {self.overlap} and {window}.")
        if self.tile_stride is not None and self.tile_stride > (self.tile_side or 0):
            raise ValueError(
                f"tile_stride must be at most tile_side, got tile_stride {self.tile_stride} and tile_side "
                f"{self.tile_side}. Windows further apart leave pixels without a class."
            )

    @classmethod
    def published(cls, **changes: Any) -> InferenceSettings:
        """The protocol of the published video numbers: one clip, the top 10 whatever their scores, duplicates kept."""
        return cls(**(PUBLISHED | changes))

    def updated(self, **changes: Any) -> InferenceSettings:
        """These settings with those of ``changes`` that are not None.

        Raises:
            ValueError: If there is no such setting, or a value makes no sense.
        """
        known = {field.name for field in fields(self)}
        unknown = sorted(set(changes) - known)
        if unknown:
            raise ValueError(f"unknown setting {unknown[0]!r}; the settings are {', '.join(sorted(known))}.")
        given = {name: value for name, value in changes.items() if value is not None}
        if "classes" in given and not isinstance(given["classes"], str):
            given["classes"] = tuple(given["classes"])
        return replace(self, **given)

    def describe(self) -> dict[str, Any]:
        """All settings as plain values, a tracker by its name: two runs were alike if these are equal."""
        return to_mapping(self) | {"tracker": self.tracker_name}

    @property
    def is_whole_clip(self) -> bool:
        """Whether the whole video is one clip."""
        return self.mode == "clip" and self.window is None

    @property
    def input_sides(self) -> tuple[int, int]:
        """Short side of the frames and the most that the long side may have, where the model does not say."""
        return self.short_side or DEFAULT_SIDES[0], self.max_side or DEFAULT_SIDES[1]

    @property
    def tracker_name(self) -> str:
        """The name of the tracker that is used, ``module:Class`` where it is a custom class."""
        if callable(self.tracker):
            if hasattr(self.tracker, "name"):  # a class with options of its own
                return str(self.tracker.name)
            made_by = self.tracker if hasattr(self.tracker, "__qualname__") else type(self.tracker)
            return f"{made_by.__module__}:{made_by.__qualname__}"
        return self.tracker or ("overlap" if self.overlap else "query")


class InferenceOptions(TypedDict, total=False):
    """The settings of videos as keyword arguments, for type checkers; :class:`InferenceSettings` says what they mean.

    None is "as the settings have it".
    """

    mode: Mode | None
    window: int | None
    overlap: int | None
    remainder: Remainder | None
    tracker: TrackerChoice | None
    short_side: int | None
    max_side: int | None
    tile_side: int | None
    tile_stride: int | None
    top_k: int | None
    score_threshold: float | None
    one_label_per_query: bool | None
    keep_empty: bool | None
    mask_quality: MaskQualityChoice | None
    classes: Sequence[str | int] | None
    resolve_overlaps: bool | None
    chunk_size: int | None
    dtype: Precision | None
    feature_dtype: Precision | None
    feature_device: str | None
    second_pass: SecondPass | None
    video_backend: Backend | None
    compile: bool | None
