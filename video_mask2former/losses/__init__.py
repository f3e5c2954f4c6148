"""Matching and losses over clips."""

from video_mask2former.losses.criterion import LossNormalizer, SetCriterion
from video_mask2former.losses.matcher import HungarianMatcher

__all__ = ["HungarianMatcher", "LossNormalizer", "SetCriterion"]
