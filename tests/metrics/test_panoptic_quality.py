"""Panoptic quality by hand, and against a pixel-by-pixel count."""

from __future__ import annotations

import numpy as np
import pytest

from video_mask2former.metrics import PanopticMap, PanopticQualityEvaluator

NAMES, IS_THING = ["cat", "dog", "sky"], [True, True, False]


def panoptic(segment_ids, labels, sample_id=1, crowd_ids=()):
    return PanopticMap(sample_id, np.array([segment_ids]), labels, frozenset(crowd_ids))


def evaluate(*pairs, **options):
    evaluator = PanopticQualityEvaluator(NAMES, IS_THING, **options)
    for prediction, truth in pairs:
        evaluator.process(prediction, truth)
    return evaluator


def test_by_hand():
    """Cat: IoU 3/4 found. Dog: missed (IoU exactly 1/2). Sky: found whole."""
    truth = panoptic([[1, 1, 1, 1], [2, 2, 3, 3], [9, 9, 9, 9]], {1: 0, 2: 1, 3: 1, 9: 2})
    predicted = panoptic([[5, 5, 5, 0], [6, 0, 7, 7], [8, 8, 8, 8]], {5: 0, 6: 1, 7: 1, 8: 2})
    evaluator = evaluate((predicted, truth))
    # dog: one found with IoU 1, one missed, one false (IoU 1/2 is not above one half)
    assert evaluator.per_class() == {"cat": 0.75, "dog": 0.5, "sky": 1.0}
    figures = evaluator.evaluate()
    assert figures["PQ"] == pytest.approx((0.75 + 0.5 + 1) / 3)
    assert (figures["SQ_things"], figures["RQ_things"]) == ((0.75 + 1) / 2, (1 + 0.5) / 2)
    assert (figures["PQ_stuff"], figures["PQ_things"]) == (1.0, pytest.approx(0.625))


def test_void_is_out_of_the_union_and_excuses_false_segments():
    truth = panoptic([[1, 1, 0, 0], [0, 0, 2, 2]], {1: 0, 2: 0})
    # 5 covers the cat and two void pixels: IoU 1. 6 is void by 2 of 2 pixels, 7 by none.
    predicted = panoptic([[5, 5, 5, 5], [6, 6, 7, 0]], {5: 0, 6: 1, 7: 1})
    evaluator = evaluate((predicted, truth))
    assert evaluator.per_class() == {"cat": pytest.approx(1 / 1.5), "dog": 0.0, "sky": -1.0}
    # half void is not enough
    truth = panoptic([[1, 0]], {1: 0})
    assert evaluate((panoptic([[5, 5]], {5: 1}), truth)).per_class()["dog"] == 0.0


def test_crowd_need_not_be_found_and_excuses_its_class():
    truth = panoptic([[1, 1, 1, 1, 2, 3]], {1: 0, 2: 0, 3: 2}, crowd_ids=[1])
    inside = {4: 0, 5: 0, 6: 2}
    # both cats lie in the crowd; together with the one that counts
    assert evaluate((panoptic([[4, 4, 4, 0, 5, 6]], inside), truth)).per_class()["cat"] == 1.0
    # a dog there is false
    assert evaluate((panoptic([[4, 4, 4, 0, 5, 6]], {4: 1, 5: 0, 6: 2}), truth)).per_class()["dog"] == 0.0
    assert evaluate((panoptic([[0, 0, 0, 0, 5, 6]], inside), truth)).per_class()["cat"] == 1.0


def test_class_must_agree():
    truth, predicted = panoptic([[1, 1]], {1: 0}), panoptic([[1, 1]], {1: 1})
    assert evaluate((predicted, truth)).evaluate()["PQ"] == 0.0


def slow_panoptic_quality(pairs, num_classes):
    """The formula, one class and one pair of segments at a time."""
    quality = []
    for label in range(num_classes):
        iou_sum, hits, false, missed = 0.0, 0, 0, 0
        for predicted, truth in pairs:
            void = truth.segment_ids == 0
            found, used = set(), set()
            targets = [s for s in np.unique(truth.segment_ids) if s and truth.labels[s] == label]
            segments = [s for s in np.unique(predicted.segment_ids) if s and predicted.labels[s] == label]
            for target in targets:
                for segment in segments:
                    first, second = truth.segment_ids == target, predicted.segment_ids == segment
                    iou = (first & second).sum() / (first | (second & ~void)).sum()
                    if iou > 0.5 and target not in truth.crowd_ids:
                        iou_sum, hits = iou_sum + iou, hits + 1
                        found.add(target)
                        used.add(segment)
            missed += len([t for t in targets if t not in found and t not in truth.crowd_ids])
            excuse = void | np.isin(truth.segment_ids, [t for t in targets if t in truth.crowd_ids])
            false += len([s for s in segments if s not in used and excuse[predicted.segment_ids == s].mean() <= 0.5])
        total = hits + false / 2 + missed / 2
        quality.append(iou_sum / total if total else -1.0)
    return quality


def random_pairs(seed, num_frames):
    rng = np.random.default_rng(seed)
    pairs = []
    for sample_id in range(6):
        blocks = rng.integers(0, 5, (num_frames, 4, 4))
        truth = np.kron(blocks, np.ones((1, 3, 3), int))
        predicted = np.where(rng.random(truth.shape) < 0.85, truth + 10 * (truth > 0), rng.integers(0, 3, truth.shape))
        labels = {segment: int(rng.integers(3)) for segment in range(1, 5)}
        predicted_labels = {1: 0, 2: 2} | {segment + 10: label for segment, label in labels.items()}
        pairs.append(
            (
                PanopticMap(sample_id, predicted, predicted_labels),
                PanopticMap(sample_id, truth, labels, frozenset({4} if sample_id % 2 else ())),
            )
        )
    return pairs


@pytest.mark.parametrize("num_frames", [1, 3])
def test_equals_the_slow_count(num_frames):
    pairs = random_pairs(0, num_frames)
    got = list(evaluate(*pairs).per_class().values())
    assert got == pytest.approx(slow_panoptic_quality(pairs, 3))
    assert 0.2 < np.mean(got) < 0.95


def test_video_windows_are_pq_of_their_frames_put_together():
    pairs = random_pairs(1, 4)
    windows = [
        tuple(
            PanopticMap(7 * side.sample_id + start, side.segment_ids[start : start + 2], side.labels, side.crowd_ids)
            for side in pair
        )
        for pair in pairs
        for start in range(3)
    ]
    expected = evaluate(*windows).evaluate()
    assert evaluate(*pairs, num_window_frames=2).evaluate() == pytest.approx(expected)
    assert evaluate(*pairs).evaluate() != expected
    assert evaluate(*pairs, num_window_frames=9).evaluate()["PQ"] == -1.0, "no video has a window of 9 frames"


def test_exchanged_ids_cost_a_video_but_not_its_frames():
    truth = PanopticMap(1, np.array([[[1, 2]], [[1, 2]]]), {1: 0, 2: 0})
    crossed = PanopticMap(1, np.array([[[1, 2]], [[2, 1]]]), {1: 0, 2: 0})
    assert evaluate((crossed, truth), num_window_frames=1).evaluate()["PQ"] == 1.0
    assert evaluate((crossed, truth)).evaluate()["PQ"] == 0.0


def test_result_does_not_depend_on_order_or_distribution():
    pairs = random_pairs(2, 2)
    expected = evaluate(*pairs).evaluate()
    assert evaluate(*pairs[::-1]).evaluate() == expected
    merged = evaluate()
    merged.merge([evaluate(*pairs[3:]).state(), evaluate(*pairs[:4]).state()])
    assert merged.evaluate() == expected
    merged.reset()
    assert set(merged.evaluate().values()) == {-1.0}


def test_bad_input():
    truth = panoptic([[1, 1]], {1: 0})
    with pytest.raises(ValueError, match="segment 3 has pixels but no label"):
        evaluate((panoptic([[3, 0]], {}), truth))
    with pytest.raises(ValueError, match=r"labels of sample 1 must be in \[0, 3\), got 3"):
        evaluate((panoptic([[1, 1]], {1: 3}), truth))
    with pytest.raises(ValueError, match="must have the shape of its ground truth"):
        evaluate((panoptic([[1]], {1: 0}), truth))
    with pytest.raises(ValueError, match="already processed"):
        evaluate((truth, truth), (truth, truth))
    with pytest.raises(ValueError, match=r"\(T, H, W\) integers"):
        PanopticMap(1, np.zeros((2, 2)), {})
    with pytest.raises(ValueError, match="one entry a class"):
        PanopticQualityEvaluator(NAMES, [True])
    with pytest.raises(ValueError, match="num_window_frames"):
        evaluate(num_window_frames=0)


def test_single_samples():
    pairs = random_pairs(3, 1)
    got = evaluate(*pairs).per_sample()
    assert got == pytest.approx({pair[1].sample_id: evaluate(pair).evaluate()["PQ"] for pair in pairs})
