"""Annotations of other tools become YouTube-VIS files; what results were written as comes back as it was."""

from __future__ import annotations

import base64
import json
from fractions import Fraction

import cv2
import numpy as np
import pytest
from PIL import Image

from video_mask2former.cli import main
from video_mask2former.data.annotations import load_annotations
from video_mask2former.data.preparation.imports import IMPORTS, import_annotations
from video_mask2former.rle import decode_rle, encode_masks
from video_mask2former.structures import Track, VideoInstances
from video_mask2former.video_io import VideoWriter

SIZE = (24, 32)


def mask(*boxes):
    dense = np.zeros((1, *SIZE), bool)
    for top, left, height, width in boxes:
        dense[0, top : top + height, left : left + width] = True
    return encode_masks(dense)[0]


@pytest.fixture
def video(tmp_path) -> VideoInstances:
    """Two objects on four frames in ``images/street``: one of two parts and with a hole, one that disappears."""
    folder = tmp_path / "images" / "street"
    folder.mkdir(parents=True)
    for index in range(4):
        cv2.imwrite(str(folder / f"{index}.png"), np.full((*SIZE, 3), 40 * index, np.uint8))
    ring = np.zeros((1, *SIZE), bool)
    ring[0, 3:20, 2:19] = True
    ring[0, 8:12, 8:12] = False
    ring[0, 21:23, 25:30] = True
    cat = Track(1, 0, 1.0, {0: mask((2, 3, 4, 5)), 1: encode_masks(ring)[0], 2: mask((0, 0, 24, 32))})
    dog = Track(2, 1, 1.0, {0: mask((15, 15, 6, 8)), 3: mask((0, 20, 8, 9), (15, 0, 2, 2))})
    return VideoInstances((cat, dog), 4, SIZE, Fraction(25), ("cat", "dog"), source=str(folder))


def run(*words):
    return main([str(word) for word in words])


def masks_of(path):
    """The class and the dense masks of each track of the first video of a file."""
    annotations = load_annotations(path)
    truth = annotations.ground_truth(0)
    return dense(truth)


def dense(video):
    tracks = [
        (video.class_name(track), {index: decode_rle(rle).tolist() for index, rle in track.segmentations.items()})
        for track in video
    ]
    return sorted(tracks, key=lambda track: (track[0], list(track[1])))


@pytest.mark.parametrize("form", ["cvat", "coco_video"])
def test_what_was_exported_is_imported_as_it_was(video, tmp_path, form):
    source = tmp_path / f"street.{'xml' if form == 'cvat' else 'json'}"
    if form == "cvat":
        video.to_cvat(source, tolerance=0.2)
    else:
        video.to_coco_video(source)
    output = tmp_path / "instances.json"
    assert run("data", "import", form, source, output, "--images", tmp_path / "images") == 0
    assert masks_of(output) == dense(video)
    assert load_annotations(output)[0].file_names == tuple(f"street/{index}.png" for index in range(4))
    assert run("data", "check", output, "--images", tmp_path / "images") == 0


def test_tracks_json_is_exported_and_imported(video, tmp_path, capsys):
    video.save(tmp_path / "out")
    assert run("data", "export", "coco_video", tmp_path / "out/tracks.json", tmp_path / "coco.json") == 0
    assert "2 tracks, COCO with videos" in capsys.readouterr().out
    assert run("data", "import", "coco_video", tmp_path / "coco.json", tmp_path / "ytvis.json") == 0
    assert masks_of(tmp_path / "ytvis.json") == dense(video)


def test_cvat_masks_hold_until_the_next_key_frame(tmp_path):
    # a 3 x 2 crop at (5, 4): rows 0 1 1, 1 0 0
    shape = '<mask frame="1" outside="0" rle="1,3,2" left="5" top="4" width="3" height="2" z_order="0"></mask>'
    gone = '<polygon frame="3" outside="1" keyframe="1" points="0,0;1,0;1,1"></polygon>'
    track = f'<track id="0" label="cat">{shape}{gone}</track>'
    (tmp_path / "a.xml").write_text(cvat_text(track, num_frames=5))
    import_annotations("cvat", tmp_path / "a.xml", None, tmp_path / "out.json")
    [(name, masks)] = masks_of(tmp_path / "out.json")
    assert name == "cat" and list(masks) == [1, 2]
    expected = np.zeros(SIZE, bool)
    expected[4, 6:8] = expected[5, 5] = True
    np.testing.assert_array_equal(masks[1], expected)
    assert load_annotations(tmp_path / "out.json")[0].file_names[4] == "a/000004.jpg"


def cvat_text(tracks, num_frames=2, size=f"<height>{SIZE[0]}</height><width>{SIZE[1]}</width>"):
    label = "<labels><label><name>cat</name></label></labels>"
    task = f"<task><size>{num_frames}</size>{label}<original_size>{size}</original_size></task>"
    return f"<annotations><version>1.1</version><meta>{task}</meta>{tracks}</annotations>"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<annotations><track>", "is not an XML file"),
        ("<video/>", "must have <annotations> at its top"),
        (cvat_text("", size=""), "must say the height of the video"),
        (cvat_text("", num_frames="many"), "must say the size of the video"),
        (cvat_text('<image id="0"/>'), "export it as CVAT for video 1.1"),
        (
            cvat_text('<track id="4" label="cat"><box frame="1" xtl="1" ytl="1" xbr="3" ybr="3"/></track>'),
            "track 4, frame 1: <box> is no mask",
        ),
        (cvat_text('<track id="4" label="cat"><polygon frame="1" points="1,2;x,3"/></track>'), "track 4, frame 1:"),
        (
            cvat_text(
                '<track id="4" label="cat"><mask frame="0" rle="1,9" left="0" top="0" width="3" height="2"/></track>'
            ),
            "track 4, frame 0: its runs cover 10 pixels",
        ),
        (cvat_text('<track id="4" label="cat"><polygon frame="-1" points=""/></track>'), "a shape must have a frame"),
    ],
)
def test_wrong_cvat_files_are_one_clear_error(tmp_path, capsys, text, message):
    (tmp_path / "a.xml").write_text(text)
    assert run("data", "import", "cvat", tmp_path / "a.xml", tmp_path / "out.json") == 1
    assert message in capsys.readouterr().err and not (tmp_path / "out.json").exists()


def test_frames_of_video_files_are_written(tmp_path):
    (tmp_path / "clips").mkdir()
    with VideoWriter(tmp_path / "clips" / "a.mp4", Fraction(25)) as writer:
        for index in range(3):
            writer.write(np.full((*SIZE, 3), 60 * index, np.uint8))
    track = '<track id="0" label="cat"><polygon frame="0" points="2,2;9,2;9,9;2,9" outside="0"/></track>'
    (tmp_path / "a.xml").write_text(cvat_text(track, num_frames=3))
    import_annotations("cvat", tmp_path / "a.xml", tmp_path / "clips", tmp_path / "out.json")
    assert run("data", "check", tmp_path / "out.json", "--images", tmp_path / "clips") == 0
    assert load_annotations(tmp_path / "out.json")[0].file_names == tuple(f"a/{index:06d}.jpg" for index in range(3))
    (tmp_path / "a.xml").write_text(cvat_text(track, num_frames=4))
    with pytest.raises(FileNotFoundError, match="a has 3 images, the annotations of a need 4"):
        import_annotations("cvat", tmp_path / "a.xml", tmp_path / "clips", tmp_path / "out.json")


def test_sa_v_has_every_fourth_frame(tmp_path):
    frames = tmp_path / "JPEGImages_24fps" / "sav_1"
    frames.mkdir(parents=True)
    for index in range(10):
        cv2.imwrite(str(frames / f"{index:05d}.jpg"), np.zeros((*SIZE, 3), np.uint8))
    first, second = mask((1, 1, 5, 5)), mask((9, 9, 5, 5))
    document = {
        "video_id": "sav_1",
        "video_height": float(SIZE[0]),
        "video_width": float(SIZE[1]),
        "video_frame_count": 10.0,
        "masklet": [[first, second], [first], [mask(), second]],
    }
    folder = tmp_path / "sav"
    folder.mkdir()
    (folder / "sav_1_manual.json").write_text(json.dumps(document))
    (folder / "sav_1_auto.json").write_text(json.dumps({**document, "masklet": [[second], [], []]}))
    output = tmp_path / "out.json"
    assert run("data", "import", "sa_v", folder, output, "--images", tmp_path / "JPEGImages_24fps") == 0
    assert load_annotations(output)[0].file_names == ("sav_1/00000.jpg", "sav_1/00004.jpg", "sav_1/00008.jpg")
    assert sorted(list(masks) for _, masks in masks_of(output)) == [[0], [0, 1], [0, 2]]
    (folder / "sav_1_auto.json").write_text(json.dumps({**document, "masklet": []}))
    with pytest.raises(ValueError, match="must have 'masklet', a list of lists of masks"):
        import_annotations("sa_v", folder, None, output)


def test_labelme_groups_are_tracks(tmp_path):
    for index in range(3):
        cv2.imwrite(str(tmp_path / f"{index}.jpg"), np.zeros((*SIZE, 3), np.uint8))
    Image.fromarray(np.array([[0, 255], [255, 255]], np.uint8)).save(tmp_path / "part.tmp", "PNG")
    part = base64.b64encode((tmp_path / "part.tmp").read_bytes()).decode()
    square = {"label": "cat", "group_id": 1, "shape_type": "rectangle", "points": [[2, 3], [6, 9]]}
    shapes = {
        0: [square, {**square, "points": [[10, 10], [12, 12]]}, {**square, "group_id": None}],
        2: [
            {"label": "cat", "group_id": 1, "shape_type": "polygon", "points": [[0, 0], [4, 0], [4, 4], [0, 4]]},
            {"label": "dog", "group_id": 1, "shape_type": "mask", "points": [[5, 6], [6, 7]], "mask": part},
            {"label": "dog", "group_id": 5, "shape_type": "circle", "points": [[20, 12], [25, 12]]},
        ],
    }
    for index, content in shapes.items():
        (tmp_path / f"{index}.json").write_text(json.dumps({"version": "5.4", "shapes": content, "imagePath": "x"}))
    output = tmp_path / "out" / "out.json"
    assert run("data", "import", "labelme", tmp_path, output) == 0
    found = masks_of(output)
    assert [(name, list(masks)) for name, masks in found] == [
        ("cat", [0]),
        ("cat", [0, 2]),
        ("dog", [2]),
        ("dog", [2]),
    ]
    areas = {(name, index): np.sum(masks[index]) for name, masks in found[1:3] for index in masks}
    assert areas["cat", 0] == 4 * 6 + 2 * 2 and areas["cat", 2] == 16
    assert sorted(np.sum(masks[2]) for name, masks in found[2:]) == [3, pytest.approx(np.pi * 25, rel=0.06)]
    (tmp_path / "1.json").write_text(json.dumps({"shapes": [{**square, "shape_type": "line"}]}))
    with pytest.raises(ValueError, match=r"1\.json, shape 0: a 'line' is no mask"):
        import_annotations("labelme", tmp_path, None, output)


def test_davis_and_mots_are_in_the_table(video, tmp_path):
    video.to_davis(tmp_path / "davis" / "street")
    for index in range(4):
        (tmp_path / f"davis/street/{index:05d}.png").rename(tmp_path / f"davis/street/{index}.png")
    import_annotations("davis", tmp_path / "davis", tmp_path / "images", tmp_path / "out.json")
    assert len(masks_of(tmp_path / "out.json")) == 2
    with pytest.raises(ValueError, match="give the images, --images DIR"):
        import_annotations("mots", tmp_path / "davis", None, tmp_path / "out.json")
    with pytest.raises(ValueError, match=f"the format must be one of {', '.join(IMPORTS)}, got 'coco'"):
        import_annotations("coco", tmp_path / "davis", None, tmp_path / "out.json")
    with pytest.raises(FileNotFoundError, match="no such file or folder"):
        import_annotations("cvat", tmp_path / "nowhere", None, tmp_path / "out.json")
