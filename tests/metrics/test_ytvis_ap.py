"""Video AP: recorded figures, hand-computed cases, independence of order and distribution."""

from __future__ import annotations

import io
import pickle
import random
from contextlib import redirect_stdout
from dataclasses import replace

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from video_mask2former.metrics import YtvisApEvaluator
from video_mask2former.structures import VideoInstances

KEYS = ["AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl"]
SIZE = (20, 20)


def evaluate(pairs, num_classes=3, **options):
    evaluator = YtvisApEvaluator([f"class {index}" for index in range(num_classes)], **options)
    for prediction, ground_truth in pairs:
        evaluator.process(prediction, ground_truth)
    return evaluator


def rows(start, stop):
    """A mask of full rows, so that areas and overlaps can be read off: 20 pixels a row."""
    mask = np.zeros(SIZE, bool)
    mask[start:stop] = True
    return mask


@pytest.mark.parametrize("case", range(4))
def test_recorded_figures(golden_cases, read_pairs, case):
    recorded = golden_cases[case]
    pairs = read_pairs(recorded["ground_truth"], recorded["predictions"])
    evaluator = evaluate(pairs, len(recorded["ap_per_category"]))
    assert list(evaluator.evaluate()) == KEYS
    np.testing.assert_allclose(list(evaluator.evaluate().values()), recorded["stats"], rtol=0, atol=1e-12)
    np.testing.assert_allclose(list(evaluator.per_class().values()), recorded["ap_per_category"], rtol=0, atol=1e-12)


def test_ground_truth_fed_back_is_perfect(make_pairs):
    pairs = [(ground_truth, ground_truth) for _, ground_truth in make_pairs(0, num_score_steps=3)]
    figures = evaluate(pairs).evaluate()
    assert figures["AP"] == figures["AR100"] == pytest.approx(1.0, abs=1e-12)
    assert all(value == pytest.approx(1.0, abs=1e-12) for key, value in figures.items() if key.startswith("AP"))


def test_one_frame_equals_pycocotools(make_pairs):
    pairs = make_pairs(1, num_videos=15, num_frames=1, num_objects=6, num_predictions=25)
    entries = {False: [], True: []}
    for pair in pairs:
        for is_truth, instances in zip((False, True), pair, strict=True):
            for track in instances.tracks:
                [rle] = track.segmentations.values()
                entries[is_truth].append(
                    {
                        "id": len(entries[is_truth]) + 1,
                        "image_id": instances.video_id,
                        "category_id": track.label,
                        "segmentation": rle,
                        "area": track.areas()[0],
                        "iscrowd": 0,
                        "score": track.score,
                    }
                )
    with redirect_stdout(io.StringIO()):
        indices = []
        for is_truth in (True, False):
            index = COCO()
            index.dataset = {
                "images": [{"id": truth.video_id, "height": 300, "width": 400} for _, truth in pairs],
                "categories": [{"id": label} for label in range(3)],
                "annotations": entries[is_truth],
            }
            index.createIndex()
            indices.append(index)
        reference = COCOeval(*indices, "segm")
        reference.params.areaRng = [[0, 1e10], [0, 128**2], [128**2, 256**2], [256**2, 1e10]]
        reference.evaluate()
        reference.accumulate()
        reference.summarize()
    assert reference.stats[0] > 0.1 and len({*reference.stats}) > 8  # the comparison says something
    np.testing.assert_array_equal(list(evaluate(pairs).evaluate().values()), reference.stats)


def test_iou_is_of_volumes_and_empty_frames_count(make_track, make_video):
    # shared 5 + 0 rows; union 10 + 4 rows: the second frame has the prediction only
    truth = make_track({0: rows(0, 10)})
    prediction = make_track({0: rows(5, 10), 1: rows(0, 4)}, score=0.5)
    evaluator = evaluate([(make_video([prediction], 2, SIZE), make_video([truth], 2, SIZE))], 1)
    [comparison] = evaluator.videos[1].classes
    assert comparison.iou.tolist() == [[5 / 14]]
    assert evaluator.evaluate()["AP"] == 0.0


@pytest.mark.parametrize("masks", [{}, {0: rows(0, 0)}])
def test_object_that_is_never_visible(make_track, make_video, masks):
    """IoU 0 (not 0 / 0), counted as small, and it still has to be found."""
    instances = make_video([make_track(masks)], 1, SIZE)
    evaluator = evaluate([(instances, instances)], 1)
    assert evaluator.videos[1].classes[0].iou.tolist() == [[0.0]]
    assert evaluator.evaluate() == {key: -1.0 if key[-1] in "ml" else 0.0 for key in KEYS}


def test_threshold_is_met_by_equality(make_track, make_video):
    truth = make_track({0: rows(0, 20)})
    for height, recall in ((15, 0.6), (14, 0.5), (19, 1.0), (20, 1.0), (9, 0.0)):
        prediction = make_track({0: rows(0, height)}, score=0.5)
        figures = evaluate([(make_video([prediction], 1, SIZE), make_video([truth], 1, SIZE))], 1).evaluate()
        assert figures["AR100"] == pytest.approx(recall), height


def test_precision_by_hand(make_track, make_video):
    """Hit, false alarm, hit: precision 1 up to recall 1/2 (51 points), 2/3 beyond (50 points)."""
    truth = make_video([make_track({0: rows(0, 5)}), make_track({0: rows(10, 15)})], 1, SIZE)
    prediction = make_video(
        [
            make_track({0: rows(0, 5)}, score=0.9),
            make_track({0: rows(16, 20)}, score=0.8),
            make_track({0: rows(10, 15)}, score=0.7),
        ],
        1,
        SIZE,
    )
    figures = evaluate([(prediction, truth)], 1).evaluate()
    assert figures["AP"] == pytest.approx((51 * 1 + 50 * 2 / 3) / 101)
    assert (figures["AR1"], figures["AR10"]) == (0.5, 1.0)


def test_crowd_takes_any_number_and_is_not_in_the_iou(make_track, make_video):
    crowd = make_track({0: rows(0, 10)}, is_crowd=True)
    truth = make_track({0: rows(15, 20)})
    inside = [make_track({0: rows(0, 10)}, score=0.9), make_track({0: rows(0, 9)}, score=0.8)]
    # lies inside of the crowd, but covers less than half of it: a false alarm, since the IoU is the ordinary one
    small = make_track({0: rows(0, 4)}, score=0.7)
    hit = make_track({0: rows(15, 20)}, score=0.6)
    ground_truth = make_video([crowd, truth], 1, SIZE)
    figures = evaluate([(make_video([*inside, hit], 1, SIZE), ground_truth)], 1).evaluate()
    # the second one misses the crowd at IoU 0.95 only, and is a false alarm there
    assert figures["AP50"] == pytest.approx(1.0)
    assert figures["AP"] == pytest.approx((9 + 0.5) / 10)
    figures = evaluate([(make_video([*inside, small, hit], 1, SIZE), ground_truth)], 1).evaluate()
    assert figures["AP50"] == pytest.approx(0.5)
    only_crowd = evaluate([(make_video(inside, 1, SIZE), make_video([crowd], 1, SIZE))], 1)
    assert set(only_crowd.evaluate().values()) == {-1.0}
    assert only_crowd.per_class() == {"class 0": -1.0}


def test_equal_scores_rank_by_place_then_by_video_id(make_track, make_video):
    hit, miss = make_track({0: rows(0, 5)}, score=0.5), make_track({0: rows(10, 15)}, score=0.5)
    truth = make_track({0: rows(0, 5)})

    def figures(first, second, ids=(1, 2)):
        pairs = [
            (make_video(tracks, 1, SIZE, video_id), make_video([truth], 1, SIZE, video_id))
            for tracks, video_id in zip((first, second), ids, strict=True)
        ]
        return evaluate(pairs, 1).evaluate()["AP"]

    assert figures([hit, miss], [hit]) == pytest.approx((51 + 50 * 2 / 3) / 101)
    assert figures([miss, hit], [hit]) == pytest.approx(2 / 3)
    # the same videos under exchanged ids: hit, miss, hit
    assert figures([miss, hit], [hit], ids=(2, 1)) == pytest.approx((51 + 50 * 2 / 3) / 101)


def test_only_the_hundred_best_of_a_class_count(make_track, make_video):
    truth = make_video([make_track({0: rows(0, 5)})], 1, SIZE)
    misses = [make_track({0: rows(10, 15)}, score=0.9) for _ in range(100)]
    hit = make_track({0: rows(0, 5)}, score=0.1)
    assert evaluate([(make_video([*misses, hit], 1, SIZE), truth)], 1).evaluate()["AR100"] == 0.0
    assert evaluate([(make_video([*misses[1:], hit], 1, SIZE), truth)], 1).evaluate()["AR100"] == 1.0


def test_predictions_of_classes_without_annotations_change_nothing(make_pairs, make_track):
    pairs = make_pairs(2)
    stray = make_track({0: np.ones((300, 400), bool)}, label=3, score=1.0)
    with_stray = [(replace(prediction, tracks=(stray, *prediction.tracks)), truth) for prediction, truth in pairs]
    assert evaluate(with_stray, 4).evaluate() == evaluate(pairs, 4).evaluate() == evaluate(pairs, 3).evaluate()
    assert evaluate(with_stray, 4).per_class()["class 3"] == -1.0


def test_result_does_not_depend_on_order_or_distribution(make_pairs):
    pairs = make_pairs(3, num_videos=9, num_score_steps=2)
    expected = evaluate(pairs)
    shuffled = list(pairs)
    random.Random(0).shuffle(shuffled)
    assert evaluate(shuffled).evaluate() == expected.evaluate()
    for num_ranks in (1, 2, 4):
        # a sampler that pads: the first videos are seen by two ranks
        states = [evaluate((pairs + pairs[:num_ranks])[rank::num_ranks][:9]).state() for rank in range(num_ranks)]
        merged = evaluate([])
        merged.merge(pickle.loads(pickle.dumps(states[::-1])))
        assert merged.evaluate() == expected.evaluate()
        assert merged.per_class() == expected.per_class()


def test_state_is_small(make_pairs):
    evaluator = evaluate(make_pairs(4, num_videos=5, num_predictions=10))
    assert len(pickle.dumps(evaluator.state())) < 5 * 5000


def test_class_agnostic_compares_masks_alone(make_pairs):
    pairs = make_pairs(5)
    relabelled = [
        (replace(prediction, tracks=tuple(replace(track, label=2) for track in prediction.tracks)), truth)
        for prediction, truth in pairs
    ]
    figures = evaluate(pairs, is_class_agnostic=True)
    assert figures.evaluate() == evaluate(relabelled, is_class_agnostic=True).evaluate()
    assert list(figures.per_class()) == ["object"]
    assert figures.evaluate()["AR100"] > evaluate(relabelled).evaluate()["AR100"]


def test_reset_forgets(make_pairs):
    evaluator = evaluate(make_pairs(6))
    evaluator.reset()
    assert set(evaluator.evaluate().values()) == {-1.0}


def test_bad_input(make_pairs, make_track, make_video):
    [(prediction, truth)] = make_pairs(7, num_videos=1)
    evaluator = evaluate([(prediction, truth)])
    with pytest.raises(ValueError, match="already processed"):
        evaluator.process(prediction, truth)
    evaluator.reset()
    with pytest.raises(ValueError, match=r"one video, got video_id 5 and 1"):
        evaluator.process(replace(prediction, video_id=5), truth)
    with pytest.raises(ValueError, match="needs a video_id"):
        evaluator.process(prediction, replace(truth, video_id=None))
    with pytest.raises(ValueError, match=r"prediction of video 1 must have"):
        evaluator.process(replace(prediction, size=(10, 10)), truth)
    for broken, message in ((replace(prediction.tracks[0], label=3), "label"), (make_track({}, score=np.nan), "score")):
        with pytest.raises(ValueError, match=message):
            evaluator.process(replace(prediction, tracks=(broken,)), truth)
    with pytest.raises(ValueError, match="masks must have one size"):
        wrong_size = make_track({0: np.ones((10, 10), bool)}, label=truth.tracks[0].label)
        evaluator.process(
            VideoInstances((wrong_size,), 4, (300, 400)),
            replace(truth, tracks=(make_track({0: np.ones((300, 400), bool)}, label=truth.tracks[0].label),)),
        )
    with pytest.raises(ValueError, match="at least one class"):
        YtvisApEvaluator([])
