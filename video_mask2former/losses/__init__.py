"""Matching and losses over clips."""

from video_mask2former.losses.base import CombinedCriterion, Criterion, Loss
from video_mask2former.losses.centres import CentreLoss
from video_mask2former.losses.class_queries import ClassQueryCriterion
from video_mask2former.losses.contrastive import ContrastiveLoss
from video_mask2former.losses.criterion import LossNormalizer, SetCriterion
from video_mask2former.losses.first_appearance import FirstAppearanceCriterion
from video_mask2former.losses.frame_criterion import FrameCriterion
from video_mask2former.losses.matcher import HungarianMatcher
from video_mask2former.losses.max_deeplab import InstanceDiscrimination, MaXDeepLabCriterion, PanopticQuality
from video_mask2former.losses.object_criterion import ObjectCriterion
from video_mask2former.losses.semantic import SemanticCriterion
from video_mask2former.losses.tracking_criteria import RefinerCriterion, TrackerCriterion
from video_mask2former.losses.whole_mask_criterion import WholeMaskCriterion

CRITERIA: dict[str, type[Criterion]] = {
    "clip": SetCriterion,
    "frame": FrameCriterion,
    "first_appearance": FirstAppearanceCriterion,
    "tracker": TrackerCriterion,
    "refiner": RefinerCriterion,
    "objects": ObjectCriterion,
    "whole_mask": WholeMaskCriterion,
    "max_deeplab": MaXDeepLabCriterion,
    "semantic": SemanticCriterion,
    "class_queries": ClassQueryCriterion,
}
LOSSES: dict[str, type[Loss]] = {
    "contrastive": ContrastiveLoss,
    "centres": CentreLoss,
    "panoptic_quality": PanopticQuality,
    "instance_discrimination": InstanceDiscrimination,
}

__all__ = [
    "CRITERIA",
    "LOSSES",
    "CombinedCriterion",
    "Criterion",
    "HungarianMatcher",
    "Loss",
    "LossNormalizer",
    "SetCriterion",
]
