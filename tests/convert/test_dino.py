"""Backbones of DINOv2 and DINOv3 as they are published, against transformers where it is installed."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from video_mask2former.convert import dino
from video_mask2former.models.backbones.vit import Dinov2, Dinov3


def load(backbone, key_map, weights, *adapt) -> None:
    converted = key_map.to_ours(weights)
    assert not converted.unknown
    ours = converted.weights
    for change in adapt:
        ours = change(ours)
    backbone.load_state_dict({key.removeprefix("backbone."): tensor for key, tensor in ours.items()})


def own_weights(backbone) -> dict[str, torch.Tensor]:
    return {f"backbone.{key}": tensor for key, tensor in backbone.state_dict().items()}


def scrambled(model) -> None:
    """Weights that matter: transformers starts factors and biases at values that hide mistakes."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * (0.1 if parameter.ndim > 1 else 0.5))


def test_positions_of_dinov2_are_resampled_when_it_is_loaded(golden):
    figures = golden("dinov2_resample")
    rng = np.random.Generator(np.random.PCG64(json.loads(str(figures["meta"]))["seed"]))
    kernel, positions, token = (
        torch.from_numpy(rng.standard_normal(shape)).float() for shape in ((2, 3, 14, 14), (1, 1370, 6), (1, 1, 6))
    )
    weights = {"backbone.pos_embed": positions, "backbone.cls_token": token, "backbone.patch_embed.weight": kernel}
    own = {
        "backbone.pos_embed": torch.empty(1, 1600, 6),
        "backbone.cls_token": token,
        "backbone.patch_embed.weight": torch.empty(2, 3, 16, 16),
    }
    fitted = dino.fit_dinov2(weights, own)
    np.testing.assert_allclose(fitted["backbone.cls_token"], figures["cls_merged"], atol=1e-6)
    resampled = fitted["backbone.pos_embed"][0].unflatten(0, (40, 40))
    np.testing.assert_allclose(resampled[::3, ::3], figures["pos37_to_40"], atol=1e-5)
    np.testing.assert_allclose(fitted["backbone.patch_embed.weight"], figures["patch14_to_16"], atol=1e-5)
    own["backbone.pos_embed"] = torch.empty(1, 24, 6)
    with pytest.raises(ValueError, match="between squares only, got 1369 in the checkpoint and 24"):
        dino.fit_dinov2(weights, own)


@torch.no_grad()
def test_dinov2_of_transformers_gives_the_same_features():
    transformers = pytest.importorskip("transformers")
    config = transformers.Dinov2WithRegistersConfig(
        hidden_size=24, num_hidden_layers=2, num_attention_heads=2, image_size=64, patch_size=16
    )
    theirs = transformers.Dinov2WithRegistersModel(config).double().eval()
    scrambled(theirs)
    ours = Dinov2(24, 2, 2, image_size=64).double().eval()
    load(ours, dino.HUGGINGFACE_DINOV2, theirs.state_dict(), lambda w: dino.fit_dinov2(w, own_weights(ours)))
    frames = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    expected = theirs(frames).last_hidden_state[:, 5:]
    torch.testing.assert_close(ours(frames)["res4"].flatten(2).transpose(1, 2), expected, rtol=0, atol=1e-6)


@torch.no_grad()
def test_dinov3_of_transformers_gives_the_same_features():
    transformers = pytest.importorskip("transformers")
    config = transformers.DINOv3ViTConfig(
        hidden_size=24, num_hidden_layers=2, num_attention_heads=2, intermediate_size=96, num_register_tokens=4
    )
    theirs = transformers.DINOv3ViTModel(config).double().eval()
    scrambled(theirs)
    ours = Dinov3(24, 2, 2).double().eval()
    load(ours, dino.HUGGINGFACE_DINOV3, theirs.state_dict())
    frames = torch.randn(2, 3, 48, 80, dtype=torch.float64)
    expected = theirs(frames).last_hidden_state[:, 5:]
    torch.testing.assert_close(ours(frames)["res4"].flatten(2).transpose(1, 2), expected, rtol=0, atol=1e-5)


def test_dinov3_of_its_authors_and_of_timm_are_the_same_model():
    backbone = Dinov3(24, 2, 2)
    scrambled(backbone)
    state = own_weights(backbone)
    authors, timm = {}, {}
    for name, tensor in state.items():
        key = name.removeprefix("backbone.").replace("patch_embed.", "patch_embed.proj.")
        for ours, theirs in ((".attention.projection.", ".attn.proj."), (".mlp.linear", ".mlp.fc")):
            key = key.replace(ours, theirs)
        if key.endswith("qkv_bias"):
            query, value = tensor.chunk(2)
            place = key.removesuffix("attention.qkv_bias") + "attn."
            authors[f"{place}qkv.bias"] = torch.cat([query, torch.full_like(query, torch.nan), value])
            authors[f"{place}qkv.bias_mask"] = torch.ones(3 * len(query))
            timm |= {f"{place}q_bias": query, f"{place}v_bias": value}
        else:
            key = key.replace("attention.qkv_weight", "attn.qkv.weight")
            authors[key.replace("register_tokens", "storage_tokens").replace(".scale1", ".ls1.gamma")] = tensor
            timm[key.replace("register_tokens", "reg_token").replace(".scale", ".gamma_")] = tensor
    authors = {key.replace(".scale2", ".ls2.gamma"): tensor for key, tensor in authors.items()}
    authors |= {"mask_token": torch.zeros(1, 24), "rope_embed.periods": torch.ones(3)}
    for key_map, weights in ((dino.DINOV3, authors), (dino.TIMM_DINOV3, timm)):
        loaded = Dinov3(24, 2, 2)
        load(loaded, key_map, weights, dino.drop_key_bias)
        assert all(tensor.equal(state[f"backbone.{key}"]) for key, tensor in loaded.state_dict().items())
    without = {key: tensor for key, tensor in timm.items() if not key.endswith("_bias")}
    load(loaded, dino.TIMM_DINOV3, without, dino.drop_key_bias)
    assert not loaded.blocks[0].attention.qkv_bias.any()
