"""A model that is split over two ranks trains as whole copies do, and its files are whole."""

from __future__ import annotations

import functools

import pytest
import torch
import toy_training

from video_mask2former import distributed
from video_mask2former.data.synthetic import SceneStyle, write_synthetic_dataset
from video_mask2former.engine import load_state, read_records, shard


def losses(folder):
    records = [record for record in read_records(folder / "metrics.jsonl") if "loss" in record]
    return [(record["step"], record["loss"], record["gradient_norm"]) for record in records]


def test_two_ranks_that_share_a_model_equal_two_with_copies(tmp_path) -> None:
    options = {"dropout": 0.0, "batch_size": 2, "max_steps": 4, "clip_norm": 0.5, "checkpoint_period": 2}
    split = options | {"sharded": True}
    evaluated = {
        name: {"evaluate": functools.partial(toy_training.save_weights, str(tmp_path / f"{name}_evaluated.pth"))}
        for name in ("copies", "split")
    }
    runs = [
        (str(tmp_path / "copies"), options | evaluated["copies"], False),
        (str(tmp_path / "split"), split | evaluated["split"], False),
        # from one kind to the other in the middle; the second half accumulates
        (str(tmp_path / "resumed"), options | {"max_steps": 2}, False),
        (str(tmp_path / "resumed"), split | {"batch_size": 1, "accumulation_steps": 2}, True),
    ]
    assert distributed.launch(2, toy_training.train_on_ranks, (runs,), "cpu") == 0
    expected = load_state(tmp_path / "copies" / "model_final.pth")["model"]
    state = load_state(tmp_path / "copies" / "checkpoint_0000004.pth")
    for name in ("split", "resumed"):
        found = load_state(tmp_path / name / "model_final.pth")["model"]
        assert found.keys() == expected.keys()
        for key, tensor in expected.items():
            torch.testing.assert_close(found[key], tensor, atol=1e-6, rtol=1e-5, msg=f"{name}: {key}")
        assert losses(tmp_path / name)[-1] == pytest.approx(losses(tmp_path / "copies")[-1], rel=1e-4)
        other = load_state(tmp_path / name / "checkpoint_0000004.pth")
        for index, values in state["optimizer"]["state"].items():
            for moment in ("exp_avg", "exp_avg_sq"):
                torch.testing.assert_close(
                    other["optimizer"]["state"][index][moment], values[moment], atol=1e-6, rtol=1e-4
                )
        averages = other["ema"]["averages"]
        assert all(torch.allclose(averages[key], value, atol=1e-6) for key, value in state["ema"]["averages"].items())
    # the evaluation, which no other rank takes part in, had the whole model of that step
    seen = [torch.load(tmp_path / f"{name}_evaluated.pth", weights_only=True) for name in ("copies", "split")]
    torch.testing.assert_close(seen[0], seen[1], atol=1e-6, rtol=1e-5)


def test_one_process_has_nothing_to_share() -> None:
    with pytest.raises(ValueError, match=r"training\.sharding splits a model over several processes, and this is one"):
        shard(toy_training.ToyModel())


def test_a_vision_transformer_is_split_by_its_blocks(tmp_path) -> None:
    write_synthetic_dataset(tmp_path, 2, SceneStyle(num_frames=2, size=(32, 48), object_sides=(0.4, 0.8)), seed=1)
    options = {
        "data.train": [f"{tmp_path / 'JPEGImages'}::{tmp_path / 'instances.json'}"],
        "data.num_workers": 0,
        "data.num_frames": 2,
        "data.short_sides": [32],
        "model.backbone.embed_dim": 24,
        "model.backbone.depth": 3,
        "model.backbone.num_heads": 2,
        "model.num_queries": 4,
        "loss.num_points": 16,
        "training.batch_size": 2,
        "training.max_steps": 2,
        "training.warmup_steps": 0,
        "training.backbone_warmup_steps": 0,
        "training.log_period": 1,
        "training.amp_dtype": "float32",
        "training.evaluate": False,
    }
    name = "videomt/synthetic/vit_small_dinov2"
    runs = [(name, options | {"training.sharding": kind}, str(tmp_path / kind)) for kind in ("none", "fsdp2")]
    assert distributed.launch(2, toy_training.train_from_configuration, (runs,), "cpu") == 0
    copies, split = (
        [record for record in read_records(tmp_path / kind / "metrics.jsonl") if "loss" in record]
        for kind in ("none", "fsdp2")
    )
    assert len(split) == 2
    for expected, found in zip(copies, split, strict=True):
        figures = [key for key in expected if key.startswith("loss") or key == "gradient_norm"]
        assert {key: found[key] for key in figures} == pytest.approx({key: expected[key] for key in figures}, rel=1e-4)
    weights = [load_state(tmp_path / kind / "model_final.pth")["model"] for kind in ("none", "fsdp2")]
    for key, tensor in weights[0].items():
        torch.testing.assert_close(weights[1][key], tensor, atol=1e-6, rtol=1e-4)
