"""The example scripts run as they are, with few frames and steps, and what they print and write is right."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

import video_mask2former as vm2f
from video_mask2former.config import load_config
from video_mask2former.engine import read_records
from video_mask2former.results import read_tracks
from video_mask2former.rle import rle_area
from video_mask2former.video_io import open_video

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
SHAPES = ("disc", "square", "triangle", "star")


def run_example(name: str, *arguments: object) -> str:
    """Run a script in a process of its own and return what it printed."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / f"{name}.py"), *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def finetuned(tmp_path_factory) -> tuple[Path, str]:
    """Folder and output of a short fine-tuning."""
    folder = tmp_path_factory.mktemp("finetuned")
    return folder, run_example("finetune_on_your_data", "--steps", 20, "--output", folder)


def test_every_example_is_in_the_table_and_tested_here():
    scripts = {path.name for path in EXAMPLES.glob("*.py")}
    notebooks = {path.name for path in EXAMPLES.glob("*.ipynb")}
    listed = set(re.findall(r"\]\((\w+\.(?:py|ipynb))\)", (EXAMPLES / "README.md").read_text()))
    assert listed == scripts | notebooks
    tested = set(re.findall(r'run_example\("(\w+)"', Path(__file__).read_text()))
    assert {f"{name}.py" for name in tested} == scripts


def test_the_notebook_runs():
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    notebook = nbformat.read(EXAMPLES / "first_video.ipynb", as_version=4)
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(EXAMPLES)}}).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    shown = [output.data for output in outputs if "data" in output]
    assert "<table" in shown[0]["text/html"] and "person" in shown[0]["text/html"]
    assert sum("image/png" in data for data in shown) == 1
    assert "viewer.html" in shown[-1]["text/plain"]
    assert "FrameInstances(frame 2, 512x384: " in outputs[-1].text


def test_segment_a_video(tmp_path):
    printed = run_example("segment_a_video", "--frames", 8, "--output", tmp_path)
    streamed = re.findall(r"^frame (\d+): (.*)$", printed, re.MULTILINE)
    assert [int(index) for index, _ in streamed] == list(range(8))
    result = read_tracks(tmp_path / "tracks.json")
    people = [track for track in result.tracks if result.class_names[track.label] == "person"]
    best = max(people, key=lambda track: track.score)
    assert best.score > 0.5, "the clip shows people all the time"
    assert all("'person'" in found for _, found in streamed)
    first = min(best.segmentations)
    assert (
        f"track {best.track_id}: person, score {best.score:.2f}, on {len(best.segmentations)} frames; "
        f"{rle_area(best.segmentations[first])} pixels on frame {first}" in printed
    )
    with open_video(tmp_path / "overlay.mp4") as overlay:
        assert (overlay.num_frames, overlay.size) == (8, (384, 512))
    sheet = cv2.imread(str(tmp_path / "contact_sheet.png"))
    assert sheet.shape[1] == 1400 and sheet.std() > 10


def test_finetune_on_your_data(finetuned):
    folder, printed = finetuned
    losses = [record["loss"] for record in read_records(folder / "run" / "metrics.jsonl") if "loss" in record]
    assert losses[-1] < losses[0]
    assert re.search(r"^20 steps, AP 0\.\d{3}, AP50 0\.\d{3}$", printed, re.MULTILINE)
    assert f"classes: {', '.join(SHAPES)}" in printed
    found = re.findall(r"JPEGImages/00000: (\w+), score (\d\.\d\d)", printed)
    assert found and {name for name, _ in found} <= set(SHAPES)
    start, model = vm2f.load("demo"), vm2f.load(folder / "run" / "model_final.pth")
    assert model.class_names == SHAPES and model.input_sides[0] == 96
    same = [name for name, value in start.state_dict().items() if value.equal(model.state_dict()[name])]
    assert all(name.startswith("backbone.") for name in same) and same, "the backbone is frozen, the rest was trained"
    assert len(list((folder / "run" / "pictures" / "step_0000020").iterdir())) == 4


def test_evaluate_a_model(finetuned, tmp_path):
    folder, printed_while_training = finetuned
    annotations = folder / "val" / "instances.json"
    data = ["--annotations", annotations, "--images", folder / "val" / "JPEGImages"]
    model = ["--model", folder / "run" / "model_final.pth"]
    printed = run_example("evaluate_a_model", *model, *data, "--output", tmp_path / "out")
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    summary = json.loads(printed.splitlines()[0].replace("'", '"'))
    assert len(summary) == 12
    assert summary == {name: round(metrics[name], 4) for name in summary}
    assert f"AP {metrics['AP']:.3f}, AP50 {metrics['AP50']:.3f}" in printed_while_training
    assert tuple(metrics["per_class"]) == SHAPES
    assert f"from the results file: AP {round(metrics['AP'], 4)}" in printed
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert {entry["video_id"] for entry in results} == {1, 2, 3, 4, 5, 6}
    half = float(re.search(r"half of the objects, perfectly: AP (\S+)", printed).group(1))
    assert metrics["AP"] < half < 1


def test_plug_in_a_backbone(tmp_path):
    printed = run_example("plug_in_a_backbone", "--steps", 10, "--output", tmp_path)
    assert "class logits (1, 12, 5) mask logits (1, 12, 2, 24, 32)" in printed
    assert "the gradient reaches the backbone: True" in printed
    assert "trained a ConvNet for 10 steps" in printed
    losses = [record["loss"] for record in read_records(tmp_path / "run" / "metrics.jsonl") if "loss" in record]
    assert len(losses) == 2 and losses[1] < losses[0]
    assert (
        load_config(tmp_path / "run" / "config.yaml").model.options["backbone"]["name"] == "plug_in_a_backbone:ConvNet"
    )


def test_write_a_tracker():
    printed = run_example("write_a_tracker", "--frames", 8)
    counts = dict(re.findall(r"^(\w+): (\d+) tracks$", printed, re.MULTILINE))
    assert list(counts) == ["query", "MaskTracker"]
    lists = re.split(r"^MaskTracker:.*$", printed, flags=re.MULTILINE)
    for text, count in zip(lists, counts.values(), strict=True):
        tracks = re.findall(r"^  (\d+): (\w+), (\d+) frames from (\d+) to (\d+)$", text, re.MULTILINE)
        assert len(tracks) == int(count) > 0
        assert len({track_id for track_id, *_ in tracks}) == int(count)
        assert "person" in {name for _, name, *_ in tracks}
        assert all(int(length) <= int(last) - int(first) + 1 <= 8 for *_, length, first, last in tracks)
