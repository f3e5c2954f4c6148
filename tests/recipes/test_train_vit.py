"""Trainings of mask transformers on ViT from a configuration: chunks and annealing reach the trainer."""

from __future__ import annotations

import pytest

import video_mask2former as vm2f
from video_mask2former.data.synthetic import SceneStyle, write_synthetic_dataset
from video_mask2former.engine import read_records
from video_mask2former.recipes.source import read_config

TINY = {
    "model.backbone.embed_dim": 24,
    "model.backbone.depth": 2,
    "model.backbone.num_heads": 2,
    "model.num_queries": 5,
    "model.class_list": None,
    "data.train_ratios": [],
    "data.num_workers": 0,
    "data.short_sides": [32],
    "loss.num_points": 32,
    "training.batch_size": 1,
    "training.max_steps": 2,
    "training.warmup_steps": 0,
    "training.log_period": 1,
    "training.amp_dtype": "float32",
    "training.evaluate": False,
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shapes")
    write_synthetic_dataset(folder, 2, SceneStyle(num_frames=4, size=(48, 64), object_sides=(0.4, 0.8)), seed=1)
    return [f"{folder / 'JPEGImages'}::{folder / 'instances.json'}"]


def test_lvmt_is_trained_in_chunks_on_a_frozen_encoder(data, tmp_path):
    options = TINY | {
        "data.train": data,
        "data.num_frames": 4,
        "model.tapped_blocks": [0, 1],
        "training.propagation_frames": 2,
    }
    config = read_config("lvmt/ovis/vit_large_dinov3", options)
    vm2f.train(config, output=tmp_path, device="cpu")
    records = [record for record in read_records(tmp_path / "metrics.jsonl") if "loss" in record]
    assert len(records) == 2 and "loss_ce_4" in records[0] and "loss_ce_5" not in records[0]
    trained = vm2f.load(tmp_path / "model_final.pth")
    assert type(trained).__name__ == "LVMT" and trained.num_classes == 4


def test_eomt_is_trained_with_masks_that_end(data, tmp_path):
    options = TINY | {
        "data.train": data,
        "data.crop_size": [32, 32],
        "model.backbone.image_size": 32,
        "model.size_divisibility": 32,
        "model.num_query_blocks": 2,
        "model.annealing_starts": [0, 1],
        "model.annealing_ends": [1, 4],
        "training.backbone_warmup_steps": 0,
    }
    vm2f.train("eomt/coco_panoptic/vit_small_dinov2_640", overrides=options, output=tmp_path, device="cpu")
    trained = vm2f.load(tmp_path / "model_final.pth")
    assert trained.annealing.probabilities.tolist() == [0.0, 1.0]  # at the last step, which is step 1
