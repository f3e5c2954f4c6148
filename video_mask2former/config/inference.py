"""Options of inference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from video_mask2former.config.schema import Section, check_name, option

TRACKERS = ("query", "overlap", "propagate", "minvis")


@dataclass(frozen=True)
class InferenceConfig(Section):
    """How a trained model is run on videos and images.

    The defaults are the protocol of the published numbers, so that a configuration says how its model is measured.
    The command line's ``predict`` is for people and starts from other defaults; it names them in its help.
    """

    task: Literal["instance", "panoptic", "semantic"] = option("instance", "What is made of the masks.")
    mode: Literal["clip", "online"] = option(
        "clip", "Decode the video as one clip, or window by window with a tracker."
    )
    window: int | None = option(None, "Frames of a window; null is the whole video (clip) or 1 (online).", at_least=1)
    overlap: int = option(0, "Frames that neighbouring windows share.", at_least=0)
    remainder: Literal["shift", "short"] = option(
        "shift", "When too few frames are left, the last window is shifted back to its full length, or short."
    )
    tracker: str | None = option(
        None,
        "What gives objects their ids across windows: query (similarity of queries), overlap (masks on shared frames), "
        "propagate (queries that start the next window), minvis (the published rule), or module:Class, a tracker that "
        "Python can import and make without arguments; null is overlap where windows overlap, else query.",
    )
    short_side: int = option(360, "Short side that frames are resized to.", at_least=1)
    max_side: int = option(1333, "Largest long side of the resized frames.", at_least=1)
    top_k: int = option(10, "Most objects of a video (instances of an image).", at_least=1)
    score_threshold: float = option(0.0, "Objects below this score are dropped.", at_least=0, at_most=1)
    one_label_per_query: bool = option(False, "Report an object under its likeliest class only.")
    keep_empty: bool = option(True, "Report objects that have no mask on any frame.")
    classes: tuple[str, ...] | None = option(None, "Names or indices of the classes reported; null is all.")
    resolve_overlaps: bool = option(False, "Give each pixel to one object at most.")
    object_mask_threshold: float = option(
        0.8, "Queries below this class score take no part in a panoptic merge.", at_least=0, at_most=1
    )
    overlap_threshold: float = option(
        0.8, "Share of its own mask that a segment must keep in a panoptic merge.", at_least=0, at_most=1
    )
    chunk_size: int = option(4, "Frames that pass through the backbone at once.", at_least=1)
    dtype: Literal["float32", "bfloat16", "float16"] = option("float32", "Type that the model runs in.")
    feature_dtype: Literal["float32", "bfloat16", "float16"] | None = option(
        None, "Type that the features of a clip are kept in until they are decoded; null is as they come."
    )
    feature_device: str | None = option(None, "Where they are kept, such as cpu; null is the model's device.")
    video_backend: Literal["pyav", "decord"] = option(
        "pyav", "Decoder of video files; PyAV steps in where decord is missing or fails."
    )
    compile: bool = option(False, "Compile the part of the model that sees one frame at a time.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.tracker is not None:
            check_name("tracker", self.tracker, TRACKERS)
        if self.overlap and self.overlap >= (self.window or 1):
            window = "no window" if self.window is None else f"window {self.window}"
            raise ValueError(f"overlap must be less than window, got overlap {self.overlap} and {window}.")
