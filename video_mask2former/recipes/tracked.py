"""Segmenters with a tracker or refiner around them, from their configuration."""

from __future__ import annotations

from typing import Any

from video_mask2former.config import Config, PartConfig
from video_mask2former.models import Segmenter
from video_mask2former.recipes.inference import build_tracker, is_learned
from video_mask2former.recipes.part_options import part_options
from video_mask2former.recipes.parts import LEARNED_TRACKER, REFINER, PartKind, PartPlan, plan_part
from video_mask2former.refinement import Refiner, TrackedModel
from video_mask2former.tracking import LearnedTracker

# Arguments of trackers and refiners that follow from the segmenter
_OF_THE_SEGMENTER = ("num_classes", "num_queries", "embedding_dim", "mask_dim", "pixel_dim")


def plan_tracked(config: Config, origin: str = "the configuration") -> dict[str, PartPlan]:
    """Check the options of the tracker with weights and of the refiner, where there are any, without building them."""
    plans = {}
    if config.tracker is not None and is_learned(config.tracker):
        plans["tracker"] = _plan(LEARNED_TRACKER, config.tracker, "tracker", origin)
    if config.refiner is not None:
        plans["refiner"] = _plan(REFINER, config.refiner, "refiner", origin)
    return plans


def with_tracker(segmenter: Segmenter, config: Config) -> Segmenter:
    """The segmenter as it is, or with the tracker and refiner of its configuration around it.

    Raises:
        ValueError: If a part rejects its options, or does not fit the segmenter.
    """
    plans = plan_tracked(config)
    if not plans and not config.model.frame_by_frame:
        return segmenter
    parts: dict[str, Any] = {name: _build(plan, segmenter) for name, plan in plans.items()}
    if config.tracker is not None and "tracker" not in parts:
        parts["tracker"] = build_tracker(config.tracker)
    return TrackedModel(segmenter, parts.get("tracker"), parts.get("refiner"))


def _plan(kind: PartKind, config: PartConfig, key: str, origin: str) -> PartPlan:
    return plan_part(kind, config, key, provided=_OF_THE_SEGMENTER, origin=origin)


def _build(plan: PartPlan, segmenter: Segmenter) -> LearnedTracker | Refiner:
    wanted = [name for name in _OF_THE_SEGMENTER if name in part_options(plan.part)]
    missing = [name for name in wanted if not hasattr(segmenter, name)]
    if missing:
        raise ValueError(
            f"{plan.key} {plan.name} needs the {missing[0]} of the segmenter, and {type(segmenter).__name__} does not "
            "say it. Give it an attribute of this name."
        )
    part: LearnedTracker | Refiner = plan.build(**{name: getattr(segmenter, name) for name in wanted})
    return part
