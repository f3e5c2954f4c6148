"""One number for each video, to find the best and the worst of them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.optimize import linear_sum_assignment

from video_mask2former.metrics.average_precision import UNDEFINED
from video_mask2former.metrics.track_comparison import ClassComparison, VideoComparison


def video_qualities(videos: Mapping[int, VideoComparison], min_score: float) -> dict[int, float]:
    """How well the tracks of each video agree with its annotations: 1 if perfectly, 0 if nothing overlaps.

    Twice the IoU of the best one-to-one assignment of tracks within each class, over the number of predicted and
    annotated tracks. Crowds, and predictions that lie mostly on one, do not count; -1 if nothing is left.

    Args:
        videos: What an evaluator kept of the videos.
        min_score: Predictions below are left out.
    """
    return {video_id: _quality(video, min_score) for video_id, video in sorted(videos.items())}


def _quality(video: VideoComparison, min_score: float) -> float:
    parts = [_overlap_and_count(comparison, min_score) for comparison in video.classes]
    count = sum(number for _, number in parts)
    return sum(2 * overlap for overlap, _ in parts) / count if count else UNDEFINED


def _overlap_and_count(comparison: ClassComparison, min_score: float) -> tuple[float, int]:
    """IoU of the best assignment, summed, and the number of tracks."""
    iou = comparison.iou[comparison.scores >= min_score]
    on_crowd = iou[:, comparison.is_crowd].max(axis=1, initial=0.0)
    iou = iou[:, ~comparison.is_crowd]
    rows, columns = linear_sum_assignment(iou, maximize=True)
    is_matched = np.zeros(len(iou), bool)
    is_matched[rows] = iou[rows, columns] > 0
    num_counted = int((is_matched | (on_crowd < 0.5)).sum())
    return float(iou[rows, columns].sum()), num_counted + iou.shape[1]
