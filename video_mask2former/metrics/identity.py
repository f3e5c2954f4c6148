"""How well objects are followed, apart from how well they are segmented: HOTA (arXiv:2009.07736), IDF1 (1609.01775).

Video AP cannot tell a track that breaks from one with poor masks. HOTA is the geometric mean of DetA, which only
asks whether the object is found on each frame, and AssA, which only asks whether its id stays the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from video_mask2former.metrics.average_precision import UNDEFINED
from video_mask2former.metrics.evaluator import check_new
from video_mask2former.metrics.track_comparison import check_same_video
from video_mask2former.metrics.track_overlap import every_pair, measure_tracks
from video_mask2former.structures import Track, VideoInstances

LOCALIZATION_THRESHOLDS = np.arange(1, 20) / 20
# IoU from which a mask is the object's, for identities; also the share of a crowd that excuses a false mask
MATCH_IOU = 0.5


@dataclass(frozen=True)
class IdentityCounts:
    """Sums over the frames of one video; those with a threshold axis have shape ``(19,)``.

    Attributes:
        num_objects: Ground-truth masks.
        num_predictions: Predicted masks.
        matches: Masks matched at each localization threshold.
        iou: Sum of the IoU of those.
        association: Sum of the association accuracy of those.
        association_recall: Sum of their association recall.
        association_precision: Sum of their association precision.
        identity_matches: Masks on the right track under the best one-to-one assignment of whole tracks.
        switches: Times that an object's matched id (at threshold 0.5) differs from its last one.
        interruptions: Times that an object is found again after frames that showed it without a match.
    """

    num_objects: int
    num_predictions: int
    matches: np.ndarray
    iou: np.ndarray
    association: np.ndarray
    association_recall: np.ndarray
    association_precision: np.ndarray
    identity_matches: int
    switches: int
    interruptions: int


@dataclass(frozen=True)
class _Frame:
    objects: np.ndarray
    predictions: np.ndarray
    iou: np.ndarray


class IdentityEvaluator:
    """HOTA, DetA, AssA, LocA, IDF1, id switches and interruptions, over the masks of all videos and classes.

    Only masks of one class can match. Crowds are not objects; predictions that lie at least half inside a crowd of
    their class and match no object are left out.

    Args:
        min_score: Predictions below are left out: unlike AP, these measures count every false track in full.
        is_class_agnostic: Let masks of any class match.
    """

    def __init__(self, *, min_score: float = 0.3, is_class_agnostic: bool = False) -> None:
        self.min_score = min_score
        self.is_class_agnostic = is_class_agnostic
        self._videos: dict[int, IdentityCounts] = {}

    def reset(self) -> None:
        """Forget all videos."""
        self._videos = {}

    def process(self, prediction: VideoInstances, ground_truth: VideoInstances) -> None:
        """Take one video.

        Raises:
            ValueError: If the two are not of one video, or it was processed before.
        """
        check_same_video(prediction, ground_truth)
        assert ground_truth.video_id is not None
        check_new(ground_truth.video_id, self._videos)
        kept = [track for track in prediction.tracks if track.score >= self.min_score]
        objects = [track for track in ground_truth.tracks if not track.is_crowd]
        crowds = [track for track in ground_truth.tracks if track.is_crowd]
        frames = _compare_frames(objects, kept, crowds, self.is_class_agnostic)
        self._videos[ground_truth.video_id] = _count(frames, len(objects), len(kept))

    def state(self) -> dict[int, IdentityCounts]:
        """What was kept of the videos so far."""
        return dict(self._videos)

    def merge(self, states: Iterable[Mapping[int, IdentityCounts]]) -> None:
        """Take the videos of several states in place of those so far; a video in two states counts once."""
        self._videos = {video_id: counts for state in states for video_id, counts in state.items()}

    def evaluate(self) -> dict[str, float]:
        """The measures, means over the localization thresholds 0.05 to 0.95; -1 where nothing is annotated."""
        names = ("HOTA", "DetA", "AssA", "LocA", "DetRe", "DetPr", "AssRe", "AssPr", "IDF1", "IDP", "IDR")
        videos = [self._videos[video_id] for video_id in sorted(self._videos)]
        counts = {
            "id_switches": float(sum(video.switches for video in videos)),
            "interruptions": float(sum(video.interruptions for video in videos)),
        }
        if sum(video.num_objects for video in videos) == 0:
            return dict.fromkeys(names, UNDEFINED) | counts
        figures = _hota(videos) | _identity(videos)
        return {name: figures[name] for name in names} | counts


def _hota(videos: Sequence[IdentityCounts]) -> dict[str, float]:
    objects = sum(video.num_objects for video in videos)
    predictions = sum(video.num_predictions for video in videos)
    matches = np.sum([video.matches for video in videos], axis=0)
    divisor = np.maximum(matches, 1)
    detection = matches / np.maximum(objects + predictions - matches, 1)
    association = np.sum([video.association for video in videos], axis=0) / divisor
    iou = np.sum([video.iou for video in videos], axis=0)
    curves = {
        "HOTA": np.sqrt(detection * association),
        "DetA": detection,
        "AssA": association,
        # a threshold nothing reaches counts as perfect localization, as in the authors' tool
        "LocA": np.where(matches > 0, iou / divisor, 1.0),
        "DetRe": matches / objects,
        "DetPr": matches / max(predictions, 1),
        "AssRe": np.sum([video.association_recall for video in videos], axis=0) / divisor,
        "AssPr": np.sum([video.association_precision for video in videos], axis=0) / divisor,
    }
    return {name: float(curve.mean()) for name, curve in curves.items()}


def _identity(videos: Sequence[IdentityCounts]) -> dict[str, float]:
    objects = sum(video.num_objects for video in videos)
    predictions = sum(video.num_predictions for video in videos)
    matches = sum(video.identity_matches for video in videos)
    return {
        "IDF1": 2 * matches / (objects + predictions),
        "IDP": matches / max(predictions, 1),
        "IDR": matches / objects,
    }


def _compare_frames(
    objects: Sequence[Track], predictions: Sequence[Track], crowds: Sequence[Track], is_class_agnostic: bool
) -> list[_Frame]:
    """The masks of each frame, but empty ones, and the IoU of those that may match."""
    tracks = [*objects, *predictions, *crowds]
    first_prediction, first_crowd = len(objects), len(objects) + len(predictions)
    real = [*range(first_prediction), *range(first_crowd, len(tracks))]
    pairs = every_pair(real, range(first_prediction, first_crowd))
    if not is_class_agnostic:
        labels = np.array([track.label for track in tracks], np.int64)
        pairs = pairs[labels[pairs[:, 0]] == labels[pairs[:, 1]]]
    measured = measure_tracks(tracks, pairs)
    visible = np.flatnonzero(measured.areas)
    visible = visible[np.lexsort((measured.owners[visible], measured.frames[visible]))]
    pair_frames = measured.frames[measured.mask_pairs[:, 0]]
    pair_order = np.argsort(pair_frames, kind="stable")
    found, starts = np.unique(measured.frames[visible], return_index=True)
    pair_bounds = np.searchsorted(pair_frames[pair_order], [found, found + 1]).T.tolist()
    frames: list[_Frame] = []
    if not len(visible):
        return frames
    for masks, (start, stop) in zip(np.split(visible, starts[1:]), pair_bounds, strict=True):
        owners = measured.owners[masks]
        num_objects, num_seen = np.searchsorted(owners, [first_prediction, first_crowd]).tolist()
        rows, columns = owners[:num_objects], owners[num_objects:num_seen]
        if not len(rows) and not len(columns):
            continue
        here = pair_order[start:stop]
        shared = np.zeros((len(tracks), len(columns)), np.int64)
        pair = measured.mask_pairs[here]
        place = np.searchsorted(columns, measured.owners[pair[:, 1]])
        is_shared = measured.shared[here] > 0  # those of empty masks are not, and these have no place
        shared[measured.owners[pair[is_shared, 0]], place[is_shared]] = measured.shared[here[is_shared]]
        row_areas, column_areas = measured.areas[masks[:num_objects]], measured.areas[masks[num_objects:num_seen]]
        iou = shared[rows] / np.maximum(row_areas[:, None] + column_areas[None] - shared[rows], 1)
        inside = shared[first_crowd:] / np.maximum(column_areas, 1)
        kept = ~_is_excused(iou, inside)
        frames.append(_Frame(rows, columns[kept] - first_prediction, iou[:, kept]))
    return frames


def _is_excused(iou: np.ndarray, inside_crowd: np.ndarray) -> np.ndarray:
    """Which predictions match no object and lie at least half in a crowd, from ``(G, N)`` and ``(crowds, N)``."""
    is_excused: np.ndarray = np.any(inside_crowd >= MATCH_IOU, axis=0)
    if is_excused.any():
        rows, columns = linear_sum_assignment(np.where(iou >= MATCH_IOU, iou, 0.0), maximize=True)
        is_excused[columns[iou[rows, columns] >= MATCH_IOU]] = False
    return is_excused


def _count(frames: Sequence[_Frame], num_objects: int, num_predictions: int) -> IdentityCounts:
    object_counts, prediction_counts = np.zeros(num_objects), np.zeros(num_predictions)
    # how far each pair could be on the same frames, whatever else is there; prefers pairs that last
    soft = np.zeros((num_objects, num_predictions))
    hard = np.zeros_like(soft)
    for frame in frames:
        object_counts[frame.objects] += 1
        prediction_counts[frame.predictions] += 1
        rest = frame.iou.sum(0, keepdims=True) + frame.iou.sum(1, keepdims=True) - frame.iou
        pairs = np.ix_(frame.objects, frame.predictions)
        soft[pairs] += np.divide(frame.iou, rest, out=np.zeros_like(frame.iou), where=rest > 0)
        hard[pairs] += frame.iou >= MATCH_IOU
    total = object_counts[:, None] + prediction_counts[None]
    alignment = soft / np.maximum(total - soft, 1e-12)
    pair_matches, iou, switches, interruptions = _match_frames(frames, alignment)
    both = np.maximum(total - pair_matches, 1)
    recall = pair_matches / np.maximum(object_counts, 1)[:, None]
    precision = pair_matches / np.maximum(prediction_counts, 1)[None]
    return IdentityCounts(
        num_objects=int(object_counts.sum()),
        num_predictions=int(prediction_counts.sum()),
        matches=pair_matches.sum((1, 2)),
        iou=iou,
        association=(pair_matches**2 / both).sum((1, 2)),
        association_recall=(pair_matches * recall).sum((1, 2)),
        association_precision=(pair_matches * precision).sum((1, 2)),
        identity_matches=int(hard[linear_sum_assignment(hard, maximize=True)].sum()),
        switches=switches,
        interruptions=interruptions,
    )


def _match_frames(frames: Sequence[_Frame], alignment: np.ndarray) -> tuple[np.ndarray, np.ndarray, int, int]:
    """Matches of each pair of tracks ``(19, G, N)`` and the sum of their IoU ``(19,)`` by threshold; id switches and
    interruptions.
    """
    matches = np.zeros((len(LOCALIZATION_THRESHOLDS), *alignment.shape))
    iou = np.zeros(len(LOCALIZATION_THRESHOLDS))
    last_seen: dict[int, int] = {}
    switches, interruptions = 0, 0
    missed: set[int] = set()  # objects that were in sight, and not found, since they were found last
    for frame in frames:
        score = alignment[np.ix_(frame.objects, frame.predictions)] * frame.iou
        rows, columns = linear_sum_assignment(score, maximize=True)
        values = frame.iou[rows, columns]
        # the tolerance of the authors' tool: an IoU that is a threshold counts
        is_match = values[None] >= LOCALIZATION_THRESHOLDS[:, None] - np.finfo(np.float64).eps
        matches[:, frame.objects[rows], frame.predictions[columns]] += is_match
        iou += (is_match * values).sum(1)
        for row, column in zip(rows[values >= MATCH_IOU], columns[values >= MATCH_IOU], strict=True):
            found, track = int(frame.objects[row]), int(frame.predictions[column])
            switches += last_seen.get(found, track) != track
            interruptions += found in missed
            last_seen[found] = track
        matched = set(frame.objects[rows[values >= MATCH_IOU]].tolist())
        missed = (missed | (last_seen.keys() & set(frame.objects.tolist()))) - matched
    return matches, iou, switches, interruptions
