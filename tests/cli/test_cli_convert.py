"""``video-mask2former convert``."""

from __future__ import annotations

import pytest
import torch

from video_mask2former.api import load
from video_mask2former.cli import main
from video_mask2former.config import config_from_mapping, to_yaml
from video_mask2former.convert import DETECTRON2, read_checkpoint, write_checkpoint
from video_mask2former.recipes.model import build_model

SMALL = {
    "model": {
        "num_classes": 3,
        "num_queries": 4,
        "hidden_dim": 32,
        "num_heads": 2,
        "feedforward_dim": 8,
        "num_decoder_layers": 1,
        "pixel_decoder": {"num_layers": 1, "feedforward_dim": 8, "mask_dim": 16},
        "backbone": {
            "name": "swin",
            "swin": {"embed_dim": 8, "depths": [1, 1, 1, 1], "num_heads": [1, 1, 2, 2], "window_size": 2},
        },
    }
}


@pytest.fixture
def published(tmp_path):
    """A checkpoint under published names, the model's own weights, and its configuration in a file."""
    config = config_from_mapping(SMALL, "test")
    model = build_model(config)
    theirs = DETECTRON2.key_map.to_theirs(model.state_dict()) | {"criterion.empty_weight": torch.ones(4)}
    write_checkpoint(tmp_path / "theirs.pkl", theirs)
    (tmp_path / "small.yaml").write_text(to_yaml(config))
    return tmp_path, model.state_dict()


def assert_equal(got, expected, **tolerance):
    assert got.keys() == expected.keys()
    for key, tensor in expected.items():
        torch.testing.assert_close(got[key], tensor, **({"rtol": 0, "atol": 0} | tolerance))


def test_published_to_ours_and_back(published, capsys):
    folder, weights = published
    ours, back = str(folder / "ours.safetensors"), str(folder / "back.pth")
    assert main(["convert", str(folder / "theirs.pkl"), ours, "--config", str(folder / "small.yaml")]) == 0
    shown = capsys.readouterr().out
    assert "converted" in shown and str(len(weights)) in shown and "unused" in shown
    assert_equal(read_checkpoint(ours).weights, weights)
    assert_equal(load(ours).state_dict(), weights)

    assert main(["convert", ours, back, "--to", "detectron2"]) == 0
    theirs = read_checkpoint(folder / "theirs.pkl").weights
    assert_equal(read_checkpoint(back).weights, {key: theirs[key] for key in theirs if key != "criterion.empty_weight"})


def test_to_huggingface_and_half_precision(published):
    folder, weights = published
    assert main(["convert", str(folder / "theirs.pkl"), str(folder / "hf.safetensors"), "--to", "huggingface"]) == 0
    keys = read_checkpoint(folder / "hf.safetensors").weights
    assert "model.transformer_module.decoder.layers.0.self_attn.q_proj.weight" in keys
    half = str(folder / "half.safetensors")
    assert main(["convert", str(folder / "hf.safetensors"), half, "--dtype", "float16"]) == 0
    expected = {key: tensor.half() for key, tensor in weights.items()}
    assert_equal(read_checkpoint(half).weights, expected)


def test_to_a_huggingface_folder_and_back(published):
    folder, weights = published
    there, back = folder / "hf", folder / "back.safetensors"
    config = str(folder / "small.yaml")
    words = ["--to", "huggingface", "--config", config, "model.class_names=[cat, dog, cow]"]
    assert main(["convert", str(folder / "theirs.pkl"), str(there), *words]) == 0
    loaded = load(there)
    assert loaded.class_names == ("cat", "dog", "cow")
    assert_equal(loaded.state_dict(), weights)

    assert main(["convert", str(there), str(back)]) == 0
    assert load(back).class_names == ("cat", "dog", "cow")
    assert_equal(load(back).state_dict(), weights)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["absent.pkl", "x.pth"], "error: no checkpoint absent.pkl"),
        (["{folder}/theirs.pkl", "{folder}/x.onnx"], "error: a checkpoint ends in .safetensors"),
        (["{folder}/theirs.pkl", "{folder}/x.pth", "--config", "ytvis_2019/r50"], "does not fit the model"),
        (["{folder}/theirs.pkl", "{folder}/x.pth", "model.num_classes=3"], "error: overrides need a configuration"),
        (
            ["{folder}/theirs.pkl", "{folder}/x", "--to", "huggingface"],
            "error: a Hugging Face folder needs a configuration",
        ),
        (["{folder}/backbone.pth", "{folder}/x.pth"], "backbone.pth is the backbone of a model only (torchvision"),
        (["{folder}/other.pth", "{folder}/x.pth"], "error: 1 entries have unknown names, first: 'sem_seg_head.x'"),
    ],
)
def test_errors_leave_no_file(published, capsys, words, message):
    folder, _ = published
    write_checkpoint(folder / "other.pth", {"sem_seg_head.x": torch.zeros(1)})
    write_checkpoint(folder / "backbone.pth", {"layer1.0.conv1.weight": torch.zeros(1)})
    assert main(["convert", *(word.format(folder=folder) for word in words)]) == 1
    assert message in capsys.readouterr().err
    assert not (folder / "x.pth").exists() and not (folder / "x").exists()
