"""STQ: cases computed by hand, and a slow reference written from the definition."""

from __future__ import annotations

import numpy as np
import pytest

from video_mask2former.metrics import PanopticMap, SegmentationTrackingQualityEvaluator

NAMES, IS_THING = ("car", "person", "road"), (True, True, False)


def stq(*pairs, **maps) -> dict[str, float]:
    evaluator = SegmentationTrackingQualityEvaluator(NAMES, IS_THING)
    for prediction, truth in pairs:
        evaluator.process(prediction, truth)
    return evaluator.evaluate()


def rows(ids, labels, crowds=(), sample_id=0) -> PanopticMap:
    """A video of frames of one row."""
    return PanopticMap(sample_id, np.array(ids)[:, None], labels, frozenset(crowds))


TRUTH = rows([[1, 1, 3, 3], [1, 1, 3, 3]], {1: 0, 3: 2})


def test_perfect_predictions_measure_one() -> None:
    assert stq((TRUTH, TRUTH)) == {"STQ": 1.0, "AQ": 1.0, "SQ": 1.0}


def test_another_id_lowers_association_alone() -> None:
    switched = rows([[7, 7, 3, 3], [8, 8, 3, 3]], {7: 0, 8: 0, 3: 2})
    # each pixel of the car: IoU of the car (4 pixels) and its half (2) is 1/2
    assert stq((switched, TRUTH)) == pytest.approx({"STQ": np.sqrt(0.5), "AQ": 0.5, "SQ": 1.0})


def test_a_wrong_class_lowers_segmentation_alone() -> None:
    renamed = rows([[1, 1, 3, 3], [1, 1, 3, 3]], {1: 1, 3: 2})
    # car 0 of 4, person 0 of 4, road 4 of 4
    assert stq((renamed, TRUTH)) == pytest.approx({"STQ": np.sqrt(1 / 3), "AQ": 1.0, "SQ": 1 / 3})


def test_void_and_crowd() -> None:
    truth = rows([[1, 1, 2, 0]], {1: 0, 2: 1}, crowds=[2])
    prediction = rows([[1, 0, 1, 1]], {1: 0})
    # AQ: the prediction without the crowd has 2 pixels, the car 2, 1 in common: 1/2 of its pixels at IoU 1/3
    # SQ: car 1 of 3, person 0 of 1; what is predicted on void does not count, void predicted is a class of IoU 0
    assert stq((prediction, truth)) == pytest.approx({"STQ": np.sqrt(1 / 54), "AQ": 1 / 6, "SQ": (1 / 3) / 3})


def test_the_program_of_vipseg_skips_the_first_segment() -> None:
    truth = rows([[5, 5, 2, 2], [5, 5, 2, 2]], {5: 0, 2: 1}, crowds=[2])
    prediction = rows([[1, 1, 3, 3], [1, 1, 4, 4]], {1: 0, 3: 1, 4: 1})
    evaluator = SegmentationTrackingQualityEvaluator(NAMES, IS_THING, first_is_crowd=True)
    evaluator.process(prediction, truth)
    # segment 5 is left out, segment 2 counts although it is crowd: halves of IoU 1/2
    assert evaluator.evaluate() == pytest.approx({"STQ": np.sqrt(0.5), "AQ": 0.5, "SQ": 1.0})
    stuff_first = rows([[3, 1, 2, 2]], {3: 2, 1: 0, 2: 1})
    evaluator.reset()
    evaluator.process(stuff_first, stuff_first)
    assert evaluator.evaluate()["AQ"] == 1.0


def test_nothing_to_measure() -> None:
    nothing = rows([[0, 0]], {})
    assert stq((nothing, nothing)) == {"STQ": -1.0, "AQ": -1.0, "SQ": -1.0}
    road = rows([[3, 3]], {3: 2})
    assert stq((road, road)) == {"STQ": -1.0, "AQ": -1.0, "SQ": 1.0}


def reference(pairs) -> tuple[float, float]:
    """AQ and SQ, pixel by pixel."""
    inner, num_things = 0.0, 0
    hits, union = np.zeros(4), np.zeros(4)
    for prediction, truth in pairs:
        pixels = list(zip(prediction.segment_ids.ravel(), truth.segment_ids.ravel(), strict=True))
        for predicted, annotated in pixels:
            if annotated:
                mine, real = prediction.labels.get(predicted, 3), truth.labels[annotated]
                hits[real] += mine == real
                for label in {mine, real}:
                    union[label] += 1
        for thing in truth.labels:
            own = [p for p, a in pixels if a == thing]
            if own and IS_THING[truth.labels[thing]] and thing not in truth.crowd_ids:
                num_things += 1
                for segment in own:
                    if segment and IS_THING[prediction.labels[segment]]:
                        area = sum(p == segment and a not in truth.crowd_ids for p, a in pixels)
                        common = sum(p == segment for p in own)
                        inner += common / (area + len(own) - common) / len(own)
    return inner / num_things, sum(hits / np.maximum(union, 1)) / np.count_nonzero(union)


def random_map(rng: np.random.Generator, sample_id: int) -> PanopticMap:
    labels = {number: int(rng.integers(3)) for number in range(1, 6)}
    things = frozenset(number for number, label in labels.items() if IS_THING[label])
    return PanopticMap(sample_id, rng.integers(0, 6, (3, 4, 5)), labels, things & {4})


def test_agrees_with_the_definition() -> None:
    rng = np.random.default_rng(0)
    pairs = [(random_map(rng, index), random_map(rng, index)) for index in range(4)]
    association, segmentation = reference(pairs)
    expected = {"STQ": np.sqrt(association * segmentation), "AQ": association, "SQ": segmentation}
    assert stq(*pairs) == pytest.approx(expected)


def test_parts_of_ranks_merge() -> None:
    rng = np.random.default_rng(1)
    pairs = [(random_map(rng, index), random_map(rng, index)) for index in range(2)]
    parts = [SegmentationTrackingQualityEvaluator(NAMES, IS_THING) for _ in pairs]
    for part, pair in zip(parts, pairs, strict=True):
        part.process(*pair)
    parts[0].merge([part.state() for part in parts])
    assert parts[0].evaluate() == stq(*pairs)
    assert set(parts[0].per_sample()) == {0, 1}
    with pytest.raises(ValueError, match="already processed"):
        parts[0].process(*pairs[0])
