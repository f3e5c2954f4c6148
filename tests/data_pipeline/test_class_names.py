from __future__ import annotations

import pytest

from video_mask2former.data.class_names import CATEGORY_IDS, CLASS_NAMES, THING_INDICES, known_things


@pytest.mark.parametrize(
    ("name", "count", "things"),
    [
        ("ytvis_2019", 40, 40),
        ("ytvis_2021", 40, 40),
        ("ovis", 25, 25),
        ("coco_instance", 80, 80),
        ("coco_panoptic", 133, 80),
        ("ade20k_semantic", 150, 100),
        ("vspw", 124, 58),
        ("vipseg", 124, 58),
    ],
)
def test_lists_are_complete_and_unique(name: str, count: int, things: int) -> None:
    assert len(CLASS_NAMES[name]) == len(set(CLASS_NAMES[name])) == count
    assert len(CATEGORY_IDS[name]) == len(set(CATEGORY_IDS[name])) == count
    if name != "vipseg":  # its models have things first, its files do not
        assert list(CATEGORY_IDS[name]) == sorted(CATEGORY_IDS[name])
    assert len(THING_INDICES[name]) == things and max(THING_INDICES[name]) < count


@pytest.mark.parametrize(
    ("name", "category_id", "class_name"),
    [
        ("ytvis_2019", 1, "person"),
        ("ytvis_2019", 40, "tennis_racket"),
        ("ytvis_2021", 1, "airplane"),
        ("ytvis_2021", 26, "person"),
        ("ovis", 12, "Poultry"),
        ("ovis", 25, "Vehical"),
        ("coco_instance", 13, "stop sign"),
        ("coco_instance", 90, "toothbrush"),
        ("coco_panoptic", 92, "banner"),
        ("coco_panoptic", 159, "snow"),
        ("coco_panoptic", 200, "rug-merged"),
        ("ade20k_semantic", 1, "wall"),
        ("ade20k_semantic", 150, "flag"),
        ("vspw", 61, "person"),
        ("vspw", 124, "train"),
        ("vipseg", 2, "door"),
        ("vipseg", 60, "person"),
        ("vipseg", 121, "food"),
    ],
)
def test_category_ids_meet_their_names(name: str, category_id: int, class_name: str) -> None:
    assert CLASS_NAMES[name][CATEGORY_IDS[name].index(category_id)] == class_name


def test_panoptic_things_come_first_and_equal_the_instance_classes() -> None:
    assert CLASS_NAMES["coco_panoptic"][:80] == CLASS_NAMES["coco_instance"]
    assert THING_INDICES["coco_panoptic"] == set(range(80))


def test_ade20k_stuff_and_things_are_told_apart() -> None:
    names = CLASS_NAMES["ade20k_semantic"]
    assert names.index("person") in THING_INDICES["ade20k_semantic"]
    assert names.index("sky") not in THING_INDICES["ade20k_semantic"]


def test_things_are_known_by_the_list() -> None:
    for name in ("vipseg", "coco_panoptic", "vspw"):
        things = known_things(CLASS_NAMES[name], len(CLASS_NAMES[name]))
        assert {index for index, is_thing in enumerate(things) if is_thing} == THING_INDICES[name]
    assert known_things(("owl", "sky"), 2) == known_things((), 2) == (True, True)
