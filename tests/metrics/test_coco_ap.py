"""COCO AP image by image equals pycocotools on all images at once."""

from __future__ import annotations

import io
import pickle
from contextlib import redirect_stdout
from dataclasses import replace

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from video_mask2former.metrics import CocoApEvaluator
from video_mask2former.metrics.average_precision import mean_defined

NAMES = ["a", "b", "c", "never"]


@pytest.fixture(scope="module")
def images(make_pairs):
    """Images with crowds, without predictions, without annotations, with instances that have no mask."""
    rng = np.random.default_rng(0)
    pairs = make_pairs(3, num_videos=12, num_frames=1, num_objects=5, num_predictions=15, size=(120, 160))
    pairs = [
        (prediction, replace(truth, tracks=tuple(replace(t, is_crowd=bool(rng.random() < 0.3)) for t in truth.tracks)))
        for prediction, truth in pairs
    ]
    pairs[0] = (replace(pairs[0][0], tracks=()), pairs[0][1])
    pairs[1] = (pairs[1][0], replace(pairs[1][1], tracks=()))
    pairs[2] = (replace(pairs[2][0], tracks=()), replace(pairs[2][1], tracks=()))
    empty = replace(pairs[3][0].tracks[0], segmentations={})
    pairs[3] = (replace(pairs[3][0], tracks=(empty, *pairs[3][0].tracks)), pairs[3][1])
    return pairs


def evaluate(pairs, areas=None):
    evaluator = CocoApEvaluator(NAMES)
    for prediction, truth in pairs:
        evaluator.process(prediction, truth, areas)
    return evaluator


def pycocotools_at_once(pairs, area_factor=1.0):
    def index(side, factor):
        annotations = [
            {
                "id": 1000 * instances.video_id + number + 1,
                "image_id": instances.video_id,
                "category_id": track.label,
                "segmentation": track.segmentations.get(0, {"size": [120, 160], "counts": "P`j0"}),
                "area": factor * track.areas().get(0, 0),
                "iscrowd": int(track.is_crowd),
                "score": track.score,
            }
            for instances in (pair[side] for pair in pairs)
            for number, track in enumerate(instances.tracks)
        ]
        coco = COCO()
        coco.dataset = {
            "images": [{"id": truth.video_id, "height": 120, "width": 160} for _, truth in pairs],
            "categories": [{"id": label} for label in range(len(NAMES))],
            "annotations": annotations,
        }
        coco.createIndex()
        return coco

    with redirect_stdout(io.StringIO()):
        evaluation = COCOeval(index(1, area_factor), index(0, 1.0), "segm")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


def test_equals_pycocotools(images):
    expected = pycocotools_at_once(images)
    evaluator = evaluate(images[::-1])
    np.testing.assert_array_equal(list(evaluator.evaluate().values()), expected.stats)
    assert expected.stats[0] > 0.1 and len({*expected.stats}) > 8
    per_class = [mean_defined(expected.eval["precision"][:, :, label, 0, -1]) for label in range(4)]
    assert evaluator.per_class() == dict(zip(NAMES, per_class, strict=True))
    assert evaluator.per_class()["never"] == -1


def test_areas_of_the_annotation_file_decide_about_sizes(images):
    expected = pycocotools_at_once(images, area_factor=0.2).stats
    evaluator = CocoApEvaluator(NAMES)
    for prediction, truth in images:
        evaluator.process(prediction, truth, {track.track_id: 0.2 * track.areas()[0] for track in truth.tracks})
    np.testing.assert_array_equal(list(evaluator.evaluate().values()), expected)
    assert list(evaluate(images).evaluate().values()) != list(expected)


def test_parts_merge(images):
    whole = evaluate(images)
    merged = evaluate([])
    merged.merge(pickle.loads(pickle.dumps([evaluate(images[6:]).state(), evaluate(images[:7]).state()])))
    assert merged.evaluate() == whole.evaluate()
    merged.reset()
    assert set(merged.evaluate().values()) == {-1.0}


def test_nothing_is_printed(images, capsys):
    evaluate(images).evaluate()
    assert capsys.readouterr().out == ""


def test_bad_input(images, make_pairs):
    prediction, truth = images[5]
    evaluator = evaluate([images[5]])
    with pytest.raises(ValueError, match="already processed"):
        evaluator.process(prediction, truth)
    with pytest.raises(ValueError, match="images have one frame, got 2"):
        evaluator.process(*make_pairs(0, num_videos=1, num_frames=2)[0])
    evaluator.reset()
    with pytest.raises(ValueError, match=r"label of instance 0 in image 6 must be in \[0, 4\), got 4"):
        evaluator.process(replace(prediction, tracks=(replace(prediction.tracks[0], label=4),)), truth)
