"""The inference section of a configuration to settings that can be run."""

from __future__ import annotations

from dataclasses import replace

from video_mask2former.config import InferenceSettings
from video_mask2former.recipes.class_path import import_class
from video_mask2former.tracking import Tracker


def build_settings(settings: InferenceSettings) -> InferenceSettings:
    """Settings whose tracker is imported where it is a custom class.

    Raises:
        ImportError: If Python does not find the module of the class.
        ValueError: If the class is not a tracker.
    """
    if not isinstance(settings.tracker, str) or ":" not in settings.tracker:
        return settings
    return replace(settings, tracker=import_class(settings.tracker, Tracker))
