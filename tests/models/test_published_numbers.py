"""Whole models in float64 against the published implementations, loaded the way a published checkpoint is loaded."""

from __future__ import annotations

import gzip
import json
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

import video_mask2former as vm2f

NUM_QUERIES = 20
CASES = {
    "video_R50_T3": ("ytvis2019_R50", "configs/ytvis_2019/r50.yaml"),
    "video_R50_T1": ("ytvis2019_R50", "configs/ytvis_2019/r50.yaml"),
    "video_swin_tiny_T2": ("ytvis2019_swin_tiny", "configs/ytvis_2019/swin_tiny.yaml"),
    "image_coco_instance_R50": ("coco_instance_R50", "configs/coco/instance/r50.yaml"),
}


def weight_by_name(name: str, shape: list[int]) -> torch.Tensor:
    """The weight that the recorded runs gave to a parameter of this published name and shape."""
    x = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode()))).standard_normal(shape)
    last = name.rsplit(".", 1)[-1]
    if last == "running_var":
        x = 1 + 0.1 * np.abs(x)
    elif last in ("running_mean", "relative_position_bias_table"):
        x = 0.1 * x
    elif last == "bias":
        x = 0.02 * x
    elif x.ndim == 1:
        x = 1 + 0.1 * x
    elif "query" not in name and "level_embed" not in name:
        x = x / np.sqrt(np.prod(x.shape[1:]))
    return torch.from_numpy(x)


def published_checkpoint(shapes: dict[str, list[int]], num_queries: int) -> dict[str, torch.Tensor]:
    """A checkpoint as published, integer buffers left out, with fewer queries."""
    weights = {}
    for name, shape in shapes.items():
        if name.endswith(("relative_position_index", "empty_weight")):
            continue
        is_query = name.endswith(("query_feat.weight", "query_embed.weight"))
        weights[name] = weight_by_name(name, [num_queries, *shape[1:]] if is_query else shape)
    return weights


@pytest.fixture(scope="module")
def all_shapes() -> dict[str, dict[str, list[int]]]:
    path = Path(__file__).parents[1] / "data" / "golden" / "state_dict_shapes.json.gz"
    return json.loads(gzip.decompress(path.read_bytes()))


def run(case: str, all_shapes, tmp_path, figures) -> tuple[vm2f.VideoMask2Former, torch.Tensor]:
    shapes, config = CASES[case]
    path = tmp_path / "model_final.pth"
    torch.save({"model": published_checkpoint(all_shapes[shapes], NUM_QUERIES)}, path)
    model = vm2f.load(config, weights=path, overrides=[f"model.num_queries={NUM_QUERIES}"], dtype=torch.float64)
    rng = np.random.Generator(np.random.PCG64(int(figures["seed"])))
    size = tuple(int(figures[axis]) for axis in "THW")
    return model, torch.from_numpy(rng.random((size[0], 3, *size[1:])) * 255)[None]


@pytest.mark.parametrize("case", CASES)
@torch.no_grad()
def test_whole_model_equals_the_published_one(case, all_shapes, tmp_path, golden):
    figures = golden(case)
    model, frames = run(case, all_shapes, tmp_path, figures)
    features = model.encode(frames)
    output = model.decode(features)

    def assert_close(value: torch.Tensor, name: str) -> None:
        np.testing.assert_allclose(value.numpy().reshape(figures[name].shape), figures[name], atol=1e-5, rtol=1e-5)

    assert_close(features.mask_features[0].mean((2, 3)), "mask_features_mean")
    for level, maps in enumerate(features.levels):
        assert_close(maps[0].mean((2, 3)), f"multi_scale_{level}_mean")
    assert_close(output.class_logits, "pred_logits")
    assert_close(output.mask_logits.dense(), "pred_masks")
    assert_close(output.auxiliary[0].class_logits, "aux0_pred_logits")
    assert_close(output.auxiliary[4].class_logits, "aux4_pred_logits")
    assert_close(output.auxiliary[4].mask_logits.dense(), "aux4_pred_masks")


@pytest.mark.parametrize("case", ["video_R50_T1", "video_swin_tiny_T2"])
@torch.no_grad()
def test_backbone_equals_the_published_one(case, all_shapes, tmp_path, golden):
    figures = golden(case)
    model, frames = run(case, all_shapes, tmp_path, figures)
    normalised, _ = model.normalise_and_pad(frames)
    for name, maps in model.backbone(normalised[0]).items():
        np.testing.assert_allclose(maps.mean((2, 3))[:, :32], figures[f"feat_mean_{name}"], atol=1e-5)
        assert float(maps.std()) == pytest.approx(float(figures[f"feat_std_{name}"]), abs=1e-5)
