"""The scripts in datasets/ytvis, run as a user runs them, on a synthetic dataset."""

from __future__ import annotations

import fnmatch
import json
import re
import runpy
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from video_mask2former.cli import make_parser
from video_mask2former.data.annotations import load_annotations
from video_mask2former.data.catalog import DATASETS

FOLDER = Path(__file__).parents[2] / "datasets" / "ytvis"


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs a script; returns its exit code and what it printed."""

    def run_script(name: str, *arguments: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        code: object = 0
        try:
            runpy.run_path(str(FOLDER / name), run_name="__main__")
        except SystemExit as stop:
            code = stop.code
        printed = capsys.readouterr()
        return int(code or 0), printed.err if code == 1 and printed.err else printed.out

    return run_script


@pytest.fixture
def synthetic(run, tmp_path) -> Path:
    folder = tmp_path / "synthetic"
    options = ("--videos", 6, "--frames", 3, "--size", 40, 56, "--objects", 2, 3)
    assert run("make_synthetic.py", folder, *options) == (0, f"{folder}/instances.json\n")
    return folder


def test_synthetic_data_is_made_and_found_sound(run, synthetic) -> None:
    code, text = run("check_dataset.py", synthetic / "instances.json", "--images", synthetic / "JPEGImages")
    assert code == 0 and "6 videos, 18 frames; 0 errors, 0 warnings" in text
    assert "triangle" in text and "mean area" in text


def test_check_lists_problems_and_fails(run, synthetic) -> None:
    (synthetic / "JPEGImages/00002/00001.jpg").unlink()
    document = json.loads((synthetic / "instances.json").read_text())
    document["annotations"][0]["segmentations"] = [None] * 3
    (synthetic / "instances.json").write_text(json.dumps(document))
    code, text = run("check_dataset.py", synthetic / "instances.json", "--images", synthetic / "JPEGImages")
    assert code == 1
    assert "error: video 3, frame 1: no image" in text
    assert "error: video 1, annotation 1: it has no mask on any frame" in text
    assert "2 errors, 0 warnings" in text


def test_composites_of_an_annotated_source(run, synthetic, tmp_path) -> None:
    source = f"{synthetic}/JPEGImages::{synthetic}/instances.json"
    code, _ = run(
        "make_synthetic.py", tmp_path / "b", "--videos", 2, "--frames", 2, "--size", 40, 56, "--source", source
    )
    assert code == 0 and len(load_annotations(tmp_path / "b/instances.json")) == 2


def test_split_lands_where_the_catalog_looks(run, synthetic, tmp_path) -> None:
    train = tmp_path / "ytvis_2021/train.json"
    train.parent.mkdir()
    train.write_bytes((synthetic / "instances.json").read_bytes())
    code, text = run("make_split.py", train, "--val-share", 0.34)
    assert code == 0 and "fingerprint" in text
    parts = [
        load_annotations(tmp_path / DATASETS[f"ytvis_2021_local_{name}"].annotation_files[0])
        for name in ("train", "val")
    ]
    assert len(parts[0]) + len(parts[1]) == 6 and len(parts[1]) > 0
    again = run("make_split.py", train, "--val-share", 0.34, "--output", tmp_path / "again")[1]
    assert again.splitlines()[-1] == text.splitlines()[-1]


def test_conversions(run, tmp_path) -> None:
    picture, indices = np.zeros((8, 9, 3), np.uint8), np.zeros((8, 9), np.uint8)
    indices[2:4, 3:5] = 1
    for folder in ("images/v", "masks/v"):
        (tmp_path / folder).mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "images/v/000001.png"), picture)
    cv2.imwrite(str(tmp_path / "masks/v/000001.png"), indices)
    output = tmp_path / "out.json"
    (tmp_path / "classes.json").write_text('{"v": {"1": "cat"}}')
    arguments = (tmp_path / "images", tmp_path / "masks", output, "--classes", tmp_path / "classes.json")
    assert run("convert_davis.py", *arguments) == (0, f"{output}: 1 videos\n")
    annotations = load_annotations(output)
    assert annotations.class_names == ("cat",)
    rle = annotations.ground_truth(0).tracks[0].segmentations[0]

    (tmp_path / "texts").mkdir()
    (tmp_path / "texts/v.txt").write_text(f"1 7 1 8 9 {rle['counts']}\n")
    assert run("convert_mots.py", tmp_path / "images", tmp_path / "texts", output)[0] == 0
    assert load_annotations(output).ground_truth(0).tracks[0].segmentations == {0: rle}

    video = {
        "categories": [{"id": 1, "name": "person"}],
        "videos": [{"id": 1, "name": "v"}],
        "images": [{"id": 1, "video_id": 1, "frame_id": 0, "file_name": "v/000001.png", "height": 8, "width": 9}],
        "annotations": [{"id": 1, "image_id": 1, "instance_id": 1, "category_id": 1, "segmentation": rle}],
    }
    (tmp_path / "in.json").write_text(json.dumps(video))
    assert run("convert_coco_video.py", tmp_path / "in.json", output)[0] == 0
    assert load_annotations(output).ground_truth(0).tracks[0].segmentations == {0: rle}

    (tmp_path / "coco.json").write_text(
        json.dumps({key: video[key] for key in ("categories", "images", "annotations")})
    )
    code, text = run("filter_coco.py", "ovis", tmp_path / "coco.json", output)
    assert (code, text) == (0, f"{output}: 1 images, 1 instances\n")

    (tmp_path / "ade/x").mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "ade/x/a.jpg"), picture)
    cv2.imwrite(str(tmp_path / "ade/x/a.png"), indices)
    assert run("convert_segments.py", "ade20k", tmp_path / "ade/x", tmp_path / "ade/x", output) == (
        0,
        f"{output}: 1 segments\n",
    )


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("make_split.py", ("no.json",)),
        ("convert_davis.py", ("no", "no", "no.json")),
        ("convert_mots.py", ("no", "no", "no.json")),
        ("convert_coco_video.py", ("no.json", "out.json")),
        ("convert_segments.py", ("coco", "no.json", "no", "out.json")),
        ("filter_coco.py", ("ovis", "no.json", "out.json")),
        ("make_synthetic.py", ("out", "--source", "no::no.json")),
        ("make_synthetic.py", ("out", "--videos", 0)),
        ("make_synthetic.py", ("out", "--size", 0, 10)),
        ("make_synthetic.py", ("out", "--photos", "no")),
        ("group_classes.py", ("no.json", "out.json")),
    ],
)
def test_mistakes_end_in_one_line(run, tmp_path, monkeypatch, name, arguments) -> None:
    monkeypatch.chdir(tmp_path)
    code, text = run(name, *arguments)
    assert code == 1 and text.startswith("error: ") and text.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_every_tool_and_dataset_is_in_the_readme() -> None:
    readme = (FOLDER / "README.md").read_text()
    commands = {re.search(r'"data", "([\w-]+)"', script.read_text())[1] for script in FOLDER.glob("*.py")}
    parser = make_parser()
    for word in ("data", None):
        choices = next(action.choices for action in parser._actions if isinstance(action.choices, dict))
        parser = choices[word] if word else parser
    assert commands <= set(choices), "the scripts are those of version 0.1"
    for command in choices:
        assert f"| `data {command}" in readme, f"{command} is not in the table of tools"
    patterns = [name for token in re.findall(r"`([\w{},*]+)`", readme) for name in expand_braces(token)]
    missing = [name for name in DATASETS if not any(fnmatch.fnmatch(name, pattern) for pattern in patterns)]
    assert missing == [], "not in the table of datasets"


def expand_braces(token: str) -> list[str]:
    """``a_{b,c}`` as a shell reads it."""
    braces = re.search(r"\{([^}]*)\}", token)
    if braces is None:
        return [token]
    start, end = token[: braces.start()], token[braces.end() :]
    return [name for choice in braces[1].split(",") for name in expand_braces(start + choice + end)]


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.name)
def test_tools_are_thin(path) -> None:
    assert len(path.read_text().splitlines()) <= 10
