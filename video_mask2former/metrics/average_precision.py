"""Matching of scored predictions to ground truth, and precision and recall from it, by the rule of COCO.

The rule is shared by images and videos: only what an IoU is, and what makes ground truth count, differs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALL_POINTS = np.linspace(0.0, 1.0, 101)
# value of a figure that has nothing to be measured on
UNDEFINED = -1.0


@dataclass(frozen=True)
class Matches:
    """How the predictions of one class in one video (or image) fared.

    Attributes:
        scores: Confidence of each prediction, descending, ``(N,)``.
        matched: Whether each found ground truth at each IoU threshold, ``(10, N)`` bool.
        ignored: Whether each counts neither for nor against at each threshold, ``(10, N)`` bool.
        num_ground_truth: Ground truth that should be found.
    """

    scores: np.ndarray
    matched: np.ndarray
    ignored: np.ndarray
    num_ground_truth: int


def match_predictions(
    iou: np.ndarray,
    scores: np.ndarray,
    is_crowd: np.ndarray,
    is_ground_truth_ignored: np.ndarray,
    is_prediction_outside: np.ndarray,
) -> Matches:
    """Give each prediction, best score first, the free ground truth it overlaps most, at each IoU threshold.

    Ground truth that counts is preferred over ignored ground truth. A crowd can be matched any number of times.
    A prediction matched to ignored ground truth, or unmatched and outside the range looked at, is ignored.

    Args:
        iou: IoU of each prediction (scores descending) with each ground truth, ``(N, G)``.
        scores: ``(N,)``, descending.
        is_crowd: ``(G,)`` bool.
        is_ground_truth_ignored: Ground truth that need not be found, ``(G,)`` bool; includes the crowds.
        is_prediction_outside: Predictions out of the range looked at, ``(N,)`` bool.
    """
    matched = np.zeros((len(IOU_THRESHOLDS), len(scores)), bool)
    ignored = np.zeros_like(matched)
    num_ground_truth = int((~is_ground_truth_ignored).sum())
    if iou.max(initial=0.0) < IOU_THRESHOLDS[0]:
        ignored |= is_prediction_outside
        return Matches(scores, matched, ignored, num_ground_truth)
    order = np.argsort(is_ground_truth_ignored, kind="stable")
    overlaps: list[list[float]] = iou[:, order].tolist()
    crowd: list[bool] = is_crowd[order].tolist()
    optional: list[bool] = is_ground_truth_ignored[order].tolist()
    for level, threshold in enumerate(IOU_THRESHOLDS.tolist()):
        is_free = [True] * len(crowd)
        for index, row in enumerate(overlaps):
            best = _best_match(row, is_free, optional, threshold)
            if best is not None:
                is_free[best] = crowd[best]
                matched[level, index] = True
                ignored[level, index] = optional[best]
    ignored |= ~matched & is_prediction_outside
    return Matches(scores, matched, ignored, num_ground_truth)


def _best_match(
    overlaps: Sequence[float], is_free: Sequence[bool], is_optional: Sequence[bool], threshold: float
) -> int | None:
    """Index of the free ground truth of the largest IoU, the last of equals; optional ones only if no other will do."""
    best, floor = None, threshold
    for index, overlap in enumerate(overlaps):
        if best is not None and is_optional[index] and not is_optional[best]:
            break
        if is_free[index] and overlap >= floor:
            best, floor = index, overlap
    return best


def precision_recall(matches: Sequence[Matches], max_predictions: int) -> tuple[np.ndarray, np.ndarray]:
    """Interpolated precision and final recall of one class over many videos.

    Predictions of equal score keep the order of ``matches``.

    Args:
        matches: One entry a video, in the order that breaks ties.
        max_predictions: Only so many of the best predictions of each video count.

    Returns:
        Precision at each IoU threshold and recall point, ``(10, 101)``, and the recall reached at each threshold,
        ``(10,)``; both -1 where there is no ground truth.
    """
    precision = np.full((len(IOU_THRESHOLDS), len(RECALL_POINTS)), UNDEFINED)
    recall = np.full(len(IOU_THRESHOLDS), UNDEFINED)
    num_ground_truth = sum(match.num_ground_truth for match in matches)
    if num_ground_truth == 0:
        return precision, recall
    scores = np.concatenate([match.scores[:max_predictions] for match in matches])
    order = np.argsort(-scores, kind="stable")
    matched = np.concatenate([match.matched[:, :max_predictions] for match in matches], axis=1)[:, order]
    counted = ~np.concatenate([match.ignored[:, :max_predictions] for match in matches], axis=1)[:, order]
    true_positives = np.cumsum(matched & counted, axis=1).astype(np.float64)
    false_positives = np.cumsum(~matched & counted, axis=1).astype(np.float64)
    for level, (hits, misses) in enumerate(zip(true_positives, false_positives, strict=True)):
        precision[level], recall[level] = _interpolate(hits, misses, num_ground_truth)
    return precision, recall


def _interpolate(hits: np.ndarray, misses: np.ndarray, num_ground_truth: int) -> tuple[np.ndarray, float]:
    """Best precision at each recall point or beyond it, and the final recall, from running counts ``(N,)``."""
    if len(hits) == 0:
        return np.zeros(len(RECALL_POINTS)), 0.0
    recall = hits / num_ground_truth
    precision = hits / (hits + misses + np.spacing(1))
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    positions = np.searchsorted(recall, RECALL_POINTS, side="left")
    # the recall points that were never reached have precision 0
    return np.append(envelope, 0.0)[positions], float(recall[-1])


def mean_defined(values: np.ndarray) -> float:
    """Mean of the values that are defined (not -1); -1 if none is."""
    defined = values[values > UNDEFINED]
    return float(defined.mean()) if defined.size else UNDEFINED
