from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from video_mask2former.data.annotation_format import find_problems, parse_document, read_document, read_json


def problems_of(document) -> list[str]:
    return [str(problem) for problem in find_problems(parse_document(document, Path("f.json")))]


def test_sound_document_has_no_problems(document) -> None:
    assert problems_of(document) == []


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        (("categories",), [], "categories: there must be at least one"),
        (("categories", 0, "id"), "1", "categories[0]: its id must be an integer, got '1'"),
        (("categories", 1, "id"), 70, "categories[1]: id 70 occurs twice"),
        (("categories", 2, "name"), None, "categories[2]: its name must be a string"),
        (("videos", 0, "id"), True, "videos[0]: its id must be an integer, got True"),
        (("videos", 0, "id"), 3, "video 3: id 3 occurs twice"),
        (("videos", 1, "height"), 0, "video 3: its height and width must be positive integers, got [0"),
        (("videos", 2, "width"), 32.0, "video 5: its height and width must be positive integers, got [24, 32.0]"),
        (("categories", 1, "name"), "zebra", "categories[1]: name 'zebra' occurs twice"),
        (("videos", 2, "file_names"), [], "video 5: its file_names must be a list"),
        (("videos", 2, "file_names"), [None], "video 5: its file_names must be a list"),
        (("videos", 1, "length"), 7, "video 3: its length is 7, but it has 6 file_names"),
        (("annotations", 0, "id"), None, "annotations[0]: its id must be an integer"),
        (("annotations", 0, "id"), 20, "video 3, annotation 20: id 20 occurs twice"),
        (("annotations", 0, "video_id"), 4, "video 4, annotation 21: there is no such video"),
        (("annotations", 0, "category_id"), 1, "video 3, annotation 21: there is no category 1"),
        (("annotations", 0, "iscrowd"), 2, "video 3, annotation 21: iscrowd must be 0 or 1, got 2"),
        (("annotations", 0, "segmentations"), [None], "annotation 21: segmentations must be a list of 6"),
        (("annotations", 0, "segmentations"), None, "annotation 21: segmentations must be a list of 6"),
        (("annotations", 0, "segmentations", 4, "size"), [32, 24], "video 3, annotation 21, frame 4: an RLE must have"),
        (("annotations", 3, "segmentations", 0), [[1, 1, 2, 2]], "video 5, annotation 23, frame 0: 1 of its polygons"),
    ],
)
def test_problems_name_their_place(document, path, value, expected) -> None:
    target = document
    for key in path[:-1]:
        target = target[key]
    target[path[-1]] = value
    assert any(problem.startswith(expected) or expected in problem for problem in problems_of(document))


def test_all_problems_are_found_not_only_the_first(document) -> None:
    document["annotations"][0]["category_id"] = 999
    document["annotations"][0]["segmentations"][1] = 5
    document["annotations"][0]["segmentations"][2] = 6
    document["videos"][0]["height"] = -1
    places = [problem.split(":")[0] for problem in problems_of(document)]
    assert places == [
        "video 9",
        "video 3, annotation 21",
        "video 3, annotation 21, frame 1",
        "video 3, annotation 21, frame 2",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not a JSON file"),
        ("[1]", "must hold an object, as every annotation file does, got a list"),
        ('{"videos": []}', "must have a list of objects 'categories'"),
        ('{"categories": [], "clips": []}', "must have a list of objects 'images'"),
        ('{"categories": [], "videos": [{"id": 1}], "images": []}', "seems to be in the COCO video format"),
        ('{"categories": [], "videos": [1]}', "must have a list of objects 'videos'"),
        ('{"categories": [], "videos": [], "annotations": 3}', "must have a list of objects 'annotations'"),
    ],
)
def test_files_that_are_no_annotations(tmp_path, text, message) -> None:
    path = tmp_path / "f.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=f"{re.escape(str(path))}.*{message}"):
        read_document(path)


def test_missing_file(tmp_path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no annotation file .*nothing\.json"):
        read_json(tmp_path / "nothing.json")


def test_images_are_videos_of_one_frame(tmp_path) -> None:
    image = {"id": 4, "file_name": "a.jpg", "height": 5, "width": 6}
    instance = {"id": 1, "image_id": 4, "category_id": 2, "segmentation": [[0, 0, 3, 0, 3, 3]], "bbox": [0, 0, 3, 3]}
    document = {"categories": [{"id": 2, "name": "x"}], "images": [image], "annotations": [instance]}
    (tmp_path / "f.json").write_text(json.dumps(document))
    parsed = read_document(tmp_path / "f.json")
    assert parsed.videos == [{"id": 4, "height": 5, "width": 6, "file_names": ["a.jpg"]}]
    assert parsed.annotations == [{"id": 1, "category_id": 2, "video_id": 4, "segmentations": [[[0, 0, 3, 0, 3, 3]]]}]
    assert list(find_problems(parsed)) == []
