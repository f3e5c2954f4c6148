"""HOTA and IDF1: figures recorded with the authors' tool, and cases worked out by hand."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from video_mask2former.metrics import IdentityEvaluator
from video_mask2former.structures import Track, VideoInstances

GOLDEN_PATH = Path(__file__).parents[1] / "data" / "golden" / "identity.json.gz"
SIZE = (10, 10)


def row(index, width=10):
    mask = np.zeros(SIZE, bool)
    mask[index, :width] = True
    return mask


def recorded_pairs(recorded):
    pairs = []
    for video in recorded["videos"]:
        sides = []
        for key in ("predictions", "ground_truth"):
            tracks = tuple(
                Track(index, 0, 1.0, {int(t): {"size": video["size"], "counts": c} for t, c in masks.items()})
                for index, masks in enumerate(video[key])
            )
            sides.append(VideoInstances(tracks, video["num_frames"], tuple(video["size"]), video_id=video["video_id"]))
        pairs.append(tuple(sides))
    return pairs


def evaluate(*pairs, **options):
    evaluator = IdentityEvaluator(**options)
    for pair in pairs:
        evaluator.process(*pair)
    return evaluator


@pytest.fixture
def figures(make_video):
    def evaluate_tracks(predictions, objects, num_frames=4, **options):
        pair = (make_video(predictions, num_frames, SIZE), make_video(objects, num_frames, SIZE))
        return evaluate(pair, **options).evaluate()

    return evaluate_tracks


def test_recorded_figures():
    recorded = json.loads(gzip.decompress(GOLDEN_PATH.read_bytes()))
    pairs = recorded_pairs(recorded)
    got = evaluate(*pairs).evaluate()
    assert {key: got[key] for key in recorded["figures"]} == pytest.approx(recorded["figures"], abs=1e-12)
    for pair, expected in zip(pairs, recorded["figures_per_video"], strict=True):
        got = evaluate(pair).evaluate()
        assert {key: got[key] for key in expected} == pytest.approx(expected, abs=1e-12)
    # in any order, and in parts
    assert evaluate(*pairs[::-1]).evaluate() == evaluate(*pairs).evaluate()
    merged = IdentityEvaluator()
    merged.merge([evaluate(*pairs[5:]).state(), evaluate(*pairs[:6]).state()])
    assert merged.evaluate() == evaluate(*pairs).evaluate()


def test_perfect(figures, make_track):
    tracks = [make_track({0: row(0), 1: row(1)}), make_track({0: row(5), 3: row(5)}, label=1)]
    expected = {"HOTA": 1, "DetA": 1, "AssA": 1, "LocA": 1, "IDF1": 1, "id_switches": 0}
    got = figures(tracks, tracks)
    assert {key: got[key] for key in expected} == expected


def test_track_broken_in_two_is_an_error_of_association_alone(figures, make_track):
    """One object on 4 frames, followed by one id on 1 frame and another on 3.

    Association of each match: 1/4 on the first frame, 3/4 on three; their mean is 10/16. Identities: the better of
    the two ids is right on 3 of 4 masks.
    """
    whole = make_track({time: row(0) for time in range(4)})
    parts = [make_track({0: row(0)}), make_track({time: row(0) for time in (1, 2, 3)})]
    got = figures(parts, [whole])
    assert (got["DetA"], got["LocA"], got["id_switches"]) == (1, 1, 1)
    assert got["AssA"] == pytest.approx(10 / 16)
    assert got["HOTA"] == pytest.approx((10 / 16) ** 0.5)
    assert got["IDF1"] == pytest.approx(0.75)
    assert (got["AssRe"], got["AssPr"]) == (pytest.approx(10 / 16), 1.0)


def test_poor_masks_are_an_error_of_detection_and_localization_alone(figures, make_track):
    """IoU 0.8 throughout: found at 16 of the 19 thresholds."""
    whole = make_track({time: row(0) for time in range(4)})
    poor = make_track({time: row(0, width=8) for time in range(4)})
    got = figures([poor], [whole])
    assert got["DetA"] == got["AssA"] == pytest.approx(16 / 19)
    assert got["LocA"] == pytest.approx((16 * 0.8 + 3) / 19)
    assert (got["IDF1"], got["id_switches"]) == (1, 0)


def test_exchanged_ids(figures, make_track):
    """Two objects whose ids change places after 2 of 4 frames: each match has association 2 / 6."""
    objects = [make_track({time: row(start) for time in range(4)}) for start in (0, 5)]
    crossed = [
        make_track({0: row(0), 1: row(0), 2: row(5), 3: row(5)}),
        make_track({0: row(5), 1: row(5), 2: row(0), 3: row(0)}),
    ]
    got = figures(crossed, objects)
    assert (got["DetA"], got["id_switches"], got["IDF1"]) == (1, 2, 0.5)
    assert got["AssA"] == pytest.approx(1 / 3)


def test_an_object_in_sight_that_is_lost_and_found_again_was_interrupted(figures, make_track):
    """Frames that do not show the object, and losses that last to the end, are no interruptions."""
    whole = make_track({time: row(0) for time in (0, 1, 2, 3, 6, 7)})
    got = figures([make_track({time: row(0) for time in (0, 3, 6)})], [whole], num_frames=8)
    assert (got["interruptions"], got["id_switches"]) == (1, 0)
    late = make_track({time: row(0) for time in (2, 3, 6, 7)})
    assert figures([late], [whole], num_frames=8)["interruptions"] == 0


def test_false_and_missed_masks(figures, make_track):
    objects = [make_track({0: row(0)}), make_track({0: row(5)})]
    predictions = [make_track({0: row(0)}), make_track({0: row(8)}), make_track({0: row(9)})]
    got = figures(predictions, objects)
    assert got["DetA"] == pytest.approx(1 / 4)
    assert (got["IDP"], got["IDR"]) == (pytest.approx(1 / 3), 0.5)
    assert figures([], objects)["HOTA"] == figures([], objects)["IDF1"] == 0.0


def test_masks_of_another_class_do_not_match(figures, make_track):
    found, truth = make_track({0: row(0)}, label=1), make_track({0: row(0)})
    assert figures([found], [truth])["DetA"] == 0
    assert figures([found], [truth], is_class_agnostic=True)["DetA"] == 1


def test_low_scores_are_left_out(figures, make_track):
    truth, noise = make_track({0: row(0)}), make_track({0: row(5)}, score=0.29)
    assert figures([truth, noise], [truth])["DetA"] == 1
    assert figures([truth, noise], [truth], min_score=0.2)["DetA"] == 0.5


def test_predictions_on_a_crowd_are_excused(figures, make_track):
    crowd, truth = make_track({0: np.ones(SIZE, bool)}, is_crowd=True), make_track({0: row(0)})
    inside = make_track({0: row(5)})
    assert figures([truth, inside], [crowd, truth])["DetA"] == 1
    # a crowd of another class excuses nothing
    other = make_track({0: np.ones(SIZE, bool)}, is_crowd=True, label=1)
    assert figures([truth, inside], [other, truth])["DetA"] == 0.5
    assert figures([truth, inside], [other, truth], is_class_agnostic=True)["DetA"] == 1
    # and an object under a crowd must still be found
    assert figures([], [crowd, truth])["DetA"] == 0


def test_empty_masks_are_no_masks(figures, make_track):
    empty, truth = make_track({0: row(0, width=0)}), make_track({0: row(0), 1: row(0, width=0)})
    assert figures([truth, empty], [truth, empty])["HOTA"] == 1


def test_nothing_annotated(figures, make_track):
    got = figures([make_track({0: row(0)})], [])
    assert got.pop("id_switches") == got.pop("interruptions") == 0
    assert set(got.values()) == {-1.0}


def test_bad_input(make_video):
    evaluator = evaluate((make_video([], 1, SIZE),) * 2)
    with pytest.raises(ValueError, match="already processed"):
        evaluator.process(make_video([], 1, SIZE), make_video([], 1, SIZE))
    with pytest.raises(ValueError, match="prediction of video 2 must have"):
        evaluator.process(make_video([], 2, SIZE, 2), make_video([], 1, SIZE, 2))
    evaluator.reset()
    assert evaluator.state() == {}
