"""Options of datasets, frame sampling and transforms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from video_mask2former.config.schema import Section, option


@dataclass(frozen=True)
class DataConfig(Section):
    """What is read, and how frames become clips."""

    root: str | None = option(None, "Folder of the datasets; null is $DETECTRON2_DATASETS, or 'datasets'.")
    train: tuple[str, ...] = option(
        ("ytvis_2019_train",), "Datasets trained on: names of the catalog, or IMAGES::ANNOTATIONS.json."
    )
    train_ratios: tuple[float, ...] = option((), "Share of each training dataset, above 0; empty is by size.")
    test: tuple[str, ...] = option(("ytvis_2019_val",), "Datasets evaluated on.")
    num_frames: int = option(2, "Frames of a training clip.", at_least=1)
    frame_sampling: Literal["around", "around_repeating", "contiguous", "strided"] = option(
        "around",
        "Frames of a clip: random ones near a reference frame, the same where one may come several times (VITA), "
        "neighbours, or every frame_stride-th.",
    )
    frame_range: int = option(20, "Farthest frame from the reference frame, on either side.", at_least=0)
    frame_stride: int = option(1, "Distance of the frames of a clip where frame_sampling is 'strided'.", at_least=1)
    reverse_probability: float = option(0.0, "Chance that a clip is played backwards.", at_least=0, at_most=1)
    empty_clips: Literal["resample", "keep"] = option(
        "resample", "What becomes of clips without an instance: others are drawn instead, or they are trained on."
    )
    resize: Literal["short_side", "large_scale_jitter"] = option(
        "short_side", "Resize to one of short_sides, or by a random scale with a crop to crop_size."
    )
    short_sides: tuple[int, ...] = option((360, 480), "Short sides that one is drawn from.", at_least=1)
    max_side: int = option(1333, "Largest long side.", at_least=1)
    jitter_scales: tuple[float, float] = option((0.1, 2.0), "Range of the scale of large_scale_jitter.", at_least=0)
    crop_size: tuple[int, int] | None = option(None, "Height and width of a random crop; null is none.", at_least=1)
    crop_range: tuple[int, int] | None = option(
        None,
        "Cut half of the clips to a window with sides from this range, after resizing to a short side of 400, 500 or "
        "600 and before resizing to one of short_sides; null is never.",
        at_least=1,
    )
    flip_probability: float = option(0.5, "Chance of a horizontal flip of the clip.", at_least=0, at_most=1)
    color_jitter: bool = option(False, "Change brightness, contrast, saturation and hue at random.")
    clip_rotation_degrees: float = option(0.0, "Largest rotation of a clip as a whole.", at_least=0)
    rotation_degrees: float = option(15.0, "Largest rotation of each frame when one image is made a clip.", at_least=0)
    min_window: float = option(
        0.6, "Smallest side of the window of each frame when one image is made a clip; 1 is no window.", at_most=1
    )
    copy_paste_probability: float = option(
        0.0, "Chance that instances of another clip are pasted into a clip.", at_least=0, at_most=1
    )
    touching_probability: float = option(
        0.0, "Chance that one of the pasted instances touches an instance of its class.", at_least=0, at_most=1
    )
    num_workers: int = option(4, "Worker processes that read and transform.", at_least=0)
    prefetch_factor: int = option(2, "Batches that each worker prepares ahead.", at_least=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.train_ratios and len(self.train_ratios) != len(self.train):
            raise ValueError(
                f"train_ratios must have one number for each of the {len(self.train)} datasets of train, "
                f"got {len(self.train_ratios)}."
            )
        if any(ratio <= 0 for ratio in self.train_ratios):
            raise ValueError(
                f"train_ratios must be above 0, got {self.train_ratios}. Leave out a dataset that is not wanted."
            )
