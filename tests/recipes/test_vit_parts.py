"""Mask transformers on ViT from configurations."""

from __future__ import annotations

import pytest
import torch

from video_mask2former.config import Config, apply_overrides
from video_mask2former.losses import SetCriterion
from video_mask2former.losses.first_appearance import FirstAppearanceCriterion
from video_mask2former.models import LVMT, PMT, EoMT, VideoMask2Former, VidEoMT
from video_mask2former.models.backbones import Dinov2, Dinov3
from video_mask2former.recipes.model import build_criterion, build_model, complete_config
from video_mask2former.recipes.source import read_config

TINY = "embed_dim: 24, depth: 4, num_heads: 2"


def build(*overrides: str) -> torch.nn.Module:
    return build_model(apply_overrides(Config(), ["model.num_classes=4", *overrides])).eval()


@pytest.mark.parametrize(
    ("overrides", "segmenter", "backbone"),
    [
        (["model.name=eomt", f"model.backbone={{name: dinov2, {TINY}, image_size: 64}}"], EoMT, Dinov2),
        (["model.name=videomt", f"model.backbone={{name: dinov3, {TINY}}}"], VidEoMT, Dinov3),
        (["model.name=pmt", f"model.backbone={{name: dinov3, {TINY}}}", "model.tapped_blocks=[0, 2]"], PMT, Dinov3),
        (["model.name=lvmt", f"model.backbone={{name: dinov3, {TINY}}}", "model.tapped_blocks=[0, 2]"], LVMT, Dinov3),
    ],
)
@torch.no_grad()
def test_each_family_is_built_by_name(overrides, segmenter, backbone):
    model = build(*overrides, "model.num_queries=5")
    assert type(model) is segmenter and type(model.backbone) is backbone
    output = model(torch.rand(1, 2, 3, 32, 48) * 255)
    assert output.mask_logits.shape == (1, 5, 2, 8, 16)
    assert output.frame_class_logits.shape == (1, 2, 5, 5)


@torch.no_grad()
def test_a_vit_is_a_backbone_of_mask2former():
    model = build(
        f"model.backbone={{name: vit_pyramid, channels: 32, vit: {{name: dinov3, {TINY}}}}}",
        "model.hidden_dim=32",
        "model.num_heads=2",
    )
    assert type(model) is VideoMask2Former
    assert model(torch.rand(1, 1, 3, 64, 64) * 255).mask_logits.shape[3:] == (16, 16)
    features = model.backbone(torch.randn(1, 3, 64, 96))
    assert {name: tuple(maps.shape) for name, maps in features.items()} == {
        "res2": (1, 32, 16, 24),
        "res3": (1, 32, 8, 12),
        "res4": (1, 32, 4, 6),
        "res5": (1, 32, 2, 3),
    }


def test_only_a_vision_transformer_can_hold_queries():
    with pytest.raises(ValueError, match=r"backbone\.name must be one of dinov2, dinov3, or .*, got 'resnet'"):
        build("model.name=videomt", "model.backbone=resnet")
    with pytest.raises(ValueError, match="num_query_blocks must be from 1 to the 4 blocks"):
        build("model.name=videomt", f"model.backbone={{name: dinov3, {TINY}}}", "model.num_query_blocks=5")


def test_each_family_has_its_loss():
    losses = {
        "eomt/coco_panoptic/vit_small_dinov2_640": SetCriterion,
        "pmt/coco_panoptic/vit_small_dinov3_640": SetCriterion,
        "pmt/ovis/vit_large_dinov3": FirstAppearanceCriterion,
        "lvmt/ovis/vit_large_dinov2": FirstAppearanceCriterion,
        "videomt/vipseg/vit_large_dinov3": FirstAppearanceCriterion,
    }
    for name, expected in losses.items():
        assert type(build_criterion(read_config(name))) is expected, name


def test_defaults_are_written_out():
    config = apply_overrides(Config(), ["model.name=videomt", "model.backbone=dinov3"])
    options = complete_config(config).model.options
    assert options["num_query_blocks"] == 3
    assert options["backbone"]["embed_dim"] == 384
