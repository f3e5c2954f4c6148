"""Checkpoints of mask transformers on ViT and of the backbones they build on, through the front door."""

from __future__ import annotations

import pytest
import torch

import video_mask2former as vm2f
from video_mask2former.convert import dino, identify_format, load_weights, vit_keys, write_checkpoint
from video_mask2former.models import LVMT, PMT, EoMT, VideoMask2Former, VidEoMT
from video_mask2former.models.backbones import Dinov2, Dinov3
from video_mask2former.recipes.model import build_model, load_initial_weights
from video_mask2former.recipes.source import read_config

SIZE = (24, 4, 2)
TINY = ["model.backbone.embed_dim=24", "model.backbone.depth=4", "model.backbone.num_heads=2", "model.num_queries=3"]
CONSTANTS = {"encoder.pixel_mean": torch.ones(1, 3, 1, 1), "encoder.pixel_std": torch.ones(1, 3, 1, 1)}


def shuffled(model: torch.nn.Module) -> torch.nn.Module:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter))
    return model


def raw_dinov3(backbone: Dinov3) -> dict[str, torch.Tensor]:
    """A backbone as Hugging Face publishes it."""
    ours = {f"backbone.{key}": value for key, value in backbone.state_dict().items()}
    return dino.HUGGINGFACE_DINOV3.to_theirs(ours)


@pytest.mark.parametrize(
    ("make", "key_map", "config", "kind"),
    [
        (
            lambda: VidEoMT(Dinov2(*SIZE), 40, 3),
            vit_keys.VIDEOMT_DINOV2,
            "videomt/ytvis_2019/vit_small_dinov2",
            "VidEoMT",
        ),
        (
            lambda: PMT(Dinov3(*SIZE), 25, 3, (0, 1, 2, 3)),
            vit_keys.PMT_DINOV3,
            "pmt/ovis/vit_large_dinov3",
            "PMT",
        ),
        (lambda: LVMT(Dinov2(*SIZE), 25, 3, (0, 1, 2, 3)), vit_keys.PMT_DINOV2, "lvmt/ovis/vit_large_dinov2", "PMT"),
        (
            lambda: EoMT(Dinov2(*SIZE), 133, 3, 4, (1,) * 4, (2,) * 4),
            vit_keys.EOMT_DINOV2,
            "eomt/coco_panoptic/vit_large_dinov2_640",
            "EoMT",
        ),
    ],
)
def test_a_published_checkpoint_loads_by_the_name_of_its_configuration(make, key_map, config, kind, tmp_path):
    model = shuffled(make())
    theirs = key_map.to_theirs(model.state_dict())
    prefix = "network." if kind == "EoMT" else "backbone."
    theirs |= {prefix + name: value for name, value in CONSTANTS.items()}
    theirs["criterion.empty_weight"] = torch.ones(model.num_classes + 1)
    assert identify_format(theirs).name == kind
    path = tmp_path / "published.pth"
    torch.save({"model": theirs}, path)
    overrides = [*TINY, *(["model.tapped_blocks=[0, 1, 2, 3]"] if kind == "PMT" else [])]
    loaded = vm2f.load(config, path, overrides, device="cpu")
    assert type(loaded) is type(model)
    for name, value in model.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[name], value)


def test_a_difference_from_dinov3_is_added_to_it(tmp_path):
    base, trained = shuffled(Dinov3(*SIZE)), shuffled(EoMT(Dinov3(*SIZE), 133, 3, 4))
    trained.annealing.probabilities.zero_()
    delta = dict(trained.state_dict())
    for name, value in base.state_dict().items():
        delta[f"backbone.{name}"] = delta[f"backbone.{name}"] - value
    theirs = vit_keys.EOMT_DINOV3.to_theirs(delta)
    theirs |= {
        "network.encoder.pixel_mean": torch.zeros(1, 3, 1, 1),
        "network.encoder.pixel_std": torch.zeros(1, 3, 1, 1),
    }
    torch.save({"state_dict": theirs}, tmp_path / "pytorch_model.bin")
    write_checkpoint(tmp_path / "dinov3.safetensors", raw_dinov3(base))
    arguments = ("eomt/coco_panoptic/vit_large_dinov3_640", tmp_path / "pytorch_model.bin")
    overrides = [*TINY, f"model.backbone.weights={tmp_path / 'dinov3.safetensors'}"]
    loaded = vm2f.load(*arguments, overrides, device="cpu")
    for name, value in trained.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[name], value, rtol=0, atol=1e-6)
    with pytest.raises(ValueError, match=r"builds on the published weights of its backbone.*model\.backbone\.weights"):
        vm2f.load(*arguments, TINY, device="cpu")


def test_image_models_of_pmt_come_without_their_encoder(tmp_path):
    base, trained = (
        shuffled(Dinov3(*SIZE)),
        shuffled(PMT(Dinov3(*SIZE), 133, 3, (0, 1, 2, 3), propagates_queries=False)),
    )
    theirs = vit_keys.PMT_IMAGE_DINOV3.to_theirs(trained.state_dict())
    theirs = {name: value for name, value in theirs.items() if ".encoder." not in name}
    torch.save({"state_dict": theirs}, tmp_path / "pmt.bin")
    write_checkpoint(tmp_path / "dinov3.safetensors", raw_dinov3(base))
    overrides = [*TINY, "model.tapped_blocks=[0, 1, 2, 3]", f"model.backbone.weights={tmp_path / 'dinov3.safetensors'}"]
    loaded = vm2f.load("pmt/coco_panoptic/vit_large_dinov3_640", tmp_path / "pmt.bin", overrides, device="cpu")
    expected = trained.state_dict() | {f"backbone.{name}": value for name, value in base.state_dict().items()}
    for name, value in loaded.state_dict().items():
        torch.testing.assert_close(value, expected[name])


def test_training_starts_from_a_published_backbone(tmp_path):
    base = shuffled(Dinov3(*SIZE))
    write_checkpoint(tmp_path / "dinov3.safetensors", raw_dinov3(base))
    overrides = [*TINY, "model.tapped_blocks=[3]", f"model.backbone.weights={tmp_path / 'dinov3.safetensors'}"]
    config = read_config("pmt/ovis/vit_large_dinov3", overrides)
    model = build_model(config)
    load_initial_weights(model, config)
    for name, value in model.backbone.state_dict().items():
        torch.testing.assert_close(value, base.state_dict()[name])
    assert not any(parameter.requires_grad for parameter in model.backbone.parameters())


def test_a_pyramid_takes_the_weights_of_its_transformer():
    base = shuffled(Dinov3(*SIZE))
    overrides = [
        "model.backbone={name: vit_pyramid, channels: 32, vit: {name: dinov3, embed_dim: 24, depth: 4, num_heads: 2}}"
    ]
    model = build_model(read_config("ytvis_2019/r50", [*overrides, "model.hidden_dim=32"]))
    assert type(model) is VideoMask2Former
    report = load_weights(model, raw_dinov3(base))
    assert all(".levels." in name for name in report.reinitialised) and report.reinitialised
    for name, value in model.backbone.vit.state_dict().items():
        torch.testing.assert_close(value, base.state_dict()[name])


def test_a_video_model_starts_from_one_of_frames_or_of_another_memory(tmp_path):
    frames = shuffled(EoMT(Dinov2(*SIZE, image_size=32), 40, 3, 3, (1,) * 3, (2,) * 3))
    path = tmp_path / "frames.pth"
    torch.save({"model": frames.state_dict()}, path)
    tiny = [*TINY, "model.backbone.image_size=32", f"training.init_weights={path}"]
    config = read_config("videomt/ytvis_2019/vit_small_dinov2", tiny)
    model = build_model(config)
    updater = {name: value.clone() for name, value in model.query_updater.state_dict().items()}
    report = load_initial_weights(model, config)
    assert set(report.unused) == {"annealing.probabilities"}
    for name, value in model.state_dict().items():
        own = updater.get(name.removeprefix("query_updater."))
        torch.testing.assert_close(value, frames.state_dict()[name] if own is None else own)

    linear = shuffled(PMT(Dinov2(*SIZE, image_size=32), 25, 3, (0, 3)))
    torch.save({"model": linear.state_dict()}, path)
    config = read_config("lvmt/ovis/vit_large_dinov2", [*tiny, "model.tapped_blocks=[0, 3]"])
    model = build_model(config)
    report = load_initial_weights(model, config)
    assert set(report.reinitialised) == {f"query_updater.{name}" for name in model.query_updater.state_dict()}
    torch.testing.assert_close(model.blocks[0].scale1, linear.blocks[0].scale1)
    with pytest.raises(ValueError, match=r"2 of its entries have no place .*query_updater"):
        load_weights(model, linear.state_dict())  # which is no start of a training


def test_the_backbone_of_a_whole_model_can_be_taken(tmp_path):
    whole = shuffled(EoMT(Dinov2(*SIZE, image_size=32), 7, 3, 3))
    path = tmp_path / "whole.pth"
    torch.save({"model": whole.state_dict()}, path)
    overrides = [*TINY, "model.tapped_blocks=[3]", "model.backbone.image_size=32", f"model.backbone.weights={path}"]
    config = read_config("lvmt/ovis/vit_large_dinov2", overrides)
    model = build_model(config)
    laterals = model.laterals.scales[0].clone()
    report = load_initial_weights(model, config)
    assert report.loaded == tuple(f"backbone.{name}" for name in model.backbone.state_dict()) and not report.unused
    torch.testing.assert_close(model.backbone.state_dict(), whole.backbone.state_dict())
    torch.testing.assert_close(model.laterals.scales[0], laterals)
