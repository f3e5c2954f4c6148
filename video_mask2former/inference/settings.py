"""How a model is run on videos: every choice in one immutable object."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, TypeAlias, get_args

from video_mask2former.inference.clips import Remainder, WindowPlan
from video_mask2former.tasks.selection import SelectionRules, class_indices
from video_mask2former.tracking import (
    MinVISTracker,
    OverlapTracker,
    PropagationTracker,
    QueryTracker,
    Tracker,
    TrackRules,
)
from video_mask2former.video_io.file_source import Backend

Mode = Literal["clip", "online"]
TrackerName = Literal["query", "overlap", "propagate", "minvis"]
TrackerChoice: TypeAlias = TrackerName | Callable[[], Tracker]
Precision = Literal["float32", "bfloat16", "float16"]

CHOICES: dict[str, tuple[str, ...]] = {
    "mode": get_args(Mode),
    "tracker": get_args(TrackerName),
    "remainder": get_args(Remainder),
    "dtype": get_args(Precision),
    "feature_dtype": get_args(Precision),
    "video_backend": get_args(Backend),
}


@dataclass(frozen=True)
class InferenceSettings:
    """How a model is run. The defaults serve people with a video of any length; see :meth:`published`.

    Attributes:
        mode: ``online`` decodes window by window and tracks objects across windows, in bounded memory. ``clip``
            decodes the whole video as one clip, or windows of it, and gives results at the end.
        window: Frames of a window. None is 1 online and the whole video in clip mode.
        overlap: Frames that a window shares with the one before.
        remainder: What the last window does when too few frames are left: ``shift`` back, or be ``short``.
        tracker: What gives objects their ids across windows: ``query`` (similarity of queries), ``overlap`` (masks on
            shared frames, and queries), ``propagate`` (queries start the next window), ``minvis`` (the published
            rule), or a class of your own, whatever makes a new :class:`~video_mask2former.tracking.Tracker` when
            called. None is ``overlap`` where windows overlap and ``query`` elsewhere.
        top_k: Most objects reported, of a video and of any one frame while streaming.
        score_threshold: Least class probability of an object.
        one_label_per_query: Report an object under its likeliest class only.
        keep_empty: Report objects that have no mask on any frame.
        classes: Names or indices of the classes reported, None for all.
        resolve_overlaps: Give each pixel to one object at most.
        short_side: Short side that frames are resized to for the model; results have the original size. None is what
            the model's configuration says.
        max_side: Most that the long side may have then; None as above.
        chunk_size: Frames that the backbone sees at once.
        dtype: What the model computes in; other than float32 by autocast.
        feature_dtype: What the features of a clip are kept in until the decoder needs them, None for as they come.
        feature_device: Where they are kept, None for the model's device.
        compile_model: Compile the per-frame part of the model; pays off on long videos.
        video_backend: Decoder of video files, ``pyav`` or ``decord``; see
            :class:`~video_mask2former.video_io.file_source.FileSource`.
    """

    mode: Mode = "online"
    window: int | None = None
    overlap: int = 0
    remainder: Remainder = "shift"
    tracker: TrackerChoice | None = None
    top_k: int = 100
    score_threshold: float = 0.5
    one_label_per_query: bool = True
    keep_empty: bool = False
    classes: tuple[str | int, ...] | None = None
    resolve_overlaps: bool = False
    short_side: int | None = None
    max_side: int | None = None
    chunk_size: int = 4
    dtype: Precision = "float32"
    feature_dtype: Precision | None = None
    feature_device: str | None = None
    compile_model: bool = False
    video_backend: Backend = "pyav"

    def __post_init__(self) -> None:
        for name, choices in CHOICES.items():
            value = getattr(self, name)
            if name == "tracker" and callable(value):
                continue
            if value not in choices and not (value is None and name in ("tracker", "feature_dtype")):
                further = ", or a class of trackers" if name == "tracker" else ""
                raise ValueError(f"{name} must be one of {', '.join(choices)}{further}, got {value!r}.")
        if isinstance(self.classes, str) or (self.classes is not None and not self.classes):
            raise ValueError(
                f"classes must be a sequence of one name or index or more, got {self.classes!r}. None means all."
            )
        for name in ("short_side", "max_side", "chunk_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}.")
        if self.mode == "clip" and self.window is None and self.overlap:
            raise ValueError(f"overlap needs windows: give window as well, got {self.overlap = } in clip mode.")
        self.selection_rules(class_names=(), num_classes=None)
        self.window_plan()

    @classmethod
    def published(cls, **changes: Any) -> InferenceSettings:
        """The protocol of the published video numbers: one clip, the top 10 whatever their scores, duplicates kept."""
        rules: dict[str, Any] = {
            "mode": "clip",
            "top_k": 10,
            "score_threshold": 0.0,
            "one_label_per_query": False,
            "keep_empty": True,
        }
        return cls(**(rules | changes))

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
        """All settings as plain values, a tracker by its name; to tell by whether two runs were alike."""
        return asdict(replace(self, tracker=None)) | {"tracker": self.tracker_name}

    @property
    def is_whole_clip(self) -> bool:
        """Whether the whole video is one clip."""
        return self.mode == "clip" and self.window is None

    def window_plan(self) -> WindowPlan:
        """How windows follow each other; of length 1 where none is given."""
        return WindowPlan(1 if self.window is None else self.window, self.overlap, self.remainder)

    def selection_rules(self, class_names: Sequence[str], num_classes: int | None) -> SelectionRules:
        """What is reported, with the classes resolved to indices where the model's classes are given."""
        classes = None
        if self.classes is not None and num_classes is not None:
            classes = class_indices(self.classes, class_names, num_classes)
        return SelectionRules(
            self.top_k, self.score_threshold, self.one_label_per_query, classes, keep_empty=self.keep_empty
        )

    @property
    def tracker_name(self) -> str:
        """The name of the tracker that is used, ``module:Class`` where it is a class of somebody's own."""
        if callable(self.tracker):
            made_by = self.tracker if hasattr(self.tracker, "__qualname__") else type(self.tracker)
            return f"{made_by.__module__}:{made_by.__qualname__}"
        return self.tracker or ("overlap" if self.overlap else "query")

    def make_tracker(self) -> Tracker:
        """A new tracker, for one video. Thresholds of its rules never hide what the score threshold asks for.

        Raises:
            TypeError: If a class of somebody's own does not make trackers.
        """
        if callable(self.tracker):
            return _checked_tracker(self.tracker(), self.tracker_name)
        name = self.tracker_name
        if name == "minvis":
            return MinVISTracker()
        default = TrackRules()
        rules = replace(
            default,
            birth_score=min(default.birth_score, self.score_threshold),
            keep_score=min(default.keep_score, self.score_threshold),
        )
        if name == "overlap":
            return OverlapTracker(rules)
        return PropagationTracker(rules) if name == "propagate" else QueryTracker(rules)


def _checked_tracker(tracker: object, origin: str) -> Tracker:
    if not isinstance(tracker, Tracker):
        methods = ("update", "next_queries", "state_dict", "load_state_dict")
        missing = [name for name in methods if not hasattr(tracker, name)]
        raise TypeError(
            f"{origin} must make trackers, got {type(tracker).__name__} without {', '.join(missing)}. "
            "See video_mask2former.tracking.Tracker."
        )
    return tracker
