"""``video-mask2former evaluate``: from a results file, and from a model."""

from __future__ import annotations

import gzip
import json
import re
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask

from video_mask2former.cli import main
from video_mask2former.config import config_from_mapping, to_yaml
from video_mask2former.convert import write_checkpoint
from video_mask2former.data.panoptic_files import read_segment_ids, write_segment_ids
from video_mask2former.recipes.model import build_model
from video_mask2former.rle import encode_masks

KEYS = ["AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl"]
GOLDEN_PATH = Path(__file__).parents[1] / "data" / "golden" / "ytvis_eval.json.gz"
SIZE = (40, 56)
NAMES = ["cat", "dog", "owl"]
SMALL = {
    "model": {
        "num_classes": 3,
        "class_list": None,
        "class_names": NAMES,
        "num_queries": 6,
        "hidden_dim": 32,
        "num_heads": 2,
        "feedforward_dim": 8,
        "num_decoder_layers": 1,
        "pixel_decoder": {"num_layers": 1, "feedforward_dim": 8, "mask_dim": 16},
        "backbone": {
            "name": "swin",
            "swin": {"embed_dim": 8, "depths": [1, 1, 1, 1], "num_heads": [1, 1, 2, 2], "window_size": 2},
        },
    },
    "inference": {"short_side": 40, "object_mask_threshold": 0.0, "overlap_threshold": 0.0},
}


def write_json(path, content):
    path.write_text(json.dumps(content))
    return path


def rle(top, left, height=12, width=16):
    mask = np.zeros((1, *SIZE), bool)
    mask[0, top : top + height, left : left + width] = True
    return encode_masks(mask)[0]


def evaluate(folder, *arguments, output="out"):
    """Run the command, which must succeed, and return what it wrote to metrics.json."""
    assert main(["evaluate", "--output", str(folder / output), *map(str, arguments)]) == 0
    return json.loads((folder / output / "metrics.json").read_text())


def page_of(folder):
    return (folder / "out" / "report.html").read_text()


@pytest.fixture
def dataset(tmp_path):
    """Two videos with images, and a perfect results file."""
    videos, annotations = [], []
    rng = np.random.default_rng(0)
    for video_id, length in ((3, 3), (7, 2)):
        names = [f"video{video_id}/{index:05d}.jpg" for index in range(length)]
        videos.append({"id": video_id, "height": SIZE[0], "width": SIZE[1], "length": length, "file_names": names})
        for name in names:
            (tmp_path / "frames" / name).parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(tmp_path / "frames" / name), rng.integers(0, 255, (*SIZE, 3), np.uint8))
        for track, category_id in enumerate((20, 5)):
            masks = [rle(2 + 16 * track, 3 + 4 * index) for index in range(length)]
            masks[0] = masks[0] if track else None
            areas = [None if mask is None else int(coco_mask.area(mask)) for mask in masks]
            entry = {"id": len(annotations) + 1, "video_id": video_id, "category_id": category_id, "iscrowd": 0}
            annotations.append({**entry, "segmentations": masks, "areas": areas, "bboxes": [None] * length})
    # ids neither contiguous nor sorted as the names of the model's classes are
    categories = [{"id": 20, "name": "Cat"}, {"id": 5, "name": "dog"}, {"id": 11, "name": "fish"}]
    truth = {"videos": videos, "categories": categories, "annotations": annotations}
    keys = ("video_id", "category_id", "segmentations")
    results = [{**{key: entry[key] for key in keys}, "score": 0.9} for entry in annotations]
    write_json(tmp_path / "truth.json", truth)
    write_json(tmp_path / "results.json", results)
    return tmp_path


@pytest.fixture
def model(tmp_path):
    """Arguments that name a small model with random weights."""
    config = config_from_mapping(SMALL, "test")
    (tmp_path / "small.yaml").write_text(to_yaml(config))
    write_checkpoint(tmp_path / "small.safetensors", build_model(config).state_dict())
    return ["--config", tmp_path / "small.yaml", "--weights", tmp_path / "small.safetensors", "--device", "cpu"]


@pytest.mark.parametrize("case", range(4))
def test_recorded_figures(tmp_path, case, capsys):
    recorded = json.loads(gzip.decompress(GOLDEN_PATH.read_bytes()))[case]
    truth = write_json(tmp_path / "truth.json", recorded["ground_truth"])
    results = write_json(tmp_path / "results.json", recorded["predictions"])
    metrics = evaluate(tmp_path, "--annotations", truth, "--results", results, "--cases", 0)
    assert [metrics[key] for key in KEYS] == pytest.approx(recorded["stats"], abs=1e-9)
    assert list(metrics)[:13] == [*KEYS, "per_class"]
    names = [entry["name"] for entry in sorted(recorded["ground_truth"]["categories"], key=lambda entry: entry["id"])]
    assert metrics["per_class"] == pytest.approx(dict(zip(names, recorded["ap_per_category"], strict=True)), abs=1e-9)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["metrics.json", "report.html"]
    assert f"{recorded['stats'][0]:.3f}" in capsys.readouterr().out


def test_perfect_results_with_a_page(dataset):
    arguments = ["--annotations", dataset / "truth.json", "--images", dataset / "frames"]
    metrics = evaluate(dataset, *arguments, "--results", dataset / "results.json", "--cases", 1)
    assert metrics["AP"] == metrics["identity"]["HOTA"] == 1.0
    assert metrics["per_class"] == {"dog": 1.0, "fish": -1.0, "Cat": 1.0}
    assert metrics["per_video"] == {"3": 1.0, "7": 1.0}
    page = page_of(dataset)
    assert page.count("data:video/mp4;base64,") == 2
    assert "video3 (id 3)" in page and "video7 (id 7)" in page


def test_page_without_images(dataset):
    evaluate(dataset, "--annotations", dataset / "truth.json", "--results", dataset / "results.json")
    assert page_of(dataset).count('"video": null') == 2


def test_zip_as_it_is_submitted(dataset):
    with zipfile.ZipFile(dataset / "submission.zip", "w") as archive:
        archive.write(dataset / "results.json", "results.json")
        archive.writestr("wrong.json", "[]")
    metrics = evaluate(dataset, "--annotations", dataset / "truth.json", "--results", dataset / "submission.zip")
    assert metrics["AP"] == 1.0


def test_no_predictions_at_all(dataset):
    empty = write_json(dataset / "empty.json", [])
    metrics = evaluate(dataset, "--annotations", dataset / "truth.json", "--results", empty)
    assert (metrics["AP"], metrics["AR100"], metrics["identity"]["HOTA"]) == (0.0, 0.0, 0.0)


def test_class_agnostic(dataset):
    results = json.loads((dataset / "results.json").read_text())
    other = write_json(dataset / "other.json", [{**entry, "category_id": 77} for entry in results])
    arguments = ["--annotations", dataset / "truth.json", "--results", other]
    assert main(["evaluate", "--output", str(dataset / "out"), *map(str, arguments)]) == 1
    metrics = evaluate(dataset, *arguments, "--class-agnostic")
    assert (metrics["AP"], metrics["per_class"]) == (1.0, {"object": 1.0})


def test_short_and_long_videos(dataset):
    arguments = ["--annotations", dataset / "truth.json", "--results", dataset / "results.json"]
    short = write_json(dataset / "short.json", {"videos": [{"id": 99, "file_names": ["./video7/00000.jpg"]}]})
    for option in (["--long-from", 3], ["--short-videos", short]):
        metrics = evaluate(dataset, *arguments, *option)
        groups = [metrics[name]["AP"] for name in ("short_long_mean", "short_videos", "long_videos")]
        assert groups == pytest.approx([1.0] * 3)
    assert "short_videos" not in evaluate(dataset, *arguments)


def broken(entry, **changes):
    return [{**entry, **changes}]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"video_id": 4}, r"video 4 is not in .*truth\.json, whose ids go from 3 to 7"),
        ({"category_id": 6}, r"entry 0: 'category_id' 6"),
        ({"segmentations": [None]}, r"video 3 must be a list of 3, .* got 1"),
        ({"segmentations": [None, None, {"size": [4, 4], "counts": [16]}]}, r"video 3 .* 40 x 56, got 4 x 4"),
        (
            {"segmentations": [None, None, {"size": [40, 56], "counts": "0"}]},
            "entry 0, frame 2: the RLE",
        ),
        ({"score": float("nan")}, r"entry 0: 'score' must be finite"),
        ({"score": None}, r"entry 0: 'score' must be a integer or number"),
    ],
)
def test_wrong_results_are_told_with_their_place(dataset, capsys, changes, message):
    [entry, *_] = json.loads((dataset / "results.json").read_text())
    results = write_json(dataset / "wrong.json", broken(entry, **changes))
    arguments = ["--annotations", dataset / "truth.json", "--results", results, "--output", dataset / "out"]
    assert main(["evaluate", *map(str, arguments)]) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert re.search(r"error: .*wrong\.json.*" + message, line), line
    assert not (dataset / "out").exists()


def test_wrong_options(dataset, model, capsys):
    truth, results = ["--annotations", dataset / "truth.json"], ["--results", dataset / "results.json"]
    hidden = json.loads((dataset / "truth.json").read_text())
    hidden = write_json(dataset / "hidden.json", {key: hidden[key] for key in ("videos", "categories")})
    with zipfile.ZipFile(dataset / "other.zip", "w") as archive:
        archive.writestr("deep/results.json", "[]")
    cases = [
        (truth, "give either --results, or a model"),
        ([*truth, *results, *model], "give either --results, or a model"),
        (results, "there is no ground truth"),
        ([*truth, *results, "--dataset", "ytvis_2019_val"], "not both"),
        ([*results, "--dataset", "ytvis_2091_val"], "did you mean"),
        (["--annotations", dataset / "none.json", *results], "no annotation file"),
        (["--annotations", hidden, *results], "annotations are hidden"),
        ([*truth, "--results", dataset / "none.json"], "no YouTube-VIS result file"),
        ([*truth, "--results", dataset / "other.zip"], "must hold results.json at its root"),
        ([*truth, *results, "--images", dataset / "nowhere"], "no folder of images"),
        ([*truth, *results, "inference.mode=online"], "for predicting"),
        ([*truth, *model], "give their folder with --images"),
        (["--annotations", dataset / "frames", "--results", dataset / "frames"], "--classes"),
    ]
    for arguments, message in cases:
        assert main(["evaluate", "--output", str(dataset / "out"), *map(str, arguments)]) == 1
        assert message in capsys.readouterr().err


def test_model_is_run_and_an_interrupted_run_goes_on(dataset, model, capsys):
    arguments = ["--annotations", dataset / "truth.json", "--images", dataset / "frames", *model, "--cases", 0]
    metrics = evaluate(dataset, *arguments)
    results = json.loads((dataset / "out" / "results.json").read_text())
    # the model's owls are not in the dataset; its cats and dogs have the dataset's ids
    assert {entry["category_id"] for entry in results} == {5, 20}
    assert {entry["video_id"]: len(entry["segmentations"]) for entry in results} == {3: 3, 7: 2}
    assert set(KEYS) < set(metrics)

    first = dataset / "out" / "predictions" / "3.json"
    content = first.read_bytes()
    entries = json.loads(content)
    entries[0]["score"] = 0.123
    write_json(first, entries)  # stands for a finished video: it must be used, not made again
    (dataset / "out" / "predictions" / "7.json").unlink()
    evaluate(dataset, *arguments)
    again = json.loads((dataset / "out" / "results.json").read_text())
    assert again[0]["score"] == 0.123
    assert again[1:] == results[1:]

    for change in (["inference.top_k=3"], ["--annotations", dataset / "same.json"]):
        (dataset / "same.json").write_bytes((dataset / "truth.json").read_bytes())
        assert main(["evaluate", "--output", str(dataset / "out"), *map(str, [*arguments, *change])]) == 1
        assert "another model, other settings or another dataset" in capsys.readouterr().err


@pytest.mark.slow
def test_two_processes_give_the_same_file(dataset, model):
    arguments = ["--annotations", dataset / "truth.json", "--images", dataset / "frames", *model, "--cases", 0]
    alone = evaluate(dataset, *arguments)
    both = evaluate(dataset, *arguments, "--num-gpus", 2, output="two")
    assert both == alone
    files = [dataset / name / "results.json" for name in ("out", "two")]
    assert files[0].read_bytes() == files[1].read_bytes()


def as_images(dataset):
    """The first frames of the dataset as a COCO file whose areas are not those of the masks, and perfect results."""
    truth = json.loads((dataset / "truth.json").read_text())
    images = [
        {"id": video["id"], "height": SIZE[0], "width": SIZE[1], "file_name": video["file_names"][1]}
        for video in truth["videos"]
    ]
    annotations = [
        {
            "id": entry["id"],
            "image_id": entry["video_id"],
            "category_id": entry["category_id"],
            "segmentation": entry["segmentations"][1],
            "area": 5000.0,
            "iscrowd": 0,
        }
        for entry in truth["annotations"]
    ]
    keys = ("image_id", "category_id", "segmentation")
    write_json(dataset / "results.json", [{**{key: a[key] for key in keys}, "score": 0.5} for a in annotations])
    return write_json(
        dataset / "coco.json", {"images": images, "annotations": annotations, "categories": truth["categories"]}
    )


def test_images(dataset, model):
    truth = as_images(dataset)
    metrics = evaluate(dataset, "--annotations", truth, "--results", dataset / "results.json")
    # 5000 pixels are medium for COCO; the masks would be small
    assert (metrics["AP"], metrics["APs"], metrics["APm"]) == (pytest.approx(1.0), -1.0, pytest.approx(1.0))
    assert set(metrics["per_image"]) == {"3", "7"}
    agnostic = evaluate(dataset, "--annotations", truth, "--results", dataset / "results.json", "--class-agnostic")
    assert agnostic["per_class"] == {"object": pytest.approx(1.0)}
    assert set(KEYS) < set(evaluate(dataset, "--annotations", truth, "--images", dataset / "frames", *model))
    results = json.loads((dataset / "out" / "results.json").read_text())
    assert {entry["image_id"] for entry in results} == {3, 7}


def panoptic_dataset(dataset, is_video=False):
    """Left half a cat, right half fish (stuff); COCO form, or VIPSeg's with two frames."""
    ids = np.full(SIZE, 70_001)
    ids[:, SIZE[1] // 2 :] = 300
    segments = [{"id": 70_001, "category_id": 20, "iscrowd": 0}, {"id": 300, "category_id": 11, "iscrowd": 0}]
    categories = [
        {"id": 20, "name": "cat", "isthing": 1},
        {"id": 5, "name": "dog", "isthing": 1},
        {"id": 11, "name": "fish", "isthing": 0},
    ]
    if is_video:
        names = ["00000", "00001"]
        for name in names:
            write_segment_ids(dataset / "panoptic" / "video3" / f"{name}.png", ids)
        frames = [{"file_name": f"{name}.png", "segments_info": segments} for name in names]
        videos = [{"video_id": "video3", "images": [{"file_name": f"{name}.jpg"} for name in names]}]
        content = {"videos": videos, "annotations": [{"video_id": "video3", "annotations": frames}]}
    else:
        write_segment_ids(dataset / "panoptic" / "00000.png", ids)
        entry = {"image_id": 12, "file_name": "00000.png", "segments_info": segments}
        content = {"images": [{"id": 12, "file_name": "00000.jpg"}], "annotations": [entry]}
    return write_json(dataset / "panoptic.json", {**content, "categories": categories})


def test_panoptic(dataset, model):
    truth = panoptic_dataset(dataset)
    metrics = evaluate(dataset, "--annotations", truth, "--results", truth)
    assert (metrics["PQ"], metrics["PQ_things"], metrics["PQ_stuff"]) == (1.0, 1.0, 1.0)
    assert (metrics["per_class"], metrics["per_image"]) == ({"dog": -1.0, "fish": 1.0, "cat": 1.0}, {"12": 1.0})
    assert 'data-name="12" data-quality="1.000"' in page_of(dataset) and '"name": "fish"' in page_of(dataset)
    metrics = evaluate(dataset, "--annotations", truth, "--images", dataset / "frames" / "video3", *model)
    assert 0 <= metrics["PQ"] <= 1
    [entry] = json.loads((dataset / "out" / "results.json").read_text())["annotations"]
    found = set(np.unique(read_segment_ids(dataset / "out" / "results" / entry["file_name"]))) - {0}
    assert found <= {segment["id"] for segment in entry["segments_info"]}
    assert {segment["category_id"] for segment in entry["segments_info"]} <= {20, 5}


def test_panoptic_videos(dataset, model):
    truth = panoptic_dataset(dataset, is_video=True)
    metrics = evaluate(dataset, "--annotations", truth, "--results", truth)
    assert metrics["VPQ"] == metrics["vpq"]["1 frames"] == metrics["STQ"] == metrics["whole_videos"]["PQ"] == 1.0
    assert metrics["per_video"] == {"video3": 1.0}
    assert page_of(dataset).count('"video": null') == 1
    arguments = ["--annotations", truth, "--images", dataset / "frames", *model]
    for mode in ("clip", "online"):
        metrics = evaluate(dataset, *arguments, f"inference.mode={mode}", "inference.score_threshold=0", output=mode)
        assert 0 <= metrics["VPQ"] <= 1
        [entry] = json.loads((dataset / mode / "results.json").read_text())["annotations"]
        assert [frame["file_name"] for frame in entry["annotations"]] == ["00000.png", "00001.png"]
        for frame in entry["annotations"]:
            found = np.unique(read_segment_ids(dataset / mode / "results" / "video3" / frame["file_name"]))
            assert set(found) - {0} == {segment["id"] for segment in frame["segments_info"]}


def test_label_maps(dataset, model):
    labels = np.array([[1, 1], [2, 0]], np.uint8).repeat(SIZE[0] // 2, 0).repeat(SIZE[1] // 2, 1)
    for folder, image in (("labels", labels), ("same", np.where(labels == 0, 255, labels - 1).astype(np.uint8))):
        path = dataset / folder / "video3" / "00000.png"
        path.parent.mkdir(parents=True)
        cv2.imwrite(str(path), image)
    (dataset / "classes.txt").write_text("cat\ndog\nfish\n")
    arguments = ["--annotations", dataset / "labels", "--classes", dataset / "classes.txt", "--label-offset", 1]
    metrics = evaluate(dataset, *arguments, "--results", dataset / "same")
    assert (metrics["mIoU"], metrics["pAcc"]) == (1.0, 1.0)
    assert metrics["per_class"] == {"cat": 1.0, "dog": 1.0, "fish": -1.0}
    assert 'data-name="video3/00000" data-quality="1.000"' in page_of(dataset)
    metrics = evaluate(dataset, *arguments, "--images", dataset / "frames", *model)
    assert 0 <= metrics["mIoU"] <= 1
    made = cv2.imread(str(dataset / "out" / "results" / "video3" / "00000.png"), cv2.IMREAD_UNCHANGED)
    # the model's owls are not a class of the dataset
    assert made.shape == SIZE and set(np.unique(made)) <= {0, 1, 255}


def test_ground_truth_of_real_data_is_perfect(sample_data, tmp_path):
    files = sorted(sample_data.glob("*/instances.json"))
    assert files
    for file in files:
        truth = json.loads(file.read_text())
        sizes = {v["id"]: (v["height"], v["width"]) for v in truth.get("videos", truth.get("images"))}
        results = []
        for entry in truth["annotations"]:
            if "segmentations" in entry:
                size = sizes[entry["video_id"]]
                masks = {"segmentations": [compressed(mask, size) for mask in entry["segmentations"]]}
                result = {"video_id": entry["video_id"], **masks}
            else:
                size = sizes[entry["image_id"]]
                result = {"image_id": entry["image_id"], "segmentation": compressed(entry["segmentation"], size)}
            results.append({**result, "category_id": entry["category_id"], "score": 0.8})
        path = write_json(tmp_path / "results.json", results)
        metrics = evaluate(tmp_path, "--annotations", file, "--results", path, "--cases", 0)
        assert metrics["AP"] == metrics["AR100"] == pytest.approx(1.0, abs=1e-12), file


def compressed(mask, size):
    """Any form of segmentation as compressed RLE."""
    if mask is None or (isinstance(mask, dict) and isinstance(mask["counts"], str)):
        return mask
    encoded = coco_mask.frPyObjects(mask, *size)
    encoded = coco_mask.merge(encoded) if isinstance(encoded, list) else encoded
    return {"size": encoded["size"], "counts": encoded["counts"].decode()}
