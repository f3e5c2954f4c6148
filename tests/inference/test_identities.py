"""Who is who: every object has one id, and every id one object, whatever happens in the video."""

from __future__ import annotations

import pytest

from video_mask2former.inference import InferenceSettings, segment_video

SMALL = InferenceSettings(short_side=48)
# tracker, window, overlap
SETUPS = [
    ("query", 1, 0),
    ("query", 4, 0),
    ("query", 4, 2),
    ("overlap", 3, 1),
    ("overlap", 6, 3),
    ("propagate", 1, 0),
    ("propagate", 3, 0),
]


@pytest.fixture(params=SETUPS, ids=lambda setup: "-".join(map(str, setup)))
def track(request, colour_model, painter, track_colours):
    """Runs a scene and returns, for each colour, its ids and the frames they were seen on."""
    tracker, window, overlap = request.param

    def run(scene):
        frames = painter(scene)
        result = segment_video(colour_model, frames, tracker=tracker, window=window, overlap=overlap, settings=SMALL)
        assert len({t.track_id for t in result.tracks}) == len(result.tracks)
        return track_colours(result, frames)

    return run


def test_crossing_objects_keep_their_ids(track):
    scene = [{"red": (16, 3 * t), "blue": (20, 63 - 3 * t)} for t in range(22)]
    found = track(scene)
    assert {colour: len(ids) for colour, ids in found.items()} == {"red": 1, "blue": 1}
    # blue is painted over red and so always seen; red is hidden for a while
    assert list(found["blue"].values()) == [list(range(22))]
    (seen,) = found["red"].values()
    assert seen[0] == 0
    assert seen[-1] == 21


def test_an_object_that_leaves_and_returns_has_its_old_id(track):
    scene = [{"red": (4, 8)} | ({"blue": (24, 40)} if t < 6 or t >= 30 else {}) for t in range(36)]
    found = track(scene)
    (seen,) = found["blue"].values()
    assert seen == [*range(6), *range(30, 36)]
    assert len(found["red"]) == 1


def test_an_object_born_while_another_leaves_gets_an_id_of_its_own(track):
    scene = [{"red": (4, 8)} | ({"blue": (24, 40)} if t < 9 else {"cyan": (24, 40)}) for t in range(20)]
    found = track(scene)
    assert {colour: len(ids) for colour, ids in found.items()} == {"red": 1, "blue": 1, "cyan": 1}
    assert set(found["blue"]).isdisjoint(found["cyan"])
    (seen,) = found["cyan"].values()
    assert seen == list(range(9, 20))


def test_a_scene_cut_gives_new_ids_and_cutting_back_the_old_ones(track):
    first = {"red": (4, 8), "blue": (24, 40)}
    second = {"cyan": (4, 8), "yellow": (24, 40)}
    found = track([first] * 12 + [second] * 12 + [first] * 12)
    assert {colour: len(ids) for colour, ids in found.items()} == dict.fromkeys(("red", "blue", "cyan", "yellow"), 1)
    assert len({track_id for ids in found.values() for track_id in ids}) == 4
    (seen,) = found["red"].values()
    assert seen == [*range(12), *range(24, 36)]


def test_the_published_rule_follows_objects_that_are_always_there(colour_model, painter, track_colours):
    frames = painter([{"red": (16, 3 * t), "blue": (0, 63 - 3 * t)} for t in range(12)])
    result = segment_video(colour_model, frames, tracker="minvis", settings=SMALL)
    found = track_colours(result, frames)
    assert {colour: list(ids.values()) for colour, ids in found.items()} == {
        "red": [list(range(12))],
        "blue": [list(range(12))],
    }
