"""The tracker that settings ask for."""

from __future__ import annotations

import inspect
from dataclasses import replace
from typing import Any

from video_mask2former.config import InferenceSettings
from video_mask2former.tracking import TRACKERS, Tracker, TrackRules


def make_tracker(settings: InferenceSettings) -> Tracker:
    """A new tracker, for one video. Thresholds of its rules never hide what the score threshold asks for.

    Raises:
        ValueError: If the name of the tracker is unknown.
        TypeError: If a custom class does not make trackers.
    """
    if callable(settings.tracker):
        return _checked_tracker(settings.tracker(), settings.tracker_name)
    name = settings.tracker_name
    if name not in TRACKERS:
        raise ValueError(
            f"tracker must be one of {', '.join(TRACKERS)}, or a class that makes trackers, got {name!r}. "
            "In a configuration, and on the command line, a custom class is module:Class."
        )
    default = TrackRules()
    rules = replace(
        default,
        birth_score=min(default.birth_score, settings.score_threshold),
        keep_score=min(default.keep_score, settings.score_threshold),
    )
    tracker: Any = TRACKERS[name]
    return _checked_tracker(tracker(rules) if "rules" in inspect.signature(tracker).parameters else tracker(), name)


def _checked_tracker(tracker: object, origin: str) -> Tracker:
    if not isinstance(tracker, Tracker):
        methods = ("update", "next_queries", "state_dict", "load_state_dict")
        missing = [name for name in methods if not hasattr(tracker, name)]
        raise TypeError(
            f"{origin} must make trackers, got {type(tracker).__name__} without {', '.join(missing)}. "
            "See video_mask2former.tracking.Tracker."
        )
    return tracker
