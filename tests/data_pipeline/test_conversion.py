from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from video_mask2former.data.annotations import load_annotations
from video_mask2former.data.class_names import CLASS_NAMES
from video_mask2former.data.preparation.check import check_dataset
from video_mask2former.data.preparation.coco_subset import SHARED_CLASSES, filter_coco, write_filtered_coco
from video_mask2former.data.preparation.convert_coco_video import convert_coco_video
from video_mask2former.data.preparation.convert_davis import convert_davis, read_indexed_png
from video_mask2former.data.preparation.convert_mots import convert_mots
from video_mask2former.data.preparation.convert_segment_maps import (
    convert_ade20k_semantic,
    convert_cityscapes_semantic,
    convert_coco_panoptic,
)
from video_mask2former.data.preparation.dataset_writer import DatasetWriter, TrackAnnotation
from video_mask2former.rle import decode_rle, encode_masks


def write_image(path: Path, height: int = 10, width: int = 12) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((height, width, 3), 90, np.uint8))


def write_indexed_png(path: Path, indices: np.ndarray, palette: list[tuple[int, int, int]]) -> None:
    """A PNG with a palette, from its specification."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    height, width = indices.shape
    rows = b"".join(b"\x00" + row.astype(np.uint8).tobytes() for row in indices)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0))
        + chunk(b"PLTE", bytes(value for color in palette for value in color))
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


PALETTE = [(0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0)] + [(0, 0, 0)] * 251 + [(224, 224, 192)]


def numbers(frame: int) -> np.ndarray:
    indices = np.zeros((10, 12), np.uint8)
    indices[2:5, frame : frame + 3] = 1
    if frame != 1:
        indices[6:9, 4:8] = 3
    indices[0, 0] = 255
    return indices


def test_indexed_pngs_give_back_their_indices(tmp_path) -> None:
    write_indexed_png(tmp_path / "a.png", numbers(0), PALETTE)
    np.testing.assert_array_equal(read_indexed_png(tmp_path / "a.png"), numbers(0))
    cv2.imwrite(str(tmp_path / "grey.png"), numbers(2))
    np.testing.assert_array_equal(read_indexed_png(tmp_path / "grey.png"), numbers(2))
    write_image(tmp_path / "colour.png")
    with pytest.raises(ValueError, match=r"colour\.png must have a palette or 8 bits of grey"):
        read_indexed_png(tmp_path / "colour.png")
    (tmp_path / "torn.png").write_bytes(b"")
    with pytest.raises(ValueError, match="cut off"):
        read_indexed_png(tmp_path / "torn.png")


@pytest.fixture
def davis(tmp_path) -> Path:
    for video, count in (("bear", 3), ("dog", 1)):
        for frame in range(count):
            write_image(tmp_path / f"images/{video}/{frame:05d}.jpg")
            write_indexed_png(tmp_path / f"masks/{video}/{frame:05d}.png", numbers(frame), PALETTE)
    return tmp_path


def test_davis(davis) -> None:
    assert convert_davis(davis / "images", davis / "masks", davis / "out.json") == 2
    assert check_dataset(davis / "out.json", davis / "images").problems == ()
    annotations = load_annotations(davis / "out.json")
    assert annotations.class_names == ("object",)
    bear = annotations.ground_truth(0)
    assert annotations[0].file_names == ("bear/00000.jpg", "bear/00001.jpg", "bear/00002.jpg")
    assert [sorted(track.segmentations) for track in bear.tracks] == [[0, 1, 2], [0, 2]]
    for track, number in zip(bear.tracks, (1, 3), strict=True):
        for frame, rle in track.segmentations.items():
            np.testing.assert_array_equal(decode_rle(rle), numbers(frame) == number)


def test_davis_with_classes(davis) -> None:
    classes = {"bear": {"1": "bear", "3": "person"}, "dog": {"1": "dog", "3": "person"}}
    convert_davis(davis / "images", davis / "masks", davis / "out.json", classes)
    annotations = load_annotations(davis / "out.json")
    assert annotations.class_names == ("bear", "dog", "person")
    assert [annotations[index].labels for index in range(2)] == [(0, 2), (1, 2)]
    del classes["dog"]["3"]
    with pytest.raises(ValueError, match="class of object 3 of video dog is not given"):
        convert_davis(davis / "images", davis / "masks", davis / "out.json", classes)


def test_davis_with_missing_parts(davis) -> None:
    (davis / "masks/bear/00001.png").unlink()  # no objects there
    convert_davis(davis / "images", davis / "masks", davis / "out.json")
    assert sorted(load_annotations(davis / "out.json").ground_truth(0).tracks[0].segmentations) == [0, 2]
    write_indexed_png(davis / "masks/bear/00001.png", numbers(1)[:5], PALETTE)
    with pytest.raises(ValueError, match=r"00001\.png must have the size of its image, \(10, 12\), got \(5, 12\)"):
        convert_davis(davis / "images", davis / "masks", davis / "out.json")
    (davis / "masks/bear/00001.png").unlink()
    with pytest.raises(FileNotFoundError, match="must have a folder of PNG masks"):
        convert_davis(davis / "images", davis / "nothing", davis / "out.json")
    (davis / "masks/cat").mkdir()
    with pytest.raises(FileNotFoundError, match=r"no folder .*images/cat"):
        convert_davis(davis / "images", davis / "masks", davis / "out.json")


def rle_of(mask: np.ndarray) -> dict:
    return dict(encode_masks(mask[None])[0])


def write_mots(folder: Path, name: str, lines: list[str]) -> None:
    for number in (1, 2, 3):
        write_image(folder / f"images/0007/{number:06d}.png")
    path = folder / "texts" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize("name", ["0007.txt", "0007/gt/gt.txt"])
def test_mots(tmp_path, name) -> None:
    car, walker = rle_of(numbers(0) == 1)["counts"], rle_of(numbers(0) == 3)["counts"]
    ignored = rle_of(numbers(0) == 0)["counts"]
    lines = [
        f"1 1005 1 10 12 {car}",
        f"3 1005 1 10 12 {car}",
        f"2 2001 2 10 12 {walker}",
        f"2 10000 10 10 12 {ignored}",
    ]
    write_mots(tmp_path, name, lines)
    assert convert_mots(tmp_path / "images", tmp_path / "texts", tmp_path / "out.json") == 1
    assert check_dataset(tmp_path / "out.json", tmp_path / "images").problems == ()
    video = load_annotations(tmp_path / "out.json").ground_truth(0)
    found = sorted((track.label, track.is_crowd, tuple(sorted(track.segmentations))) for track in video.tracks)
    assert found == [(0, False, (0, 2)), (0, True, (1,)), (1, False, (1,)), (1, True, (1,))]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1 5 1 10 12", "line 2: expected 'frame id class height width rle'"),
        ("x 5 1 10 12 abc", "line 2: expected"),
        ("9 5 1 10 12 abc", "line 2: there is no image of frame 9"),
        ("1 5 3 10 12 abc", "line 2: the class must be one of"),
        ("1 5 1 10 12 abc", "line 2: the RLE cannot be read, its counts are cut off"),
        ("1 5 1 10 12 h3", "line 2: the mask is empty"),
        ("1 5 1 12 10 abc", r"line 2: the mask must have the size of its image, \(10, 12\), got \(12, 10\)"),
    ],
)
def test_wrong_mots_lines_are_named(tmp_path, line, message) -> None:
    write_mots(tmp_path, "0007.txt", ["", line])
    with pytest.raises(ValueError, match=message):
        convert_mots(tmp_path / "images", tmp_path / "texts", tmp_path / "out.json")


def test_objects_that_are_twice_on_a_frame_are_named(tmp_path) -> None:
    line = f"1 5 1 10 12 {rle_of(numbers(0) == 1)['counts']}"
    write_mots(tmp_path, "0007.txt", [line, line])
    with pytest.raises(ValueError, match="line 2: object 5 was on frame 1 before"):
        convert_mots(tmp_path / "images", tmp_path / "texts", tmp_path / "out.json")


def coco_video() -> dict:
    box = {"area": 9, "bbox": [0, 0, 3, 3]}
    return {
        "categories": [{"id": 3, "name": "fish"}],
        "videos": [{"id": 1, "name": "pond"}],
        "images": [
            {"id": 12, "video_id": 1, "frame_id": 1, "file_name": "pond/1.jpg", "height": 10, "width": 12},
            {"id": 11, "video_id": 1, "frame_id": 0, "file_name": "pond/0.jpg", "height": 10, "width": 12},
        ],
        "annotations": [
            {
                **box,
                "id": 1,
                "image_id": 12,
                "video_id": 1,
                "instance_id": 5,
                "category_id": 3,
                "segmentation": rle_of(numbers(0) == 1),
            },
            {
                **box,
                "id": 2,
                "image_id": 11,
                "video_id": 1,
                "instance_id": 5,
                "category_id": 3,
                "segmentation": [[4, 6, 8, 6, 8, 9, 4, 9]],
            },
            {
                **box,
                "id": 3,
                "image_id": 11,
                "video_id": 1,
                "instance_id": 6,
                "category_id": 3,
                "iscrowd": 1,
                "segmentation": {"size": [10, 12], "counts": [50, 20, 50]},
            },
        ],
    }


def test_coco_video(tmp_path) -> None:
    (tmp_path / "in.json").write_text(json.dumps(coco_video()))
    assert convert_coco_video(tmp_path / "in.json", tmp_path / "out.json") == 1
    annotations = load_annotations(tmp_path / "out.json")
    assert annotations[0].file_names == ("pond/0.jpg", "pond/1.jpg") and annotations.category_ids == (3,)
    fish, crowd = annotations.ground_truth(0).tracks
    assert sorted(fish.segmentations) == [0, 1] and not fish.is_crowd
    np.testing.assert_array_equal(decode_rle(fish.segmentations[0]), numbers(0) == 3)
    assert sorted(crowd.segmentations) == [0] and crowd.is_crowd


def test_coco_video_with_the_other_names_of_fields(tmp_path) -> None:
    document = coco_video()
    (tmp_path / "in.json").write_text(json.dumps(document))
    for image in document["images"]:
        image["frame_index"] = image.pop("frame_id")
    for annotation in document["annotations"]:
        annotation["track_id"] = annotation.pop("instance_id")
    (tmp_path / "other.json").write_text(json.dumps(document))
    for name in ("in", "other"):
        convert_coco_video(tmp_path / f"{name}.json", tmp_path / f"{name}_out.json")
    assert (tmp_path / "in_out.json").read_bytes() == (tmp_path / "other_out.json").read_bytes()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.pop("videos"), r"in\.json: it must have a list of objects 'videos'"),
        (lambda d: d.update(categories=[3]), "a list of objects 'categories'"),
        (lambda d: d["images"][0].pop("frame_id"), "must have 'frame_id or frame_index' in every entry"),
        (lambda d: d["images"][0].update(frame_id="x"), "'frame_id' must be an integer, got 'x' in entry 12"),
        (lambda d: d["images"][0].pop("height"), "must have 'height' in every entry"),
        (lambda d: d["annotations"][0].pop("instance_id"), "must have 'instance_id or track_id' in every entry"),
        (lambda d: d["annotations"][0].pop("category_id"), "must have 'category_id' in every entry"),
        (lambda d: d["annotations"][0].update(category_id=8), r"category_id must be one of \[3\], got 8"),
        (lambda d: d["annotations"][0].update(image_id=77), "annotation 1: there is no image 77"),
        (lambda d: d["annotations"][0]["segmentation"].update(counts="PP"), "annotation 1: the RLE cannot be read"),
        (lambda d: d["images"][0].update(height=11), r"images of video 1 have several sizes"),
        (lambda d: d["annotations"][0].update(image_id=11), "instance 5 occurs twice on image 11"),
        (lambda d: d["annotations"][1].update(segmentation=[[1, 2, 3]]), "annotation 2: a polygon must have as many x"),
    ],
)
def test_wrong_coco_videos_are_refused(tmp_path, change, message) -> None:
    document = coco_video()
    change(document)
    (tmp_path / "in.json").write_text(json.dumps(document))
    with pytest.raises(ValueError, match=message):
        convert_coco_video(tmp_path / "in.json", tmp_path / "out.json")


def test_coco_panoptic(tmp_path) -> None:
    ids = np.zeros((10, 12), np.int64)
    ids[:5], ids[5:, :4], ids[5:, 4:10] = 70000, 260, 3
    colors = np.stack([ids % 256, ids // 256 % 256, ids // 65536], axis=-1).astype(np.uint8)
    (tmp_path / "png").mkdir()
    cv2.imwrite(str(tmp_path / "png/a.png"), colors[..., ::-1])
    segments = [
        {"id": 70000, "category_id": 187, "iscrowd": 0},
        {"id": 260, "category_id": 1, "iscrowd": 0},
        {"id": 3, "category_id": 1, "iscrowd": 1},
    ]
    document = {
        "categories": [{"id": 1, "name": "person", "isthing": 1}, {"id": 187, "name": "sky", "isthing": 0}],
        "images": [{"id": 8, "file_name": "a.jpg", "height": 10, "width": 12}],
        "annotations": [{"image_id": 8, "file_name": "a.png", "segments_info": segments}],
    }
    (tmp_path / "in.json").write_text(json.dumps(document))
    assert convert_coco_panoptic(tmp_path / "in.json", tmp_path / "png", tmp_path / "out.json") == 3
    annotations = load_annotations(tmp_path / "out.json")
    np.testing.assert_array_equal(annotations.clip_target(0, (0,)).ignored[0], (ids == 0) | (ids == 3))
    tracks = annotations.ground_truth(0).tracks
    found = {(track.label, track.is_crowd): decode_rle(track.segmentations[0]) for track in tracks}
    np.testing.assert_array_equal(found[1, False], ids == 70000)
    np.testing.assert_array_equal(found[0, False], ids == 260)
    np.testing.assert_array_equal(found[0, True], ids == 3)
    segments.append({"id": 4, "category_id": 1})
    (tmp_path / "in.json").write_text(json.dumps(document))
    with pytest.raises(ValueError, match=r"a\.png does not show the segments \[4\]"):
        convert_coco_panoptic(tmp_path / "in.json", tmp_path / "png", tmp_path / "out.json")


def test_ade20k(tmp_path) -> None:
    labels = np.zeros((10, 12), np.uint8)
    labels[:4], labels[6:] = 1, 150
    write_image(tmp_path / "images/x.jpg")
    (tmp_path / "labels").mkdir()
    cv2.imwrite(str(tmp_path / "labels/x.png"), labels)
    assert convert_ade20k_semantic(tmp_path / "images", tmp_path / "labels", tmp_path / "out.json") == 2
    annotations = load_annotations(tmp_path / "out.json")
    assert annotations.class_names == CLASS_NAMES["ade20k_semantic"]
    assert annotations[0].labels == (0, 149)
    np.testing.assert_array_equal(annotations.clip_target(0, (0,)).ignored[0], labels == 0)
    assert check_dataset(tmp_path / "out.json", tmp_path / "images").problems == ()


def test_cityscapes(tmp_path) -> None:
    labels = np.zeros((10, 12), np.uint8)
    labels[:4], labels[4:6], labels[6:8] = 7, 33, 30  # road, bicycle, and trailer, which does not count
    write_image(tmp_path / "images/aachen/aachen_1_leftImg8bit.png")
    (tmp_path / "labels/aachen").mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "labels/aachen/aachen_1_gtFine_labelIds.png"), labels)
    paths = (tmp_path / "images", tmp_path / "labels", tmp_path / "out.json")
    assert convert_cityscapes_semantic(*paths) == 2
    annotations = load_annotations(paths[2])
    assert annotations.class_names == CLASS_NAMES["cityscapes_semantic"]
    assert annotations[0].labels == (0, 18)
    np.testing.assert_array_equal(annotations.clip_target(0, (0,)).ignored[0], (labels == 0) | (labels == 30))
    assert check_dataset(paths[2], paths[0]).problems == ()
    with pytest.raises(FileNotFoundError, match="has no CITY"):
        convert_cityscapes_semantic(tmp_path / "labels", tmp_path / "labels", paths[2])


def coco_of(*names: str) -> dict:
    every = CLASS_NAMES["coco_instance"]
    return {
        "info": {"year": 2017},
        "categories": [{"id": 100 + index, "name": name} for index, name in enumerate(every)],
        "images": [{"id": index, "file_name": f"{index}.jpg", "height": 9, "width": 9} for index in range(len(names))],
        "annotations": [
            {
                "id": index,
                "image_id": index,
                "category_id": 100 + every.index(name),
                "segmentation": [[0, 0, 5, 0, 5, 5]],
            }
            for index, name in enumerate(names)
        ],
    }


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("ytvis_2019", ["person", "sedan", "motorbike", "motorbike", "snowboard", "tennis_racket"]),
        ("ytvis_2021", ["person", "car", "motorbike", "motorbike", "flying_disc", "snowboard", "tennis_racket"]),
        ("ovis", ["Person", "Vehical", "Bicycle", "Motorcycle", "Vehical"]),
    ],
)
def test_filtered_coco_has_the_classes_of_the_target(target, expected, tmp_path) -> None:
    source = coco_of("person", "car", "bicycle", "motorcycle", "toaster", "frisbee", "skis", "tennis racket", "bus")
    filtered = filter_coco(source, target)
    names = {category["id"]: category["name"] for category in filtered["categories"]}
    assert tuple(names.values()) == CLASS_NAMES[target]
    assert [names[annotation["category_id"]] for annotation in filtered["annotations"]] == expected
    assert len(filtered["images"]) == len(expected) and filtered["info"] == source["info"]
    (tmp_path / "in.json").write_text(json.dumps(source))
    assert write_filtered_coco(tmp_path / "in.json", tmp_path / "out.json", target) == (len(expected), len(expected))
    assert load_annotations(tmp_path / "out.json").class_names == CLASS_NAMES[target]


@pytest.mark.parametrize(("target", "count"), [("ytvis_2019", 21), ("ytvis_2021", 23), ("ovis", 17)])
def test_shared_classes_exist_on_both_sides(target, count) -> None:
    assert set(SHARED_CLASSES[target]) <= set(CLASS_NAMES["coco_instance"])
    assert set(SHARED_CLASSES[target].values()) <= set(CLASS_NAMES[target])
    assert len(SHARED_CLASSES[target]) == count


def test_filter_refuses_other_files(document, write, tmp_path) -> None:
    with pytest.raises(ValueError, match="must have images and annotations"):
        write_filtered_coco(write(document), tmp_path / "out.json", "ovis")
    with pytest.raises(ValueError, match="target must be one of"):
        filter_coco(coco_of("person"), "davis")


def test_writer_fills_boxes_and_areas_and_refuses_unknown_classes(tmp_path) -> None:
    writer = DatasetWriter({4: "x"})
    mask = encode_masks((numbers(0) == 1)[None])[0]
    writer.add_video(["a", "b"], (10, 12), [TrackAnnotation(4, {1: mask}), TrackAnnotation(4, {})])
    with pytest.raises(ValueError, match=r"category_id must be one of \[4\], got 5"):
        writer.add_video(["a"], (10, 12), [TrackAnnotation(5, {0: mask})])
    writer.write(tmp_path / "out.json")
    (annotation,) = json.loads((tmp_path / "out.json").read_text())["annotations"]
    assert annotation["segmentations"] == [None, mask]
    assert annotation["bboxes"] == [None, [0, 2, 3, 3]] and annotation["areas"] == [None, 9]
