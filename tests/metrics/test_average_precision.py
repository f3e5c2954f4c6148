"""The rule, written out once more in the plainest way, against the fast one on made-up cases.

Masks are sets of cells of 64 x 64 pixels, so that areas fall on the limits of the area ranges (4 and 16 cells).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from video_mask2former.metrics import YtvisApEvaluator
from video_mask2former.metrics.average_precision import match_predictions, mean_defined, precision_recall
from video_mask2former.rle import encode_masks
from video_mask2former.structures import Track, VideoInstances

CELL, GRID, NUM_FRAMES, NUM_CLASSES = 64, 5, 2, 2


@dataclass
class PlainTrack:
    label: int
    score: float
    is_crowd: bool
    # (frame, cell) pairs the object covers
    cells: frozenset = field(default_factory=frozenset)

    @property
    def mean_area(self):
        areas = [sum(CELL**2 for time, _ in self.cells if time == frame) for frame in range(NUM_FRAMES)]
        areas = [area for area in areas if area > 0]
        return sum(areas) / len(areas) if areas else 0

    def overlap(self, other):
        union = len(self.cells | other.cells)
        return len(self.cells & other.cells) / union if union else 0.0


def plain_outcomes(predictions, truths, low, high, max_predictions, threshold):
    """(score, is_hit) of the predictions of one class in one video that count, and how many objects count."""
    optional = [truth.is_crowd or not low <= truth.mean_area <= high for truth in truths]
    predictions = sorted(predictions, key=lambda prediction: -prediction.score)[:max_predictions]
    taken = set()
    outcomes = []
    for prediction in predictions:
        # those that count first; among equals the later one
        candidates = [
            (not optional[index], prediction.overlap(truth), index)
            for index, truth in enumerate(truths)
            if prediction.overlap(truth) >= threshold and (index not in taken or truth.is_crowd)
        ]
        if candidates:
            counts, _, index = max(candidates)
            taken.add(index)
            if counts:
                outcomes.append((prediction.score, True))
        elif low <= prediction.mean_area <= high:
            outcomes.append((prediction.score, False))
    return outcomes, optional.count(False)


def plain_curve(videos, label, low, high, max_predictions, threshold):
    """Precision at the 101 recall points, and the recall reached; None where nothing is annotated."""
    outcomes, num_objects = [], 0
    for predictions, truths in videos:
        part, count = plain_outcomes(
            [track for track in predictions if track.label == label],
            [track for track in truths if track.label == label],
            low,
            high,
            max_predictions,
            threshold,
        )
        outcomes += part
        num_objects += count
    if num_objects == 0:
        return None
    outcomes.sort(key=lambda outcome: -outcome[0])
    points, hits = [], 0
    for rank, (_, is_hit) in enumerate(outcomes, start=1):
        hits += is_hit
        points.append((hits / num_objects, hits / rank))
    precision = [
        max((precision for recall, precision in points if recall >= wanted), default=0.0)
        for wanted in np.linspace(0, 1, 101)
    ]
    return precision, hits / num_objects


def plain_figures(videos):
    thresholds = np.linspace(0.5, 0.95, 10)
    ranges = {"": (0, 1e10), "s": (0, 128**2), "m": (128**2, 256**2), "l": (256**2, 1e10)}

    def mean(part, area, max_predictions, chosen=thresholds):
        curves = [
            plain_curve(videos, label, *ranges[area], max_predictions, threshold)
            for label in range(NUM_CLASSES)
            for threshold in chosen
        ]
        curves = [np.mean(curve[part]) for curve in curves if curve is not None]
        return float(np.mean(curves)) if curves else -1.0

    figures = {"AP": mean(0, "", 100), "AP50": mean(0, "", 100, [0.5]), "AP75": mean(0, "", 100, [0.75])}
    figures |= {f"AP{name}": mean(0, name, 100) for name in "sml"}
    figures |= {f"AR{count}": mean(1, "", count) for count in (1, 10, 100)}
    return figures | {f"AR{name}": mean(1, name, 100) for name in "sml"}


CELLS = st.frozensets(st.tuples(st.integers(0, NUM_FRAMES - 1), st.integers(0, GRID * GRID - 1)), max_size=50)
# rectangles overlap more often than random cells
BOXES = st.builds(
    lambda y, x, height, width, times: frozenset(
        (time, row * GRID + column)
        for time in times
        for row in range(y, min(y + height, GRID))
        for column in range(x, min(x + width, GRID))
    ),
    st.integers(0, 2),
    st.integers(0, 2),
    st.integers(1, GRID),
    st.integers(1, GRID),
    st.sets(st.integers(0, NUM_FRAMES - 1)),
)
TRACKS = st.builds(
    PlainTrack,
    label=st.integers(0, NUM_CLASSES - 1),
    score=st.sampled_from([0.1, 0.5, 0.5, 0.9]),
    is_crowd=st.sampled_from([False, False, False, True]),
    cells=BOXES | CELLS,
)


@st.composite
def annotated_videos(draw):
    """(predictions, ground truth) of each video; many predictions are disturbed copies of objects."""
    videos = []
    for _ in range(draw(st.integers(1, 3))):
        truths = draw(st.lists(TRACKS, max_size=4))
        predictions = draw(st.lists(TRACKS, max_size=3))
        for truth in truths:
            for _ in range(draw(st.integers(0, 2))):
                wrong = draw(st.frozensets(st.tuples(st.integers(0, NUM_FRAMES - 1), st.integers(0, 24)), max_size=2))
                score = draw(st.sampled_from([0.1, 0.5, 0.9]))
                predictions.append(PlainTrack(truth.label, score, False, truth.cells ^ wrong))
        videos.append((draw(st.permutations(predictions)), truths))
    return videos


def to_instances(tracks, video_id):
    def rle(cells):
        mask = np.zeros(GRID * GRID, bool)
        mask[cells] = True
        return encode_masks(np.kron(mask.reshape(1, GRID, GRID), np.ones((1, CELL, CELL), bool)))[0]

    made = []
    for index, track in enumerate(tracks):
        frames = {time: [cell for frame, cell in track.cells if frame == time] for time in range(NUM_FRAMES)}
        masks = {time: rle(cells) for time, cells in frames.items() if cells}
        made.append(Track(index, track.label, track.score, masks, is_crowd=track.is_crowd))
    return VideoInstances(tuple(made), NUM_FRAMES, (GRID * CELL, GRID * CELL), video_id=video_id)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(annotated_videos())
def test_equals_the_plain_rule(videos):
    evaluator = YtvisApEvaluator(["first", "second"])
    # fed in reverse: only the ids give the order
    for video_id, (predictions, truths) in reversed(list(enumerate(videos))):
        evaluator.process(to_instances(predictions, video_id), to_instances(truths, video_id))
    expected = plain_figures(videos)
    got = evaluator.evaluate()
    assert got == {key: pytest.approx(expected[key], abs=1e-9) for key in got}


def test_the_plain_rule_has_something_to_say():
    """Guards the comparison above: a case where most figures differ from 0, 1 and -1."""
    square = frozenset((0, row * GRID + column) for row in range(3) for column in range(3))
    tiny = frozenset({(0, 24)})
    truths = [PlainTrack(0, 1.0, False, square), PlainTrack(0, 1.0, False, tiny)]
    predictions = [PlainTrack(0, 0.9, False, square - {(0, 0), (0, 1)}), PlainTrack(0, 0.5, False, tiny)]
    figures = plain_figures([(predictions, truths)])
    assert figures["AP50"] == 1.0
    assert figures["AR100"] == pytest.approx((0.6 + 1) / 2)  # 7 of 9 cells pass .50 to .75, the tiny one all
    assert figures["APs"] == 1.0 and figures["APm"] == pytest.approx(0.6) and figures["APl"] == -1.0


def test_objects_that_count_are_preferred_to_ignored_ones_that_overlap_more():
    outcome = match_predictions(
        np.array([[0.9, 0.6]]),
        np.array([0.5]),
        np.zeros(2, bool),
        np.array([True, False]),
        np.zeros(1, bool),
    )
    # at .50 to .60 the second, which counts; above, the first, which is ignored; at .95 a false alarm
    assert outcome.matched[:, 0].tolist() == [True] * 9 + [False]
    assert outcome.ignored[:, 0].tolist() == [False] * 3 + [True] * 6 + [False]


def test_recall_point_on_a_step_takes_the_precision_of_that_step():
    hits = np.array([[True, False, True, False, True]] * 10)
    outcome = match_predictions(np.zeros((5, 0)), np.arange(5.0, 0, -1), *(np.zeros(0, bool),) * 2, np.zeros(5, bool))
    outcome = type(outcome)(outcome.scores, hits, np.zeros_like(hits), 4)
    precision, recall = precision_recall([outcome], 100)
    assert recall.tolist() == [0.75] * 10
    assert precision[0, [0, 25, 26, 50, 51, 75, 76]].tolist() == pytest.approx([1, 1, 2 / 3, 2 / 3, 0.6, 0.6, 0])
    assert precision_recall([outcome], 1)[1].tolist() == [0.25] * 10


def test_mean_leaves_out_what_is_undefined():
    assert mean_defined(np.array([-1.0, 0.5, 0.0])) == 0.25
    assert mean_defined(np.array([-1.0])) == mean_defined(np.zeros(0)) == -1.0
