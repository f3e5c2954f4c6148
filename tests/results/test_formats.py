"""Results in the files of other tools, read back by the tools' own readers where they are installed."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest

from video_mask2former.results.formats import FORMATS, find_format
from video_mask2former.rle import decode_rle, encode_masks
from video_mask2former.structures import Track, VideoInstances

SIZE = (20, 30)


def mask(*boxes):
    dense = np.zeros((1, *SIZE), bool)
    for top, left, height, width in boxes:
        dense[0, top : top + height, left : left + width] = True
    return encode_masks(dense)[0]


@pytest.fixture
def video(tmp_path) -> VideoInstances:
    """A cat of one part, and a dog in two, out of sight on frame 2; four frames in a folder of images."""
    folder = tmp_path / "street"
    folder.mkdir()
    for index in range(4):
        cv2.imwrite(str(folder / f"f{index}.png"), np.full((*SIZE, 3), 40 * index, np.uint8))
    cat = Track(7, 0, 0.5, {1: mask((2, 3, 4, 5))}, {1: 0.4})
    dog = Track(2, 1, 0.9, {0: mask((10, 10, 6, 8)), 1: mask((11, 12, 3, 3), (0, 20, 8, 9)), 3: mask((0, 0, 20, 30))})
    return VideoInstances((cat, dog), 4, SIZE, Fraction(25, 2), ("cat", "a <dog>"), source=str(folder))


def test_cvat_has_a_key_frame_wherever_an_object_is(video, tmp_path):
    video.to_cvat(tmp_path / "cvat.xml")
    root = ElementTree.parse(tmp_path / "cvat.xml").getroot()
    assert [name.text for name in root.iterfind("./meta/task/labels/label/name")] == ["cat", "a <dog>"]
    assert root.findtext("./meta/task/original_size/width") == "30" and root.findtext("./meta/task/size") == "4"
    found = {
        (track.get("label"), track.get("group_id")): [(s.get("frame"), s.get("outside")) for s in track]
        for track in root.iterfind("track")
        if track.get("id") != "2"
    }
    assert found == {
        ("cat", None): [("1", "0"), ("2", "1")],
        ("a <dog>", "2"): [("0", "0"), ("1", "0"), ("2", "1"), ("3", "0")],
    }
    second = root.findall("track")[2]
    assert second.get("group_id") == "2" and [shape.get("frame") for shape in second] == ["1", "2"]
    assert {shape.get("keyframe") for shape in root.iterfind("track/polygon")} == {"1"}


def test_datumaro_reads_cvat_and_mots_png(video, tmp_path):
    datumaro = pytest.importorskip("datumaro")
    from datumaro.components.annotation import AnnotationType

    video.to_cvat(tmp_path / "cvat.xml", tolerance=0.2)
    dataset = datumaro.Dataset.import_from(str(tmp_path / "cvat.xml"), "cvat")
    items = {item.attributes["frame"]: item for item in dataset}
    assert [label.name for label in dataset.categories()[AnnotationType.label].items] == ["cat", "a <dog>"]
    shown = [shape for shape in items[1].annotations if not shape.attributes["outside"]]
    assert sorted(shape.label for shape in shown) == [0, 1, 1]
    area = {shape.label: shape.get_area() for shape in shown if shape.label == 0}
    assert area[0] == pytest.approx(3.5 * 4.5)
    video.to_mots_png(tmp_path / "mots")
    masks = {item.id: item for item in datumaro.Dataset.import_from(str(tmp_path / "mots"), "mots")}
    assert sorted(masks) == ["f0", "f1", "f2", "f3"]
    for index, item in enumerate(masks[f"f{index}"] for index in range(4)):
        found = {(int(each.attributes["track_id"]), each.label): each.image for each in item.annotations}
        wanted = {
            (number, track.label): decode_rle(track.segmentations[index])
            for number, track in enumerate(video.tracks, start=1)
            if index in track.segmentations
        }
        assert found.keys() == wanted.keys()
        for key, dense in wanted.items():
            np.testing.assert_array_equal(found[key], dense)


def test_mots_png_is_class_and_object_in_16_bits(video, tmp_path):
    video.to_mots_png(tmp_path / "mots")
    assert (tmp_path / "mots" / "instances" / "labels.txt").read_text() == "cat\na <dog>\n"
    picture = cv2.imread(str(tmp_path / "mots" / "instances" / "f1.png"), cv2.IMREAD_UNCHANGED)
    assert picture.dtype == np.uint16 and set(np.unique(picture)) == {0, 1001, 2002}
    np.testing.assert_array_equal(picture == 1001, video.masks([1])[0, 0])
    with pytest.raises(FileExistsError, match="already exists and is not empty"):
        video.to_mots_png(tmp_path / "mots")


def test_the_tenth_class_of_mots_does_not_mean_to_ignore(tmp_path):
    video = VideoInstances((Track(1, 9, 1.0, {0: mask((0, 0, 5, 5))}),), 1, SIZE)
    video.to_mots_png(tmp_path / "mots")
    names = (tmp_path / "mots" / "instances" / "labels.txt").read_text().splitlines()
    assert names[8:] == ["class 8", "ignored", "class 9"]
    assert cv2.imread(str(tmp_path / "mots" / "instances" / "000000.png"), cv2.IMREAD_UNCHANGED).max() == 11001


@pytest.mark.parametrize("shapes", ["polygons", "boxes"])
def test_label_studio_gets_percent_and_frames_from_1(video, tmp_path, shapes):
    path = tmp_path / "task.json"
    video.to_label_studio(path, shapes=shapes)
    [task] = json.loads(path.read_text())
    assert task["data"]["video"] == video.source
    [prediction] = task["predictions"]
    assert prediction["score"] == pytest.approx(0.7)
    regions = {region["id"]: region["value"] for region in prediction["result"]}
    assert list(regions) == ["track-7", "track-2"] + (["track-2-2"] if shapes == "polygons" else [])
    cat, dog = regions["track-7"], regions["track-2"]
    assert cat["labels"] == ["cat"] and cat["framesCount"] == 4 and cat["duration"] == pytest.approx(0.32)
    assert [(key["frame"], key["enabled"]) for key in dog["sequence"]] == [(1, True), (2, False), (4, False)]
    key = cat["sequence"][0]
    if shapes == "boxes":
        assert [key[name] for name in ("x", "y", "width", "height")] == pytest.approx([10, 10, 100 / 6, 20])
    else:
        points = np.array([[vertex["x"] * 0.3, vertex["y"] * 0.2] for vertex in key["vertices"]])
        np.testing.assert_allclose([points.min(0), points.max(0)], [[3.25, 2.25], [7.75, 5.75]], atol=1e-3)
    _check_with_label_studio(task, (tmp_path / "task.json.config.xml").read_text())


def _check_with_label_studio(task, config):
    root = ElementTree.fromstring(config)
    controls = {element.get("name"): element for element in root.iter() if element.get("toName") == "video"}
    labels = [element.get("value") for element in root.iter("Label")]
    for region in task["predictions"][0]["result"]:
        assert region["from_name"] in controls and set(region["value"]["labels"]) <= set(labels)
    try:
        from label_studio_sdk.label_interface import LabelInterface
    except ImportError:
        return
    assert LabelInterface(config).validate_prediction(task["predictions"][0], return_errors=True) == []


def test_fiftyone_shows_boxes_masks_and_ids(video):
    fiftyone = pytest.importorskip("fiftyone")
    with pytest.raises(ValueError, match=r"must be a video file, got .*street"):
        video.to_fiftyone()
    video = replace(video, source=video.source + ".mp4")
    sample = video.to_fiftyone()
    assert isinstance(sample, fiftyone.Sample) and sample.filepath == video.source
    found = {one.index: one for one in sample.frames[2].predictions.detections}
    assert sorted(found) == [2, 7] and found[7].label == "cat" and found[7].confidence == 0.4
    assert found[7].bounding_box == pytest.approx([3 / 30, 2 / 20, 5 / 30, 4 / 20]) and found[7].mask.all()
    assert found[2].mask.shape == (14, 17) and found[2].mask.sum() == 9 + 72
    assert found[2].instance.id == sample.frames[1].predictions.detections[0].instance.id
    assert sample.frames[3].predictions.detections == []


def test_every_format_writes_what_it_says_and_nothing_of_no_objects(video, tmp_path):
    for name, form in FORMATS.items():
        for number, content in enumerate((video, video[:0])):
            folder = tmp_path / f"{name}{number}"
            folder.mkdir()
            form.write(content, folder / form.file_names[0], [0, 3])
            assert sorted(path.name for path in folder.iterdir()) == sorted(form.file_names)
    with pytest.raises(ValueError, match=r"the format must be one of cvat, .*, got 'vatic'"):
        find_format("vatic")
