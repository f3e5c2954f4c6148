"""The calls ``train``, ``evaluate_model`` and ``evaluate_results``: what the commands do, from Python."""

from __future__ import annotations

import json

import pytest
import torch

import video_mask2former as vm2f
from video_mask2former.api import DEMO_WEIGHTS, training_config
from video_mask2former.cli import main
from video_mask2former.config import apply_overrides, to_yaml
from video_mask2former.convert import read_checkpoint, write_checkpoint
from video_mask2former.data.synthetic import SceneStyle, write_synthetic_dataset
from video_mask2former.engine import read_records
from video_mask2former.recipes.model import build_model

SHAPES = ("disc", "square", "triangle", "star")
KEYS = ["AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder with two synthetic videos of three frames."""
    folder = tmp_path_factory.mktemp("data of shapes")
    write_synthetic_dataset(folder, 2, SceneStyle(num_frames=3, size=(48, 64), object_sides=(0.4, 0.8)), seed=1)
    return folder


def short_training(folder):
    dataset = [f"{folder / 'JPEGImages'}::{folder / 'instances.json'}"]
    return {
        "data.train": dataset,
        "data.test": dataset,
        "data.num_workers": 0,
        "data.short_sides": [48],
        "loss.num_points": 32,
        "training.batch_size": 2,
        "training.max_steps": 2,
        "training.log_period": 1,
        "training.amp_dtype": "float32",
        "inference.short_side": 48,
    }


class TestTrain:
    def test_goes_on_from_a_checkpoint_with_the_classes_of_the_data(self, small_config, data, tmp_path):
        named = apply_overrides(small_config, {"model.class_names": ["a", "b", "c"], "data.train_ratios": [1.0]})
        start = build_model(named)
        write_checkpoint(tmp_path / "start.pth", start.state_dict(), to_yaml(named))
        options = {**short_training(data), "training.learning_rate": 0.0, "training.weight_decay": 0.0}
        result = vm2f.train(tmp_path / "start.pth", overrides=options, output=tmp_path / "run", device="cpu")
        assert (result.step, result.signal_number) == (2, 0)
        assert list(result.metrics)[:3] == ["AP", "AP50", "AP75"]
        assert [record["step"] for record in read_records(tmp_path / "run" / "metrics.jsonl") if "loss" in record]
        model = vm2f.load(tmp_path / "run" / "model_final.pth")
        assert model.class_names == SHAPES
        assert model.input_sides[0] == 48
        # nothing was learned at rate 0, so all but the class head is still what it was
        for name, tensor in start.state_dict().items():
            if "class_embed" not in name:
                torch.testing.assert_close(model.state_dict()[name], tensor, msg=name)

    def test_resumes(self, small_config, data, tmp_path):
        options = {**short_training(data), "training.evaluate": False}
        vm2f.train(small_config, overrides=options, output=tmp_path, device="cpu")
        with pytest.raises(ValueError, match="already holds"):
            vm2f.train(small_config, overrides=options, output=tmp_path, device="cpu")
        longer = {**options, "training.max_steps": 3}
        assert vm2f.train(small_config, overrides=longer, output=tmp_path, device="cpu", resume=True).step == 3

    def test_tells_the_task_what_is_stuff(self, small_config, tmp_path):
        style = SceneStyle(num_frames=2, size=(48, 64), object_sides=(0.4, 0.8), has_stuff=True)
        write_synthetic_dataset(tmp_path / "data", 2, style, seed=1)
        options = {**short_training(tmp_path / "data"), "training.evaluate": False, "training.max_steps": 1}
        options |= {"task.name": "video_panoptic"}
        vm2f.train(small_config, overrides=options, output=tmp_path / "run", device="cpu")
        config = training_config(tmp_path / "run" / "model_final.pth")
        assert config.task.options["stuff"] == ["sky", "grass", "water", "bricks"]

    def test_other_classes_are_an_error_that_says_how_to_take_them(self, small_config, data, tmp_path):
        named = apply_overrides(small_config, {"model.class_names": ["a", "b", "c"]})
        with pytest.raises(ValueError, match=r"disc, square.*set model.class_list=null and model.class_names=\[\]"):
            vm2f.train(named, overrides=short_training(data), output=tmp_path, device="cpu")


class TestTrainingConfig:
    def test_weights_are_the_last_that_are_named(self, small_config):
        assert training_config(small_config).training.init_weights is None
        demo = training_config("demo")
        assert demo.training.init_weights == str(DEMO_WEIGHTS)
        assert (demo.model.class_names, demo.data.train, demo.data.test) == ((), (), ()), "those of its own training"
        other = {"training.init_weights": "other.pth"}
        assert training_config("demo", overrides=other).training.init_weights == "other.pth"
        assert training_config("demo", "given.pth", other, "runs/x").training.init_weights == "given.pth"
        assert training_config("demo", "given.pth", other, "runs/x").training.output == "runs/x"

    def test_the_command_starts_from_a_model_too(self, small_config, data, tmp_path):
        write_checkpoint(tmp_path / "start.pth", build_model(small_config).state_dict(), to_yaml(small_config))
        words = [f"{name}={json.dumps(value)}" for name, value in short_training(data).items()]
        run = ["train", "--config", str(tmp_path / "start.pth"), "--output", str(tmp_path / "run"), "--device", "cpu"]
        assert main(run) == 1, "without data there is nothing to train on"
        assert main([*run, *words, "training.evaluate=false"]) == 0
        saved = read_checkpoint(tmp_path / "run" / "model_final.pth").config
        assert saved["training"]["init_weights"] == str(tmp_path / "start.pth")


class TestEvaluate:
    def test_the_ground_truth_as_results(self, data, tmp_path):
        document = json.loads((data / "instances.json").read_bytes())
        keys = ("video_id", "category_id", "segmentations")
        results = [{**{key: entry[key] for key in keys}, "score": 1.0} for entry in document["annotations"]]
        (tmp_path / "results.json").write_text(json.dumps(results))
        report = vm2f.evaluate_results(tmp_path / "results.json", data / "instances.json")
        assert list(report.summary) == KEYS
        assert report.summary["AP"] == report.summary["AR10"] == pytest.approx(1.0)
        assert tuple(report.per_class) == SHAPES
        assert {round(value, 9) for value in report.per_class.values()} == {1.0, -1.0}, "one class is in no video"
        assert report.groups["identity"]["HOTA"] == pytest.approx(1.0)

    def test_a_model_is_measured_as_its_results_are(self, small_config, data, tmp_path):
        options = {"model.num_classes": 4, "model.class_names": list(SHAPES), "inference.short_side": 48}
        model = vm2f.load(small_config, overrides=options)
        report = vm2f.evaluate_model(model, data / "instances.json", data / "JPEGImages", output=tmp_path)
        assert json.loads((tmp_path / "metrics.json").read_text())["AP"] == report.summary["AP"]
        assert (tmp_path / "report.html").read_text().count('class="case"') > 0
        again = vm2f.evaluate_results(tmp_path / "results.json", data / "instances.json")
        assert again == report
        # as the command measures it, and a file with its configuration
        config = apply_overrides(small_config, {**options, "inference.mode": "clip"})
        (tmp_path / "small.yaml").write_text(to_yaml(config))
        write_checkpoint(tmp_path / "small.pth", model.state_dict())
        words = ["--annotations", str(data / "instances.json"), "--images", str(data / "JPEGImages"), "--cases", "0"]
        files = ["--config", str(tmp_path / "small.yaml"), "--weights", str(tmp_path / "small.pth")]
        assert main(["evaluate", *words, *files, "--output", str(tmp_path / "command"), "--device", "cpu"]) == 0
        assert json.loads((tmp_path / "command" / "metrics.json").read_text()) == report.to_dict()
        for mode in ("clip", "online"):
            yaml = to_yaml(apply_overrides(config, {"inference.mode": mode}))
            write_checkpoint(tmp_path / "whole.pth", model.state_dict(), yaml)
            of_file = vm2f.evaluate_model(tmp_path / "whole.pth", data / "instances.json", data / "JPEGImages")
            assert (of_file == report) == (mode == "clip")

    def test_settings_and_class_agnostic_measures(self, small_config, data, tmp_path):
        model = vm2f.load(small_config, overrides={"model.class_names": ["a", "b", "c"]})
        with pytest.raises(ValueError, match="no class of the dataset"):
            vm2f.evaluate_model(model, data / "instances.json", data / "JPEGImages")
        one = vm2f.InferenceSettings.published(top_k=1, short_side=48)
        arguments = (model, data / "instances.json", data / "JPEGImages")
        report = vm2f.evaluate_model(*arguments, settings=one, is_class_agnostic=True, output=tmp_path)
        assert len(json.loads((tmp_path / "results.json").read_text())) == 2, "one for each video"
        assert list(report.per_class) == ["object"]
        with pytest.raises(ValueError, match="holds predictions of another model, other settings"):
            vm2f.evaluate_model(*arguments, is_class_agnostic=True, output=tmp_path)

    def test_missing_files_and_weights(self, data, tmp_path):
        with pytest.raises(ValueError, match=r"no weights to be measured. Pass load\('ytvis_2019/r50', weights"):
            vm2f.evaluate_model("ytvis_2019/r50", data / "instances.json", data / "JPEGImages")
        with pytest.raises(FileNotFoundError, match=r"absent.json"):
            vm2f.evaluate_results(tmp_path / "results.json", tmp_path / "absent.json")
