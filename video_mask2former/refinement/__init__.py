"""Refiners: what looks at the whole video once all its frames have been seen."""

from __future__ import annotations

from video_mask2former.refinement.base import QueryHistory, Refinement, Refiner
from video_mask2former.refinement.temporal_refiner import TemporalRefiner
from video_mask2former.refinement.tracked_model import TrackedModel
from video_mask2former.refinement.vita import VitaRefiner

REFINERS: dict[str, type[Refiner]] = {"temporal": TemporalRefiner, "vita": VitaRefiner}

__all__ = ["REFINERS", "QueryHistory", "Refinement", "Refiner", "TemporalRefiner", "TrackedModel", "VitaRefiner"]
