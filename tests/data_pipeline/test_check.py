from __future__ import annotations

import cv2
import numpy as np
import pytest

from video_mask2former.data.preparation.check import check_dataset


def lines(report) -> list[str]:
    return [str(problem) for problem in report.problems]


def test_sound_dataset(document, write, image_folder) -> None:
    report = check_dataset(write(document), image_folder)
    assert report.problems == () and report.num_errors == 0
    assert (report.num_videos, report.num_frames) == (3, 11)
    zebra, cat, dog = (report.classes[key] for key in (70, -2, 11))
    assert (zebra.name, zebra.num_videos, zebra.num_tracks, zebra.num_masks, zebra.num_pixels) == (
        "zebra",
        1,
        1,
        6,
        288,
    )
    assert (cat.num_tracks, cat.num_masks) == (1, 2)
    assert (dog.num_videos, dog.num_tracks, dog.num_crowd, dog.num_masks) == (2, 2, 1, 7)


def test_every_problem_is_listed_with_its_place(document, write, image_folder) -> None:
    zebra, cat, crowd, polygon = document["annotations"]
    zebra["segmentations"][0] = {"size": [24, 32], "counts": "23"}
    zebra["segmentations"][1] = {"size": [1, 1], "counts": "1"}
    zebra["segmentations"][2] = {"size": [24, 32], "counts": [768]}
    cat["segmentations"] = [None] * 6
    crowd["bboxes"] = [None] * 5
    polygon["segmentations"] = [[[1, 1, 2, 2]]]
    document["videos"][0]["length"] = 5
    (image_folder / "3/001.png").unlink()
    (image_folder / "3/002.png").write_bytes(b"torn")
    cv2.imwrite(str(image_folder / "5/000.png"), np.zeros((10, 10, 3), np.uint8))
    report = check_dataset(write(document), image_folder)
    expected = [
        "video 9: its length is 5, but it has 4 file_names",
        "video 3, annotation 21, frame 1: an RLE must have the video's size",
        "video 5, annotation 23, frame 0: 1 of its polygons have fewer than three points",
        "video 3, annotation 21, frame 0: the RLE cannot be read, its runs cover 5 pixels",
        "video 3, annotation 21, frame 2: its mask is empty",
        "video 3, annotation 20: it has no mask on any frame",
        "video 3, annotation 22: it has 5 bboxes for 6 segmentations",
        "video 3, frame 1: no image",
        "video 3, frame 2: ",
        "video 5, frame 0: ",
    ]
    found = lines(report)
    for text in expected:
        assert any(line.startswith(text) for line in found), f"{text!r} is not in {found}"
    assert report.num_errors == 8
    assert report.classes[70].num_masks == 3


def test_images_are_looked_at_only_when_asked(document, write) -> None:
    assert check_dataset(write(document)).problems == ()


@pytest.mark.parametrize("content", ["{", "[]", '{"videos": []}'])
def test_unreadable_files_are_one_problem(tmp_path, content) -> None:
    path = tmp_path / "f.json"
    path.write_text(content)
    report = check_dataset(path)
    assert len(report.problems) == report.num_errors == 1 and report.problems[0].place == str(path)
    assert check_dataset(tmp_path / "none.json").num_errors == 1


def test_nonsense_in_every_field_is_reported_not_raised(document, write) -> None:
    for value in (None, "x", -1, [], {}, 1.5):
        for section in ("videos", "annotations", "categories"):
            for key in list(document[section][0]):
                broken = {name: [dict(entry) for entry in entries] for name, entries in document.items()}
                broken[section][0][key] = value
                report = check_dataset(write(broken))
                assert isinstance(report.num_errors, int)


def test_sample_data_is_sound(sample_data) -> None:
    for name, images in (("davis2016_val", "JPEGImages"), ("coco128", "images")):
        report = check_dataset(sample_data / name / "instances.json", sample_data / name / images)
        assert report.num_errors == 0
