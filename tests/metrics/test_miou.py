"""Semantic measures by hand."""

from __future__ import annotations

import numpy as np
import pytest

from video_mask2former.metrics import LabelMap, SemanticIouEvaluator

NAMES = ["road", "sky", "tree"]


def evaluate(*pairs):
    evaluator = SemanticIouEvaluator(NAMES)
    for sample_id, (predicted, annotated) in enumerate(pairs):
        evaluator.process(LabelMap(sample_id, np.array(predicted)), LabelMap(sample_id, np.array(annotated)))
    return evaluator


def test_by_hand():
    """Road: 2 of 3 found, nothing false: 2/3. Sky: 1 found, one false (the road), one unlabelled: 1/3."""
    evaluator = evaluate(([[0, 0, 1], [1, 255, 2]], [[0, 0, 0], [1, 1, 255]]))
    assert evaluator.per_class() == pytest.approx({"road": 2 / 3, "sky": 1 / 3, "tree": -1.0})
    expected = {"mIoU": 0.5, "fwIoU": (3 * 2 / 3 + 2 * 1 / 3) / 5, "mAcc": (2 / 3 + 1 / 2) / 2, "pAcc": 3 / 5}
    assert evaluator.evaluate() == pytest.approx(expected)


def test_pixels_add_up_over_images():
    parts = evaluate(([0, 1], [0, 0]), ([1, 1, 1], [1, 1, 2]))
    whole = evaluate(([0, 1, 1, 1, 1], [0, 0, 1, 1, 2]))
    assert parts.evaluate() == whole.evaluate()


def test_equals_a_count_over_random_maps():
    rng = np.random.default_rng(0)
    pairs = [(rng.integers(0, 3, (4, 9, 7)), rng.integers(0, 3, (4, 9, 7))) for _ in range(4)]
    predicted, annotated = (np.concatenate([pair[side].ravel() for pair in pairs]) for side in (0, 1))
    expected = [
        ((predicted == label) & (annotated == label)).sum() / ((predicted == label) | (annotated == label)).sum()
        for label in range(3)
    ]
    evaluator = evaluate(*pairs)
    assert list(evaluator.per_class().values()) == pytest.approx(expected)
    assert evaluator.evaluate()["mIoU"] == pytest.approx(np.mean(expected))


def test_parts_merge():
    whole = evaluate(([0, 1], [0, 0]), ([1, 2], [1, 1]))
    merged = evaluate(([2, 2], [0, 0]))
    first, both = evaluate(([0, 1], [0, 0])), whole
    merged.merge([first.state(), both.state()])
    assert merged.evaluate() == whole.evaluate()
    merged.reset()
    assert set(merged.evaluate().values()) == {-1.0}


def test_bad_input():
    with pytest.raises(ValueError, match=r"ground truth of sample 0: labels must be in \[0, 3\) or 255"):
        evaluate(([0], [3]))
    with pytest.raises(ValueError, match="prediction of sample 0"):
        evaluate(([-1], [0]))
    with pytest.raises(ValueError, match="must have the shape"):
        evaluate(([0, 0], [0]))
    with pytest.raises(ValueError, match="must be integers"):
        LabelMap(0, np.zeros(2))
    with pytest.raises(ValueError, match="ignore_label"):
        SemanticIouEvaluator(NAMES, ignore_label=0)
    evaluator = evaluate(([0], [0]))
    with pytest.raises(ValueError, match="already processed"):
        evaluator.process(LabelMap(0, np.array([0])), LabelMap(0, np.array([0])))


def test_single_samples():
    pairs = [([0, 1], [0, 0]), ([1, 2], [1, 1]), ([0], [255])]
    assert evaluate(*pairs).per_sample() == {0: 0.5, 1: 0.5, 2: -1.0}
