"""The inference section of a configuration to a predictor."""

from __future__ import annotations

from typing import cast

from video_mask2former.config import InferenceConfig
from video_mask2former.inference import InferenceSettings
from video_mask2former.inference.settings import TrackerChoice, TrackerName
from video_mask2former.recipes.class_path import import_class
from video_mask2former.tracking import Tracker


def build_settings(config: InferenceConfig) -> InferenceSettings:
    """How a configuration says that its model is run on videos.

    Raises:
        ImportError: If the tracker is somebody's own and Python does not find its module.
        ValueError: If the tracker is somebody's own and no tracker.
    """
    tracker: TrackerChoice | None = cast(TrackerName | None, config.tracker)
    if config.tracker is not None and ":" in config.tracker:
        tracker = import_class(config.tracker, Tracker)  # type: ignore[type-abstract]
    return InferenceSettings(
        mode=config.mode,
        window=config.window,
        overlap=config.overlap,
        remainder=config.remainder,
        tracker=tracker,
        top_k=config.top_k,
        score_threshold=config.score_threshold,
        one_label_per_query=config.one_label_per_query,
        keep_empty=config.keep_empty,
        classes=config.classes,
        resolve_overlaps=config.resolve_overlaps,
        short_side=config.short_side,
        max_side=config.max_side,
        chunk_size=config.chunk_size,
        dtype=config.dtype,
        feature_dtype=config.feature_dtype,
        feature_device=config.feature_device,
        compile_model=config.compile,
        video_backend=config.video_backend,
    )
