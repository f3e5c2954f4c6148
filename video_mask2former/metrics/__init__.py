"""Measures of quality: AP of videos and images, panoptic quality, STQ, mIoU, consistency, identities; reports."""

from video_mask2former.metrics.ap_breakdowns import (
    ap_by_instance_count,
    ap_by_motion_speed,
    ap_by_track_length,
    short_long_summary,
)
from video_mask2former.metrics.coco_ap import CocoApEvaluator
from video_mask2former.metrics.evaluator import Evaluator
from video_mask2former.metrics.identity import IdentityEvaluator
from video_mask2former.metrics.miou import LabelMap, SemanticIouEvaluator
from video_mask2former.metrics.panoptic_quality import PanopticMap, PanopticQualityEvaluator
from video_mask2former.metrics.report import Report, format_figure
from video_mask2former.metrics.segmentation_tracking_quality import SegmentationTrackingQualityEvaluator
from video_mask2former.metrics.video_consistency import VideoConsistencyEvaluator
from video_mask2former.metrics.video_quality import video_qualities
from video_mask2former.metrics.ytvis_ap import YtvisApEvaluator, without_classes

__all__ = [
    "CocoApEvaluator",
    "Evaluator",
    "IdentityEvaluator",
    "LabelMap",
    "PanopticMap",
    "PanopticQualityEvaluator",
    "Report",
    "SegmentationTrackingQualityEvaluator",
    "SemanticIouEvaluator",
    "VideoConsistencyEvaluator",
    "YtvisApEvaluator",
    "ap_by_instance_count",
    "ap_by_motion_speed",
    "ap_by_track_length",
    "format_figure",
    "short_long_summary",
    "video_qualities",
    "without_classes",
]
