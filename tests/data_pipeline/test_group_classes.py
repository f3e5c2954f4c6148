"""Many categories to a few groups, for training small models."""

from __future__ import annotations

import json

import pytest

from video_mask2former.data.preparation.group_classes import DEMO_GROUPS, group_classes, read_groups, write_grouped

DOCUMENT = {
    "videos": [{"id": 1}],
    "categories": [{"id": 3, "name": "dog"}, {"id": 9, "name": "kite"}, {"id": 4, "name": "person"}],
    "annotations": [{"id": 1, "category_id": 9}, {"id": 2, "category_id": 3}, {"id": 3, "category_id": 4}],
}


def test_categories_become_groups_and_the_rest_one_more():
    grouped = group_classes(DOCUMENT, DEMO_GROUPS)
    names = [category["name"] for category in grouped["categories"]]
    assert names == ["person", "animal", "vehicle", "object"]
    assert [names[annotation["category_id"] - 1] for annotation in grouped["annotations"]] == [
        "object",
        "animal",
        "person",
    ]
    assert grouped["videos"] == DOCUMENT["videos"]
    assert DOCUMENT["annotations"][0]["category_id"] == 9


def test_groups_of_stuff_are_stuff_and_the_table_may_name_the_rest():
    categories = [{"id": 1, "name": "disc", "isthing": 1}, {"id": 2, "name": "sky", "isthing": 0}]
    categories += [{"id": 3, "name": "sea", "isthing": 0}, {"id": 4, "name": "boat"}]
    document = {"videos": [], "categories": categories, "annotations": []}
    grouped = group_classes(document, {"disc": "object", "sky": "air", "sea": "water", "boat": "water"})
    assert grouped["categories"] == [
        {"id": 1, "name": "object", "isthing": 1},
        {"id": 2, "name": "air", "isthing": 0},
        {"id": 3, "name": "water", "isthing": 1},
    ]


def test_files_are_written_with_groups_of_ones_own(tmp_path):
    (tmp_path / "in.json").write_text(json.dumps(DOCUMENT))
    (tmp_path / "groups.yaml").write_text("dog: pet\nkite: toy\n")
    counts = write_grouped(tmp_path / "in.json", tmp_path / "out.json", read_groups(tmp_path / "groups.yaml"))
    assert counts == {"pet": 1, "toy": 1, "object": 1}
    assert [entry["name"] for entry in json.loads((tmp_path / "out.json").read_text())["categories"]] == list(counts)


@pytest.mark.parametrize("content", ["no json", "[]", '{"categories": []}', '{"categories": [], "annotations": [{}]}'])
def test_other_files_are_refused(tmp_path, content):
    (tmp_path / "in.json").write_text(content)
    with pytest.raises(ValueError, match=r"annotation file|not a JSON file"):
        write_grouped(tmp_path / "in.json", tmp_path / "out.json", DEMO_GROUPS)
    assert not (tmp_path / "out.json").exists()


def test_groups_must_be_names(tmp_path):
    (tmp_path / "groups.yaml").write_text("- dog\n")
    with pytest.raises(ValueError, match="must map category names"):
        read_groups(tmp_path / "groups.yaml")
