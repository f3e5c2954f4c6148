from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml

from video_mask2former.cli import main
from video_mask2former.engine import load_state, read_records

SIZE = (48, 64)


def rle(mask: np.ndarray) -> dict:
    """Uncompressed RLE, column by column and zeros first."""
    values = mask.flatten(order="F")
    changes = np.flatnonzero(np.diff(values)) + 1
    runs = np.diff(np.concatenate([[0], changes, [values.size]])).tolist()
    return {"size": list(mask.shape), "counts": [0, *runs] if values[0] else runs}


def write_dataset(folder: Path, *, classes: tuple[str, ...] = ("square", "bar"), num_frames: int = 3) -> str:
    """Two videos with one moving object each, as a dataset named by its paths."""
    videos, annotations = [], []
    for video_id in (1, 2):
        names, masks = [], []
        for index in range(num_frames):
            mask = np.zeros(SIZE, np.uint8)
            mask[8 * video_id : 8 * video_id + 20, 6 + 4 * index : 26 + 4 * index] = 1
            frame = np.full((*SIZE, 3), 60, np.uint8)
            frame[mask == 1] = (40 + 80 * video_id, 200, 100)
            names.append(f"{video_id}/{index:05d}.png")
            (folder / "images" / str(video_id)).mkdir(parents=True, exist_ok=True)
            assert cv2.imwrite(str(folder / "images" / names[-1]), frame)
            masks.append(mask)
        videos.append({"id": video_id, "width": SIZE[1], "height": SIZE[0], "length": num_frames, "file_names": names})
        annotations.append(
            {
                "id": video_id,
                "video_id": video_id,
                "category_id": video_id,
                "iscrowd": 0,
                "segmentations": [rle(mask) for mask in masks],
                "areas": [int(mask.sum()) for mask in masks],
                "bboxes": [[6 + 4 * index, 8 * video_id, 20, 20] for index in range(num_frames)],
            }
        )
    categories = [{"id": number, "name": name} for number, name in enumerate(classes, start=1)]
    document = {"videos": videos, "annotations": annotations, "categories": categories}
    (folder / "train.json").write_text(json.dumps(document))
    return f"{folder / 'images'}::{folder / 'train.json'}"


def write_config(folder: Path, dataset: str) -> Path:
    values = {
        "model": {
            "backbone": {"name": "efficientnet_lite0"},
            "pixel_decoder": {"num_layers": 1, "feedforward_dim": 32, "mask_dim": 32},
            "num_queries": 5,
            "hidden_dim": 32,
            "num_heads": 4,
            "feedforward_dim": 32,
            "num_decoder_layers": 2,
        },
        "data": {"train": [dataset], "test": [dataset], "short_sides": [64], "num_workers": 0},
        "loss": {"num_points": 64},
        "training": {
            "batch_size": 2,
            "max_steps": 4,
            "amp_dtype": "float32",
            "log_period": 1,
            "ema_decay": 0.9,
            "sample_pictures": 1,
            "checkpoint_period": 2,
        },
        "inference": {"short_side": 64},
    }
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> tuple[Path, Path]:
    """A configuration and the folder of a finished training."""
    folder = tmp_path_factory.mktemp("training")
    config = write_config(folder, write_dataset(folder))
    assert main(["train", "--config", str(config), "--output", str(folder / "run"), "--device", "cpu"]) == 0
    return config, folder / "run"


def test_training_leaves_everything_in_its_folder(run) -> None:
    _, output = run
    assert {path.name for path in output.iterdir()} == {
        "checkpoint_0000002.pth",
        "checkpoint_0000004.pth",
        "config.yaml",
        "curves.png",
        "latest",
        "log.txt",
        "metrics.jsonl",
        "model_best.pth",
        "model_final.pth",
        "pictures",
    }
    assert [path.name for path in (output / "pictures" / "step_0000004").iterdir()] == ["train_1.jpg"]
    records = read_records(output / "metrics.jsonl")
    assert [record["step"] for record in records if "loss" in record] == [1, 2, 3, 4]
    assert {"AP", "AP50", "AR10"} <= records[-1]["evaluation"].keys()
    final = load_state(output / "model_final.pth")
    assert final["class_names"] == ["square", "bar"]
    assert final["config"]["model"]["num_classes"] == 2, "the model has the classes of the data"


def test_resumed_training_ends_with_the_same_bits(run, tmp_path) -> None:
    config, output = run
    arguments = ["train", "--output", str(tmp_path / "run"), "--device", "cpu"]
    part = ["--config", str(config), "training.max_steps=4"]
    assert main([*arguments, *part, "training.checkpoint_period=3", "training.keep_checkpoints=5"]) == 0
    (tmp_path / "run" / "checkpoint_0000004.pth").unlink()
    assert main([*arguments, "--resume"]) == 0

    whole, parts = (load_state(folder / "checkpoint_0000004.pth") for folder in (output, tmp_path / "run"))
    for name in ("model", "ema"):
        tensors = [state[name] if name == "model" else state[name]["averages"] for state in (whole, parts)]
        assert all(torch.equal(tensors[0][key], tensors[1][key]) for key in tensors[0])
    assert whole["loader"] == parts["loader"]


def test_a_finished_folder_is_not_overwritten(run, capsys) -> None:
    config, output = run
    assert main(["train", "--config", str(config), "--output", str(output), "--device", "cpu"]) == 1
    assert "already holds" in capsys.readouterr().err


@pytest.mark.parametrize("source", ["final model", "run"])
def test_eval_only_measures_what_training_measured(run, tmp_path, source: str) -> None:
    config, output = run
    arguments = ["--weights", str(output / "model_final.pth"), "--output", str(tmp_path / "run")]
    if source == "run":
        shutil.copytree(output, tmp_path / "run")
        arguments = ["--resume", "--output", str(tmp_path / "run")]
    assert main(["train", "--config", str(config), "--eval-only", "--device", "cpu", *arguments]) == 0
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    evaluation = read_records(output / "metrics.jsonl")[-1]["evaluation"]
    assert metrics == pytest.approx(evaluation, abs=1e-6)


def test_fine_tuning_with_other_classes_on_single_frames(run, tmp_path) -> None:
    config, output = run
    dataset = write_dataset(tmp_path, classes=("a", "b", "c"))
    overrides = [f"data.train=['{dataset}']", f"data.test=['{dataset}']", "data.num_frames=1", "training.max_steps=1"]
    weights = ["--weights", str(output / "model_final.pth")]
    arguments = ["--config", str(config), "--output", str(tmp_path / "run"), "--device", "cpu", *weights]
    assert main(["train", *arguments, "training.freeze=[backbone]", "training.learning_rate=0", *overrides]) == 0

    before, after = (load_state(folder / "model_final.pth")["model"] for folder in (output, tmp_path / "run"))
    assert after["decoder.class_embed.weight"].shape[0] == 4
    kept = [name for name in before if not name.startswith("decoder.class_embed")]
    assert all(torch.equal(before[name], after[name]) for name in kept)


def assert_same_training(left: Path, right: Path) -> None:
    """All losses at the start are the same to rounding, which grows from step to step."""
    one, two = (read_records(folder / "metrics.jsonl") for folder in (left, right))
    assert [record["step"] for record in one] == [record["step"] for record in two] == [1, 2, 3, 4, 4]
    names = [name for name in one[0] if name.startswith("loss") or name == "gradient_norm"]
    assert len(names) == 1 + 3 * 3 + 1
    for step, tolerance in enumerate((2e-6, 1e-4, 1e-3, 1e-2)):
        expected = {name: one[step][name] for name in names}
        assert {name: two[step][name] for name in names} == pytest.approx(expected, rel=tolerance), f"step {step + 1}"


def test_accumulated_parts_are_one_batch(run, tmp_path) -> None:
    config, output = run
    arguments = ["--config", str(config), "--output", str(tmp_path), "--device", "cpu"]
    assert main(["train", *arguments, "training.accumulation_steps=2"]) == 0
    assert_same_training(output, tmp_path)


@pytest.mark.slow
def test_two_processes_are_one_with_twice_the_batch(run, tmp_path) -> None:
    config, output = run
    arguments = ["--config", str(config), "--output", str(tmp_path), "--device", "cpu", "--num-processes", "2"]
    assert main(["train", *arguments]) == 0
    assert_same_training(output, tmp_path)
    assert len(load_state(tmp_path / "checkpoint_0000004.pth")["random"]) == 2


def test_hidden_annotations_train_without_evaluation(run, tmp_path, capsys) -> None:
    config, _ = run
    dataset = write_dataset(tmp_path)
    document = json.loads((tmp_path / "train.json").read_text())
    del document["annotations"]
    (tmp_path / "hidden.json").write_text(json.dumps(document))
    hidden = dataset.replace("train.json", "hidden.json")
    arguments = ["--config", str(config), "--output", str(tmp_path / "run"), "--device", "cpu"]
    assert main(["train", *arguments, f"data.test=['{hidden}']", "training.max_steps=1"]) == 0
    assert "hidden.json are hidden: training goes on without" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give a configuration with --config"),
        (["--config", "{config}", "training.batch_size"], "option 'training.batch_size' has no value"),
        (
            ["--config", "{config}", "training.batch_size=3", "training.accumulation_steps=3", "data.test=[nothing]"],
            "unknown dataset 'nothing'",
        ),
        (["--config", "{config}", "data.test=[ytvis_2019_val]", "data.root={missing}"], "or training.evaluate=false"),
        (["--config", "{config}", "training.best_metric=APX"], "training.best_metric must be one of AP, AP50, AP75"),
        (["--config", "{config}", "--eval-only"], "there are no weights to evaluate"),
        (["--config", "{config}", "--eval-only", "--resume"], "there are no weights to evaluate"),
        (["--config", "{config}", "--weights", "{missing}"], "{missing}"),
        (["--config", "{config}", "model.class_list=ovis", "model.num_classes=25"], "must be those of"),
    ],
)
def test_mistakes_are_one_line(run, tmp_path, capsys, arguments: list[str], message: str) -> None:
    config, _ = run
    values = {"config": str(config), "missing": str(tmp_path / "missing")}
    words = [argument.format(**values) for argument in arguments]
    assert main(["train", *words[:2], "--output", str(tmp_path / "run"), "--device", "cpu", *words[2:]]) == 1
    assert message.format(**values) in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed."), "Lower data.num_workers"),
        (torch.OutOfMemoryError("CUDA out of memory."), "training.accumulation_steps=2"),
        (FloatingPointError("training stopped at step 3"), "error: training stopped at step 3"),
    ],
)
def test_errors_of_the_machine_come_with_advice(run, tmp_path, capsys, monkeypatch, error, message) -> None:
    def fail(*arguments, **options) -> None:
        raise error

    monkeypatch.setattr("video_mask2former.recipes.training.train", fail)
    assert main(["train", "--config", str(run[0]), "--output", str(tmp_path), "--device", "cpu"]) == 1
    assert message in capsys.readouterr().err
