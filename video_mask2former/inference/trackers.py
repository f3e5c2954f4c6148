"""The tracker that settings ask for."""

from __future__ import annotations

from dataclasses import replace

from video_mask2former.config import InferenceSettings
from video_mask2former.tracking import (
    MinVISTracker,
    OverlapTracker,
    PropagationTracker,
    QueryTracker,
    Tracker,
    TrackRules,
)


def make_tracker(settings: InferenceSettings) -> Tracker:
    """A new tracker, for one video. Thresholds of its rules never hide what the score threshold asks for.

    Raises:
        TypeError: If a custom class does not make trackers.
    """
    if callable(settings.tracker):
        return _checked_tracker(settings.tracker(), settings.tracker_name)
    name = settings.tracker_name
    if name == "minvis":
        return MinVISTracker()
    default = TrackRules()
    rules = replace(
        default,
        birth_score=min(default.birth_score, settings.score_threshold),
        keep_score=min(default.keep_score, settings.score_threshold),
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
