"""Videos with a class for every pixel, from the layouts of the datasets to figures: perfect, shuffled, converted."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from video_mask2former.cli import main
from video_mask2former.data.annotations import load_annotations
from video_mask2former.data.catalog import locate_label_pictures
from video_mask2former.data.evaluation_sets import locate_evaluation_set, open_evaluation_set
from video_mask2former.data.panoptic_files import write_segment_ids
from video_mask2former.data.preparation.check import check_dataset
from video_mask2former.data.synthetic import SceneStyle, write_synthetic_dataset
from video_mask2former.evaluation.measurement import measure
from video_mask2former.rle import decode_rle
from video_mask2former.structures import Track, VideoInstances
from video_mask2former.tasks import EvaluationOptions, VideoPanopticTask, VideoSemanticTask, fitting_task

STYLE = SceneStyle(num_frames=18, size=(32, 48), num_objects=(2, 3), object_sides=(0.3, 0.6), has_stuff=True)


@pytest.fixture(scope="module")
def stuff(tmp_path_factory) -> Path:
    """Two videos of shapes on painted stuff, with void."""
    folder = tmp_path_factory.mktemp("stuff")
    write_synthetic_dataset(folder, 2, STYLE, seed=3)
    return folder


@pytest.fixture(scope="module")
def data(stuff):
    return open_evaluation_set(stuff / "instances.json", stuff / "JPEGImages")


def written(task, data, folder: Path, change=lambda answer: answer) -> Path:
    """Ground truth as results of a task."""
    paths = []
    for video in data:
        paths.append(folder / "predictions" / f"{video.video_id}.json")
        task.write(change(video.ground_truth()), video, data, paths[-1])
    task.join((entry for path in paths for entry in json.loads(path.read_text())), folder)
    return task.results_path(folder)


def test_painted_stuff_is_a_sound_dataset(stuff, data) -> None:
    report = check_dataset(stuff / "instances.json", stuff / "JPEGImages")
    assert report.problems == ()
    assert data.class_names == ("disc", "square", "triangle", "star", "sky", "grass", "water", "bricks")
    assert data.is_thing == (True,) * 4 + (False,) * 4
    annotations = load_annotations(stuff / "instances.json")
    target = annotations.clip_target(0, (0, 9))
    assert target.ignored.any() and not (target.masks.any(0) & target.ignored).any()
    assert (target.masks.sum(0) + target.ignored == 1).all(), "each pixel is of one segment, or ignored"
    assert {label >= 4 for label in target.labels.tolist()} == {True, False}


def test_perfect_predictions_measure_one(data, tmp_path) -> None:
    for name, task in (("panoptic", VideoPanopticTask()), ("semantic", VideoSemanticTask())):
        results = written(task, data, tmp_path / name)
        report = measure(task, data, results, EvaluationOptions()).report
        assert tuple(report.summary) == task.metric_names
        assert set(report.summary.values()) == {1.0}


def with_switched_ids(answer: VideoInstances) -> VideoInstances:
    """From the third frame on every track has another id."""
    tracks = []
    for track in answer.tracks:
        early, late = ({i: m for i, m in track.segmentations.items() if (i < 2) == is_early} for is_early in (1, 0))
        tracks += [
            Track(offset + track.track_id, track.label, 1.0, masks)
            for offset, masks in ((0, early), (500, late))
            if masks
        ]
    return VideoInstances(tuple(tracks), answer.num_frames, answer.size, video_id=answer.video_id)


def test_switched_ids_lower_association_and_long_windows_alone(data, tmp_path) -> None:
    task = VideoPanopticTask()
    figures = measure(task, data, written(task, data, tmp_path, with_switched_ids), EvaluationOptions()).report.summary
    assert figures["VPQ1"] == figures["SQ"] == 1.0
    assert max(figures[f"VPQ{window}"] for window in (2, 4, 6)) < 1.0 == figures["VPQ1"]
    assert figures["VPQ"] == pytest.approx(sum(figures[f"VPQ{window}"] for window in (1, 2, 4, 6)) / 4)
    assert figures["AQ"] < 1 and figures["STQ"] == pytest.approx(np.sqrt(figures["AQ"]))


@pytest.fixture
def vipseg(data, tmp_path) -> Path:
    """The same videos in the layout of VIPSeg, whose categories are neither numbered from 1 nor sorted by kind."""
    base = tmp_path / "VIPSeg" / "VIPSeg_720P"
    raw = {4: 0, 0: 1, 5: 2, 1: 3, 2: 4, 6: 5, 3: 6, 7: 7}  # label to category id
    videos, annotations = [], []
    for video in data:
        name = f"{video.video_id}_abc"
        truth = video.ground_truth()
        frames = []
        for index, image in enumerate(video):
            path = base / "images" / name / f"{index:08d}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), image[..., ::-1])
            here = [track for track in truth.tracks if index in track.segmentations]
            ids = np.zeros(truth.size, np.int64)
            instances = truth.at_frame(index)
            for track_id, rle in zip(instances.track_ids, instances.segmentations, strict=True):
                ids[decode_rle(rle)] = 1000 * track_id
            write_segment_ids(base / "panomasksRGB" / name / f"{index:08d}.png", ids)
            segments = [
                {"id": 1000 * track.track_id, "category_id": raw[track.label], "iscrowd": 0, "area": 1}
                for track in here
            ]
            frames.append({"image_id": f"{index:08d}", "file_name": f"{index:08d}.png", "segments_info": segments})
        images = [
            {"id": frame["image_id"], "file_name": frame["file_name"], "height": 32, "width": 48} for frame in frames
        ]
        videos.append({"video_id": name, "images": images})
        annotations.append({"video_id": name, "annotations": frames})
    categories = [
        {"id": raw[label], "name": name, "isthing": int(data.is_thing[label])}
        for label, name in enumerate(data.class_names)
    ]
    document = {"videos": videos, "annotations": annotations, "categories": categories}
    (base / "panoptic_gt_VIPSeg_val.json").write_text(json.dumps(document))
    return tmp_path


def masks_by_name(data, video) -> list[tuple[str, list[tuple[int, str]]]]:
    tracks = video.ground_truth().tracks
    return sorted(
        (data.class_names[t.label], sorted((i, m["counts"]) for i, m in t.segmentations.items())) for t in tracks
    )


def test_vipseg(vipseg, tmp_path) -> None:
    paths = locate_label_pictures("panoVSPW_vps_video_val", vipseg)
    data = locate_evaluation_set("panoVSPW_vps_video_val", vipseg, as_label_pictures=True)
    assert (data.path, data.form, data.is_of_images, len(data)) == (paths.annotation_file, "panoptic", False, 2)
    task = fitting_task(None, data)
    results = written(task, data, tmp_path / "out")
    assert measure(task, data, results, EvaluationOptions()).report.summary["STQ"] == 1.0
    assert (tmp_path / "out/results" / str(data[0].key) / "00000000.png").is_file()

    output = paths.annotation_file.with_name("panoptic_gt_VIPSeg_val_segments.json")
    arguments = [paths.annotation_file, paths.image_folder, output]
    assert main(["data", "convert-panoptic-videos", *map(str, arguments)]) == 0
    converted = locate_evaluation_set("panoVSPW_vps_video_val", vipseg)
    assert converted.class_names == ("disc", "square", "triangle", "star", "sky", "grass", "water", "bricks")
    assert check_dataset(output, paths.image_folder).problems == ()
    for video, original in zip(converted, data, strict=True):
        masks = [
            sorted(
                (side.class_names[t.label], sorted((i, m["counts"]) for i, m in t.segmentations.items()))
                for t in tracks
            )
            for side, tracks in ((converted, video.ground_truth().tracks), (data, original.ground_truth().tracks))
        ]
        assert masks[0] == masks[1]


def test_hidden_annotations_can_be_predicted_and_packed(vipseg, tmp_path) -> None:
    base = vipseg / "VIPSeg" / "VIPSeg_720P"
    document = json.loads((base / "panoptic_gt_VIPSeg_val.json").read_text())
    hidden = base / "panoptic_gt_VIPSeg_test.json"
    for kept in (("videos", "categories"), ("videos", "categories", "annotations")):
        hidden.write_text(json.dumps({key: document[key] if key != "annotations" else [] for key in kept}))
        with pytest.raises(ValueError, match="lists videos without annotations"):
            open_evaluation_set(hidden, base / "images")
        found = open_evaluation_set(hidden, base / "images", may_be_hidden=True)
        assert not found.has_annotations and len(found) == 2 and [len(video) for video in found] == [18, 18]
    task = fitting_task(None, found)
    empty = VideoInstances((), 18, (32, 48))
    for video in found:
        task.write(empty, video, found, tmp_path / "out" / "predictions" / f"{video.video_id}.json")
    task.join([], tmp_path / "out")
    task.pack(task.results_path(tmp_path / "out"), tmp_path / "submission.zip")
    with zipfile.ZipFile(tmp_path / "submission.zip") as archive:
        assert len(archive.namelist()) == 1 + 36

    videos = tmp_path / "VSPW_480p"
    (videos / "data" / "v" / "origin").mkdir(parents=True)
    cv2.imwrite(str(videos / "data" / "v" / "origin" / "0.jpg"), np.zeros((8, 8, 3), np.uint8))
    (videos / "test.txt").write_text("v\n")
    with pytest.raises(ValueError, match=r"test\.txt lists videos without annotations"):
        open_evaluation_set(videos / "test.txt", None)
    assert not open_evaluation_set(videos / "test.txt", None, may_be_hidden=True).has_annotations


def test_vspw(data, tmp_path) -> None:
    base = tmp_path / "VSPW_480p"
    labels = written(VideoSemanticTask(), data, tmp_path / "maps")
    for video in data:
        for index, image in enumerate(video):
            for kind in ("origin", "mask"):
                (base / "data" / f"v{video.video_id}" / kind).mkdir(parents=True, exist_ok=True)
            name = f"{index:08d}"
            cv2.imwrite(str(base / "data" / f"v{video.video_id}" / "origin" / f"{name}.jpg"), image[..., ::-1])
            made = cv2.imread(str(labels / str(video.key) / f"{video.frame_names[index]}.png"), cv2.IMREAD_UNCHANGED)
            # classes count from 1, 0 is "others"
            raw = np.where(made == 255, 0, made + 1).astype(np.uint8)
            cv2.imwrite(str(base / "data" / f"v{video.video_id}" / "mask" / f"{name}.png"), raw)
    (base / "val.txt").write_text("".join(f"v{video.video_id}\n" for video in data))
    found = locate_evaluation_set("VSPW_vss_video_val", tmp_path, as_label_pictures=True)
    assert (found.form, found.is_of_images, len(found.class_names)) == ("label maps", False, 124)
    task = fitting_task(None, found)
    report = measure(task, found, written(task, found, tmp_path / "out"), EvaluationOptions()).report
    assert report.summary == dict.fromkeys(task.metric_names, 1.0)
    assert report.per_class["wall"] in (1.0, -1.0)
    arguments = [base / "val.txt", base / "data", base / "val_segments.json"]
    assert main(["data", "convert-panoptic-videos", *map(str, arguments)]) == 0
    converted = locate_evaluation_set("VSPW_vss_video_val", tmp_path)
    assert converted.class_names == found.class_names and check_dataset(base / "val_segments.json").problems == ()


def test_kitti_step(tmp_path) -> None:
    maps = np.zeros((2, 10, 12, 3), np.uint8)
    maps[:, :4] = (255, 255, 255)  # void
    maps[:, 4:, 6:] = (13, 1, 44)  # car 300
    maps[1, 4:, 6:8] = (13, 0, 0)  # cars that nobody told apart
    for index, colours in enumerate(maps):
        for folder in ("images", "maps"):
            (tmp_path / folder / "0002").mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(tmp_path / folder / "0002" / f"{index:06d}.png"), colours[..., ::-1])
    arguments = ["data", "convert-panoptic-videos", *(str(tmp_path / name) for name in ("maps", "images", "out.json"))]
    assert main(arguments) == 0
    assert check_dataset(tmp_path / "out.json", tmp_path / "images").problems == ()
    annotations = load_annotations(tmp_path / "out.json")
    tracks = {(annotations.class_names[t.label], t.is_crowd): t for t in annotations.ground_truth(0).tracks}
    assert set(tracks) == {("road", False), ("car", False), ("car", True)}
    assert tracks["car", False].areas() == {0: 36, 1: 24} and tracks["car", True].areas() == {1: 12}
    assert annotations.clip_target(0, (0, 1)).ignored.sum(dim=(1, 2)).tolist() == [48, 60]
    (tmp_path / "images/0002/000001.png").unlink()
    assert main(arguments) == 1
