"""From one stage of a training to the next, through the calls that people use."""

from __future__ import annotations

import torch

import video_mask2former as vm2f
from video_mask2former.config import apply_overrides
from video_mask2former.data.synthetic import SceneStyle, write_synthetic_dataset
from video_mask2former.engine import read_records

SMALL_PART = "num_video_queries: 5, num_encoder_layers: 2, num_decoder_layers: 1, feedforward_dim: 16, num_heads: 2"
SMALL_PART += ", hidden_dim: 16, num_token_layers: 2"


def test_genvis_is_trained_from_vita_which_was_trained_here(small_config, tmp_path):
    folder = tmp_path / "shapes"
    write_synthetic_dataset(folder, 2, SceneStyle(num_frames=4, size=(48, 64), object_sides=(0.4, 0.8)), seed=1)
    dataset = [f"{folder / 'JPEGImages'}::{folder / 'instances.json'}"]
    common = {
        "model.decoder.temporal_position_encoding": False,
        "data.train": dataset,
        "data.test": dataset,
        "data.num_workers": 0,
        "data.num_frames": 3,
        "data.short_sides": [48],
        "loss.num_points": 32,
        "training.batch_size": 2,
        "training.accumulation_steps": 2,
        "training.max_steps": 2,
        "training.log_period": 1,
        "training.amp_dtype": "float32",
        "inference.short_side": 48,
    }
    base = apply_overrides(small_config, common)
    vita = apply_overrides(base, [f"refiner={{name: vita, window: 3, {SMALL_PART}}}", "inference.mode=clip"])
    result = vm2f.train(vita, output=tmp_path / "vita", device="cpu")
    assert list(result.metrics)[:3] == ["AP", "AP50", "AP75"]
    (first, *_) = [record for record in read_records(tmp_path / "vita" / "metrics.jsonl") if "loss" in record]
    assert {"loss_similarity", "loss_mask", "loss_frame_mask", "loss_frame_ce_0"} <= first.keys()

    checkpoint = tmp_path / "vita" / "model_final.pth"
    options = [
        f"tracker={{name: genvis, clip_length: 2, {SMALL_PART}}}",
        "training.freeze=[segmenter]",
        f"training.init_weights={checkpoint}",
        "training.learning_rate=0",
        "training.weight_decay=0",
    ]
    vm2f.train(apply_overrides(base, options), output=tmp_path / "genvis", device="cpu")
    (first, *_) = [record for record in read_records(tmp_path / "genvis" / "metrics.jsonl") if "loss" in record]
    assert "loss_similarity" in first and not any(name.startswith("loss_frame") for name in first)
    before, after = vm2f.load(checkpoint), vm2f.load(tmp_path / "genvis" / "model_final.pth")
    assert after.tracker.clip_length == after.online_window == 2
    pairs = zip(
        before.refiner.aggregator.state_dict().items(), after.tracker.aggregator.state_dict().items(), strict=True
    )
    assert all(torch.equal(old, new) for (_, old), (_, new) in pairs)
