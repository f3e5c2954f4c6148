"""Hugging Face checkpoints: their names and configuration, and equal outputs where transformers is installed."""

from __future__ import annotations

import copy
import gzip
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import video_mask2former as vm2f
from video_mask2former.api import load_with_config
from video_mask2former.config import config_from_mapping, to_mapping
from video_mask2former.config.loader import merge
from video_mask2former.convert import HUGGINGFACE, load_weights, write_huggingface_folder
from video_mask2former.convert.huggingface_config import convert_config
from video_mask2former.recipes.model import build_model, complete_config
from video_mask2former.recipes.source import read_config

GOLDEN = Path(__file__).parents[1] / "data" / "golden"


def read_record(name: str) -> dict[str, dict]:
    with gzip.open(GOLDEN / name) as file:
        return json.load(file)


@pytest.fixture(scope="module")
def record() -> dict[str, dict]:
    """Configuration of a small model of transformers, and its names as saved and as in memory (version 5.23)."""
    return read_record("huggingface_names.json.gz")


@pytest.fixture(scope="module")
def resnet_record() -> dict[str, dict]:
    """Configuration and saved names of a small model with a ResNet-50."""
    return read_record("huggingface_resnet_names.json.gz")


@pytest.fixture
def folder(tmp_path, record):
    """That model saved, with random weights."""
    (tmp_path / "config.json").write_text(json.dumps(record["config"]))
    weights = {name: torch.randn(shape) for name, shape in record["saved"].items()}
    save_file(weights, tmp_path / "model.safetensors")
    return tmp_path


def shapes_of(weights) -> dict[str, list[int]]:
    return {name: list(tensor.shape) for name, tensor in weights.items()}


@pytest.mark.parametrize("kind", ["saved", "in_memory"])
def test_every_name_has_its_place(folder, record, kind):
    model = build_model(read_config(folder))
    converted = HUGGINGFACE.key_map.to_ours({name: torch.randn(shape) for name, shape in record[kind].items()})
    assert converted.unknown == ()
    assert shapes_of(converted.weights) == shapes_of(model.state_dict())
    assert {name.removesuffix(".weight").removesuffix(".bias") for name in converted.ignored} == {
        "criterion.empty_weight",
        "model.pixel_level_module.encoder.swin.layernorm",
    }


def test_names_are_written_as_transformers_saves_them(folder, record):
    model = build_model(read_config(folder))
    ignored = {name for name in record["saved"] if "empty_weight" in name or "swin.layernorm" in name}
    exported = shapes_of(HUGGINGFACE.key_map.to_theirs(model.state_dict()))
    assert exported == {name: shape for name, shape in record["saved"].items() if name not in ignored}


def test_names_with_a_resnet(resnet_record):
    options = convert_config(resnet_record["config"], {}, "x")
    with torch.device("meta"):
        model = build_model(config_from_mapping(options, "x"))
    saved = {name: torch.empty(shape, device="meta") for name, shape in resnet_record["saved"].items()}
    converted = HUGGINGFACE.key_map.to_ours(saved)
    assert converted.unknown == ()
    assert shapes_of(converted.weights) == shapes_of(model.state_dict())
    exported = shapes_of(HUGGINGFACE.key_map.to_theirs(model.state_dict()))
    assert exported == {name: shape for name, shape in resnet_record["saved"].items() if name not in converted.ignored}


@pytest.mark.parametrize(("depths", "depth"), [([3, 4, 6, 3], 50), ([3, 4, 23, 3], 101)])
def test_resnets_by_their_depths(resnet_record, depths, depth):
    values = copy.deepcopy(resnet_record["config"])
    values["backbone_config"]["depths"] = depths
    assert convert_config(values, {}, "x")["model"]["backbone"] == {"name": "resnet", "depth": depth}


def test_names_of_the_first_video_checkpoints(small_model, randomised):
    source, target = randomised(small_model()), small_model()
    theirs = {
        name.replace("encoder.embeddings", "encoder.model.embeddings")
        .replace("encoder.encoder", "encoder.model.encoder")
        .replace("hidden_states_norms.stage1", "hidden_states_norms.0")
        .replace("hidden_states_norms.stage4", "hidden_states_norms.3"): tensor
        for name, tensor in HUGGINGFACE.key_map.to_theirs(source.state_dict()).items()
    }
    assert "model.pixel_level_module.encoder.hidden_states_norms.3.bias" in theirs
    load_weights(target, theirs)
    for key, tensor in source.state_dict().items():
        torch.testing.assert_close(target.state_dict()[key], tensor, rtol=0, atol=0)


def test_the_configuration_is_read(folder):
    config = read_config(folder, ["model.size_divisibility=64"])
    options = config.model.options
    assert (config.model.num_classes, options["num_queries"], options["decoder"]["num_layers"]) == (3, 4, 2)
    assert config.model.options["backbone"]["depths"] == [1, 1, 2, 1]
    assert config.model.class_names == ()
    assert config.model.options["decoder"]["temporal_position_encoding"] is False
    assert (config.loss.options["mask_weight"], config.loss.options["num_points"]) == (5.0, 12544)
    assert options["size_divisibility"] == 64


@pytest.mark.parametrize(
    ("changes", "name", "is_video"),
    [
        ({}, "mask2former-swin-tiny-coco-instance", False),
        ({"architectures": ["VideoMask2FormerForVideoSegmentation"]}, "anything", True),
        ({"architectures": ["VideoMask2FormerForSegmentation"]}, "anything", True),
        ({}, "video-mask2former-swin-tiny-youtubevis-2021-instance", True),
        ({"_name_or_path": "facebook/video-mask2former-swin-base-youtubevis-2019-instance"}, "downloaded", True),
    ],
)
def test_video_checkpoints_are_told_by_class_or_name(record, changes, name, is_video):
    options = convert_config(record["config"] | changes, {}, f"/models/{name}")
    assert options["model"]["decoder"]["temporal_position_encoding"] is is_video
    assert options["inference"]["top_k"] == (10 if is_video else 100)


@pytest.mark.parametrize(
    ("name", "task"),
    [
        ("mask2former-swin-large-coco-panoptic", "panoptic"),
        ("mask2former-swin-large-ade-semantic", "semantic"),
        ("mask2former-swin-small-coco-instance", "instance"),
        ("mine", "instance"),
    ],
)
def test_the_name_tells_the_task(record, name, task):
    assert convert_config(record["config"], {}, f"/models/{name}")["task"] == task
    assert convert_config(record["config"] | {"_name_or_path": name}, {}, "x")["task"] == task


def test_the_frame_size_is_the_preprocessors(record):
    size = {"shortest_edge": 640, "longest_edge": 2560}
    inference = convert_config(record["config"], {"size": size}, "x")["inference"]
    assert (inference["short_side"], inference["max_side"]) == (640, 2560)
    assert (
        convert_config(record["config"], {"size": {"height": 384, "width": 384}}, "x")["inference"]["short_side"] == 800
    )


def test_class_names_and_normalisation_are_taken_along(record):
    labels = {"1": "dog", "0": "cat", "2": "cow"}
    preprocessor = {"image_mean": [0.48500001430511475, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
    model = convert_config(record["config"] | {"id2label": labels}, preprocessor, "x")["model"]
    assert model["class_names"] == ["cat", "dog", "cow"]
    assert model["pixel_mean"] == [123.675, 116.28, 103.53]
    assert model["pixel_std"] == [58.395, 57.12, 57.375]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda values: values.update(model_type="detr"), "model_type in config.json of x must be 'mask2former'"),
        (lambda values: values.update(pre_norm=True), "pre_norm in config.json of x must be False, got True"),
        (lambda values: values.pop("num_queries"), "num_queries is missing in"),
        (lambda values: values.pop("backbone_config"), "has no backbone_config"),
        (
            lambda values: values["backbone_config"].update(model_type="resnet"),
            r"backbone_config.hidden_act in config.json of x must be 'relu', got 'gelu'",
        ),
        (lambda values: values.update(feature_size=64), "feature_size and hidden_dim .* must be equal, got 64 and 32"),
        (
            lambda values: values["backbone_config"].update(model_type="convnext"),
            "model_type in config.json of x must be 'swin' or 'maskformer-swin' or 'resnet', got 'convnext'",
        ),
    ],
)
def test_models_of_other_parts_are_refused(record, change, message):
    values = copy.deepcopy(record["config"])
    change(values)
    with pytest.raises(ValueError, match=message):
        convert_config(values, {}, "x")


def test_a_folder_alone_loads(folder):
    model = vm2f.load(folder)
    assert not model.training
    output = model(torch.rand(1, 1, 3, 32, 64) * 255)
    assert output.class_logits.shape == (1, 4, 4)


def test_broken_folders_say_so(tmp_path):
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match="is not a JSON file"):
        read_config(tmp_path)
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(ValueError, match="must hold an object, as every JSON file does, got a list"):
        read_config(tmp_path)


SMALL = {
    "model": {
        "num_classes": 3,
        "class_names": ["cat", "dog", "cow"],
        "num_queries": 4,
        "hidden_dim": 32,
        "num_heads": 8,
        "decoder": {"num_layers": 2, "feedforward_dim": 8, "temporal_position_encoding": False},
        "pixel_decoder": {"num_layers": 1, "feedforward_dim": 8, "mask_dim": 16},
        "backbone": {
            "name": "swin",
            "embed_dim": 8,
            "depths": [1, 1, 2, 1],
            "num_heads": [1, 1, 2, 2],
            "window_size": 2,
        },
    },
    "loss": {"mask_weight": 4.0, "no_object_weight": 0.3, "num_points": 99},
    "inference": {"mode": "online", "window": 1, "short_side": 64, "max_side": 96, "top_k": 100},
}
SWIN = {"model": {}}
RESNET = {"model": {"backbone": {"name": "resnet"}}}
VIDEO = {
    "model": {"decoder": {"temporal_position_encoding": True}},
    "inference": {"mode": "clip", "window": None, "top_k": 10},
}


def random_model(config):
    """A model whose outputs are neither zero nor infinite, for weights that all differ."""
    model = build_model(config)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            is_scale = tensor.ndim == 1 and "norm" in name and name.endswith(("weight", "running_var"))
            noise = 0.2 * torch.randn_like(tensor)
            if tensor.ndim == 4:
                noise /= tensor[0].numel() ** 0.5 * 0.2
            tensor.copy_(noise.abs() + 1 if is_scale else noise)
    return model.eval()


@pytest.mark.parametrize("changes", [SWIN, RESNET, VIDEO], ids=["swin", "resnet", "video"])
def test_a_written_folder_reads_back(tmp_path, changes):
    config = complete_config(config_from_mapping(merge(SMALL, changes), "test"))
    model = random_model(config)
    write_huggingface_folder(tmp_path / "x", model.state_dict(), to_mapping(config))
    assert sorted(path.name for path in (tmp_path / "x").iterdir()) == [
        "config.json",
        "model.safetensors",
        "preprocessor_config.json",
    ]
    loaded, read = load_with_config(tmp_path / "x")
    complete = complete_config(read)
    assert (complete.model, complete.loss, read.inference) == (config.model, config.loss, config.inference)
    for key, tensor in model.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[key], tensor, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": {"backbone": {"name": "efficientnet_lite0"}}}, "swin and resnet, got 'efficientnet_lite0'"),
        ({"model": {"pixel_decoder": {"num_points": 3}}}, "4 sampling points, got model.pixel_decoder.num_points = 3"),
    ],
)
def test_what_transformers_lacks_is_not_written(tmp_path, changes, message):
    config = complete_config(config_from_mapping(merge(SMALL, changes), "test"))
    with pytest.raises(ValueError, match=message):
        write_huggingface_folder(tmp_path / "x", build_model(config).state_dict(), to_mapping(config))
    assert not (tmp_path / "x").exists()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("changes", [SWIN, RESNET], ids=["swin", "resnet"])
def test_transformers_reads_a_written_folder(tmp_path, changes):
    transformers = pytest.importorskip("transformers")
    config = complete_config(config_from_mapping(merge(SMALL, changes), "test"))
    ours = random_model(config)
    write_huggingface_folder(tmp_path, ours.state_dict(), to_mapping(config))
    theirs, info = transformers.AutoModelForUniversalSegmentation.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["unexpected_keys"] and not info["mismatched_keys"]
    assert all("layernorm" in name or "num_batches_tracked" in name for name in info["missing_keys"])
    assert theirs.config.id2label == {0: "cat", 1: "dog", 2: "cow"}
    assert torch.equal(theirs.criterion.empty_weight, torch.tensor([1.0, 1.0, 1.0, 0.3]))
    processor = transformers.AutoImageProcessor.from_pretrained(tmp_path)
    frame = torch.randint(0, 256, (3, 64, 96), dtype=torch.uint8)
    pixels = processor(images=frame, return_tensors="pt")["pixel_values"].double()
    ours.double()
    torch.testing.assert_close(pixels[0], (frame - ours.pixel_mean) / ours.pixel_std, rtol=0, atol=1e-5)
    with torch.no_grad():
        output, expected = ours(frame[None, None]), theirs.double().eval()(pixel_values=pixels)
    scale = output.mask_logits.dense().abs().max()
    torch.testing.assert_close(output.class_logits, expected.class_queries_logits, rtol=1e-4, atol=1e-4)
    difference = output.mask_logits.dense()[:, :, 0] - expected.masks_queries_logits
    assert difference.abs().max() < 1e-4 * scale


def test_outputs_equal_those_of_transformers(tmp_path, record):
    transformers = pytest.importorskip("transformers")
    config = transformers.Mask2FormerConfig.from_dict(record["config"])
    theirs = transformers.Mask2FormerForUniversalSegmentation(config).eval()
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            is_scale = parameter.ndim == 1 and "norm" in name and name.endswith("weight")
            parameter.copy_(0.2 * torch.randn_like(parameter) + is_scale)
    theirs.save_pretrained(tmp_path)
    ours = vm2f.load(tmp_path, dtype=torch.float64)
    frames = 255 * torch.rand(2, 1, 3, 64, 96, dtype=torch.float64)
    with torch.no_grad():
        output = ours(frames)
        expected = theirs.double()(pixel_values=(frames[:, 0] - ours.pixel_mean) / ours.pixel_std)
    # Their positional encodings are float32.
    torch.testing.assert_close(output.class_logits, expected.class_queries_logits, rtol=0, atol=1e-5)
    torch.testing.assert_close(output.mask_logits.dense()[:, :, 0], expected.masks_queries_logits, rtol=0, atol=1e-5)
