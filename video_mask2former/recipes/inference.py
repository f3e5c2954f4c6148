"""How a configuration says that its model is run, as settings."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, cast

from video_mask2former.config import Config, InferenceSettings, PartConfig
from video_mask2former.recipes.class_path import import_class
from video_mask2former.recipes.parts import CLASS_PATH, TRACKER, PartPlan, plan_part
from video_mask2former.tracking import LEARNED_TRACKERS, LearnedTracker, Tracker


@dataclass(frozen=True)
class TrackerOfPlan:
    """Makes trackers of one class with the same options, one for each video.

    Attributes:
        plan: The class and its options.
    """

    plan: PartPlan

    @property
    def name(self) -> str:
        """The class and its options, to tell by whether two runs were alike."""
        options = ", ".join(f"{name}={value!r}" for name, value in sorted(self.plan.arguments.items()))
        return f"{self.plan.name}({options})" if options else self.plan.name

    def __call__(self) -> Tracker:
        """A new tracker."""
        return cast(Tracker, self.plan.build())


def is_learned(tracker: PartConfig | None) -> bool:
    """Whether a tracker has weights, and so is a part of the model.

    Raises:
        ImportError: If it is a custom class and Python does not find its module.
    """
    if tracker is None:
        return False
    if CLASS_PATH.fullmatch(tracker.name):
        return issubclass(import_class(tracker.name, object), LearnedTracker)
    return tracker.name in LEARNED_TRACKERS


def build_tracker(config: PartConfig) -> TrackerOfPlan:
    """What makes the trackers that a configuration names.

    Raises:
        ImportError: If it is a custom class and Python does not find its module.
        ValueError: If the name is unknown or no tracker, or an option is unknown or wrong.
    """
    return TrackerOfPlan(plan_part(TRACKER, config, "tracker"))


def build_settings(config: Config) -> InferenceSettings:
    """How a configuration says that its model is run on videos.

    Raises:
        ImportError: If the tracker is a custom class and Python does not find its module.
        ValueError: If the tracker is unknown, or one of its options is.
    """
    if config.tracker is None or is_learned(config.tracker):
        return config.inference
    tracker: TrackerOfPlan | str = build_tracker(config.tracker)
    # By its name, thresholds follow the score threshold; runs write out options that were left at their defaults.
    if ":" not in config.tracker.name and _complete(config.tracker) == _complete(PartConfig(config.tracker.name)):
        tracker = config.tracker.name
    return replace(config.inference, tracker=tracker)


def _complete(tracker: PartConfig) -> dict[str, Any]:
    return plan_part(TRACKER, tracker, "tracker").complete()
