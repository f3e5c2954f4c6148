"""Annotation files that say what they do not label, up to the target of a training clip."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from video_mask2former.data.annotation_format import find_problems, parse_document
from video_mask2former.data.annotations import load_annotations
from video_mask2former.data.preparation.group_classes import group_classes
from video_mask2former.rle import decode_rle, encode_masks


def rectangle(top: int, left: int, height: int = 6, width: int = 8) -> dict[str, Any]:
    mask = np.zeros((1, 24, 32), bool)
    mask[:, top : top + height, left : left + width] = True
    return dict(encode_masks(mask)[0])


def test_labelled_categories_of_file_and_video_reach_the_target(document, write) -> None:
    assert load_annotations(write(document)).clip_target(0, (0,)).labelled_classes is None
    document["labelled_category_ids"] = [70, 11]
    document["videos"][2]["labelled_category_ids"] = []  # video 5
    annotations = load_annotations(write(document))
    assert annotations.clip_target(0, (0, 1)).labelled_classes.tolist() == [1, 2]
    assert annotations.clip_target(1, (0,)).labelled_classes.tolist() == []


def test_crowd_and_ignored_regions_reach_the_target_less_the_instances(document, write) -> None:
    region = rectangle(10, 2, height=8, width=20)
    document["videos"][1]["ignore_segmentations"] = [None, region, None, None, None, region]
    target = load_annotations(write(document)).clip_target(0, (0, 5))
    crowd, region = (decode_rle(rle) for rle in (rectangle(0, 20), region))
    for frame, expected in enumerate((crowd, crowd | region)):
        instances = target.masks[:, frame].any(dim=0).numpy()
        np.testing.assert_array_equal(target.ignored[frame].numpy(), expected & ~instances)
    assert (target.ignored[1].numpy() != (crowd | region)).any(), "an instance lies in the region"


def test_images_say_the_same_of_themselves() -> None:
    image = {"id": 4, "height": 24, "width": 32, "file_name": "4.jpg", "ignore_segmentation": rectangle(0, 0)}
    document = {"categories": [{"id": 1, "name": "cat"}], "images": [{**image, "labelled_category_ids": [1]}]}
    video = parse_document({**document, "annotations": []}, "x.json").videos[0]
    assert video["ignore_segmentations"] == [rectangle(0, 0)] and video["labelled_category_ids"] == [1]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"labelled_category_ids": [70, 5]}, "its labelled_category_ids name 5, which is not a category"),
        ({"labelled_category_ids": "cat"}, "must be a list of category ids, got 'cat'"),
        ({"ignore_segmentations": [None]}, "ignore_segmentations must be a list of 6, null where absent, got 1"),
        ({"ignore_segmentations": [{"size": [2, 2], "counts": "1"}] * 6}, "an RLE must have the video's size"),
    ],
)
def test_what_is_wrong_is_said(document, write, entry, message) -> None:
    document["videos"][1].update(entry)
    problems = list(find_problems(parse_document(document, "x.json")))
    assert problems[0].place.startswith("video 3") and message in problems[0].message
    with pytest.raises(ValueError, match="video 3"):
        load_annotations(write(document))


def test_an_ignored_region_that_cannot_be_read_is_named(document, write) -> None:
    document["videos"][1]["ignore_segmentations"] = [{"size": [24, 32], "counts": "5"}] * 6
    with pytest.raises(ValueError, match="video 3, ignored region, frame 2: the RLE cannot be read"):
        load_annotations(write(document)).clip_target(0, (2,))


def test_groups_say_which_of_them_are_labelled() -> None:
    document = {"categories": [{"id": 3, "name": "cat"}], "images": [{"id": 1}], "annotations": []}
    grouped = group_classes(document, {"cat": "animal", "man": "person"}, labelled=["animal"])
    assert grouped["categories"][0] == {"id": 1, "name": "animal"} and grouped["labelled_category_ids"] == [1]
    assert "labelled_category_ids" not in group_classes(document, {"cat": "animal"})
    with pytest.raises(ValueError, match="labelled groups must be among animal, object, got dog"):
        group_classes(document, {"cat": "animal"}, labelled=["dog"])
    document["images"][0]["labelled_category_ids"] = [3]
    with pytest.raises(ValueError, match="Name the labelled groups"):
        group_classes(document, {"cat": "animal"})
    assert group_classes(document, {"cat": "animal"}, labelled=[])["images"] == [{"id": 1}]
