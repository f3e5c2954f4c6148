"""The relatives through the front door: published files load by name, videos run, losses are chosen by name."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

import video_mask2former as vm2f
from video_mask2former.cli import main
from video_mask2former.config import Config, apply_overrides, config_from_mapping, to_yaml
from video_mask2former.convert import write_checkpoint
from video_mask2former.convert.dat import IMAGENET_DAT
from video_mask2former.convert.maskformer import MASKFORMER
from video_mask2former.convert.max_deeplab import to_tensorflow
from video_mask2former.convert.struct_token import STRUCT_TOKEN_CROSS, STRUCT_TOKEN_JOINT
from video_mask2former.data.label_maps import LabelMapFolder
from video_mask2former.losses import CombinedCriterion
from video_mask2former.recipes.model import build_criterion, build_model
from video_mask2former.recipes.source import read_config
from video_mask2former.structures import ClipTarget

SMALL_SWIN = "{name: swin, embed_dim: 8, depths: [1, 1, 1, 1], num_heads: [1, 1, 2, 2], window_size: 2}"
SMALL = {
    "maskformer/coco_panoptic/r50": (
        f"model.backbone={SMALL_SWIN}",
        "model.hidden_dim=32",
        "model.num_heads=2",
        "model.num_queries=6",
        "model.pixel_decoder.mask_dim=32",
        "model.pixel_decoder.num_encoder_layers=1",
        "model.decoder.num_layers=2",
    ),
    "max_deeplab/coco_panoptic/s": (
        "model.width=0.0625",
        "model.stem_width=0.25",
        "model.num_queries=6",
        "model.memory_mlp_dim=16",
        "model.size_divisibility=16",
    ),
    "struct_token/ade20k/vit_tiny_pwe": (
        "model.num_layers=1",
        "model.backbone={embed_dim: 16, depth: 1, num_heads: 2, image_size: 64}",
    ),
    "struct_token/ade20k/vit_tiny_cse": (
        "model.num_layers=2",
        "model.backbone={embed_dim: 16, depth: 1, num_heads: 2, image_size: 64}",
    ),
    "class_queries/synthetic": (),
    "coco/instance/dat_tiny": (
        "model.backbone={embed_dim: 8, depths: [2, 2, 2, 2], num_heads: [1, 1, 2, 2], num_groups: [1, 2]}",
        "model.hidden_dim=32",
        "model.num_heads=2",
        "model.num_queries=6",
    ),
    "coco/instance/datpp_tiny": (
        "model.backbone={embed_dim: 8, depths: [1, 2, 1, 1], num_heads: [1, 1, 2, 2], num_groups: [1, 1, 1, 2]}",
        "model.hidden_dim=32",
        "model.num_heads=2",
        "model.num_queries=6",
    ),
}
TO_PUBLISHED = {
    "maskformer/coco_panoptic/r50": MASKFORMER.to_theirs,
    "max_deeplab/coco_panoptic/s": to_tensorflow,
    "struct_token/ade20k/vit_tiny_pwe": STRUCT_TOKEN_JOINT.to_theirs,
    "struct_token/ade20k/vit_tiny_cse": STRUCT_TOKEN_CROSS.to_theirs,
}


@pytest.mark.parametrize("name", TO_PUBLISHED)
def test_published_files_load_by_name(name, tmp_path):
    model = build_model(read_config(name, SMALL[name])).eval()
    published = TO_PUBLISHED[name](model.state_dict())
    path = tmp_path / "published.pth"
    if name.startswith("max_deeplab"):
        path = tmp_path / "published.npz"
        np.savez(path, **{key: value.numpy() for key, value in published.items()})
    else:
        torch.save({"state_dict": published}, path)
    loaded = vm2f.load(name, weights=path, overrides=SMALL[name])
    frames = torch.rand(1, 1, 3, 48, 64) * 255
    with torch.no_grad():
        output, expected = loaded(frames), model(frames)
    torch.testing.assert_close(output.class_logits, expected.class_logits)
    torch.testing.assert_close(output.mask_logits.dense(), expected.mask_logits.dense())


def test_imagenet_weights_of_dat_load(tmp_path):
    name = "coco/instance/datpp_tiny"
    source = build_model(read_config(name, SMALL[name]))
    weights = {
        f"backbone.{key}": value for key, value in source.backbone.state_dict().items() if "output_norms" not in key
    }
    theirs = IMAGENET_DAT.to_theirs(weights) | {
        "cls_norm.norm.weight": torch.ones(64),
        "cls_head.bias": torch.ones(1000),
    }
    path = tmp_path / "dat_pp_tiny_in1k_224.pth"
    torch.save({"model": theirs}, path)
    target = build_model(read_config(name, SMALL[name]))
    report = vm2f.convert.load_weights(target, vm2f.convert.read_checkpoint(path).weights)
    assert not report.missing and all(".output_norms." in key for key in report.reinitialised)
    torch.testing.assert_close(target.backbone.patch_embed[0].weight, source.backbone.patch_embed[0].weight)


@pytest.mark.parametrize("name", SMALL)
def test_videos_run(name):
    config = read_config(name, SMALL[name])
    model = build_model(config).eval()
    video = (torch.rand(3, 3, 40, 60) * 255).to(torch.uint8)
    options = {"window": 1, "short_side": 48, "score_threshold": 0.0, "top_k": 3}
    result = vm2f.segment_video(model, video, **options)
    assert result.num_frames == 3 and result.size == (40, 60)


@pytest.mark.parametrize("name", [name for name in SMALL if not name.endswith("_cse")])
def test_predict_answers_videos_by_the_task_of_the_configuration(name, tmp_path):
    """Models of images, their tasks and their windows over frames serve videos as they are."""
    config = read_config(name, (*SMALL[name], "inference.short_side=32", "inference.max_side=80"))
    weights = tmp_path / "model.safetensors"
    write_checkpoint(weights, build_model(config).state_dict(), to_yaml(config))
    frames = tmp_path / "clip"
    frames.mkdir()
    for index in range(2):
        picture = np.random.default_rng(index).integers(0, 255, (40, 60, 3), dtype=np.uint8)
        cv2.imwrite(str(frames / f"{index}.png"), picture)
    words = ["predict", str(frames), "--weights", str(weights), "--output", str(tmp_path / "out"), "--device", "cpu"]
    words += ["--score-threshold", "0"]
    is_semantic = config.task is not None and config.task.name == "semantic"
    assert main([*words, "--semantic"] if is_semantic else words) == 0
    folder = tmp_path / "out" / "clip"
    assert (folder / "overlay.mp4").is_file() and (folder / "tracks.json").is_file()
    if is_semantic:
        labels = LabelMapFolder(folder / "semantic").read("00001")
        assert labels.shape == (40, 60) and labels.max() < 150  # every pixel has a class


@pytest.mark.parametrize("name", SMALL)
def test_a_step_of_training(name):
    config = read_config(name, SMALL[name])
    model = build_model(config).train()
    frames = torch.randint(0, 255, (2, 1, 3, 64, 64))
    masks = torch.zeros(2, 1, 64, 64, dtype=torch.bool)
    masks[0, 0, :32], masks[1, 0, 32:] = True, True
    targets = [ClipTarget(torch.tensor([1, 2]), masks)] * 2
    losses = build_criterion(config)(model(frames), targets)
    sum(losses.values()).backward()
    trained = [parameter for parameter in model.parameters() if parameter.grad is not None]
    assert trained and all(parameter.grad.isfinite().all() for parameter in trained)


def test_losses_beside_that_of_the_model(small_config, clip_maker):
    config = apply_overrides(
        small_config,
        ["losses=[{name: panoptic_quality, weight: 2.0, mask_id_weight: 0.3}, {name: instance_discrimination}]"],
    )
    criterion = build_criterion(config)
    assert isinstance(criterion, CombinedCriterion)
    frames, target = clip_maker(2, 2, (64, 96))
    losses = criterion(build_model(config)(frames[None]), [target])
    added = {"loss_pq_mask", "loss_pq_class", "loss_mask_id", "loss_instance_discrimination"}
    assert added < losses.keys() and "loss_dice" in losses
    twice = apply_overrides(config, ["losses=[{name: panoptic_quality}, {name: panoptic_quality}]"])
    with pytest.raises(ValueError, match="two losses have the name"):
        build_criterion(twice)(build_model(twice)(frames[None]), [target])


def test_a_criterion_of_another_name_takes_no_options_of_the_first(small_config):
    with pytest.raises(ValueError, match=r"loss\.num_points"):
        config = config_from_mapping({"loss": {"name": "whole_mask", "num_points": 12}}, "x")
        build_criterion(config)
    criterion = build_criterion(apply_overrides(Config(), ["loss={name: whole_mask, mask_weight: 7}"]))
    assert criterion.mask_weight == criterion.matcher.mask_weight == 7.0 and criterion.matcher.class_weight == 1.0


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("backbone", ["swin", "resnet"])
def test_maskformer_equals_transformers(backbone, tmp_path):
    transformers = pytest.importorskip("transformers")
    stages = ["stage1", "stage2", "stage3", "stage4"]
    if backbone == "swin":
        backbone_config = transformers.SwinConfig(
            embed_dim=16,
            depths=[1, 1, 2, 1],
            num_heads=[1, 1, 2, 2],
            window_size=2,
            image_size=64,
            out_features=stages,
            drop_path_rate=0.0,
        )
    else:
        backbone_config = transformers.ResNetConfig(out_features=stages)
    decoder_config = transformers.DetrConfig(
        d_model=32,
        decoder_layers=2,
        decoder_attention_heads=4,
        decoder_ffn_dim=64,
        num_queries=6,
        encoder_attention_heads=4,
    )
    config = transformers.MaskFormerConfig(
        backbone_config=backbone_config,
        decoder_config=decoder_config,
        fpn_feature_size=32,
        mask_feature_size=32,
        num_labels=5,
    )
    theirs = transformers.MaskFormerForInstanceSegmentation(config).eval()
    for parameter in theirs.parameters():
        if parameter.ndim == 1:
            torch.nn.init.normal_(parameter, 1.0, 0.1)
    theirs.save_pretrained(tmp_path)
    ours = vm2f.load(tmp_path, dtype=torch.float64)
    frames = torch.rand(1, 1, 3, 64, 96).double() * 255
    pixels, _ = ours.normalise_and_pad(frames)
    with torch.no_grad():
        output, expected = ours(frames), theirs.double()(pixel_values=pixels[0])
    torch.testing.assert_close(output.class_logits, expected.class_queries_logits, atol=1e-9, rtol=1e-7)
    torch.testing.assert_close(output.mask_logits.dense()[:, :, 0], expected.masks_queries_logits, atol=1e-8, rtol=1e-7)
