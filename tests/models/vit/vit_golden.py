"""Mask transformers on ViT with the weights and inputs of the recorded runs of the published code."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from video_mask2former.convert.key_map import KeyMap
from video_mask2former.structures import ClipTarget

_UNSCALED = ("pos_embed", "cls_token", "reg_token", "register_tokens")


def weight_by_name(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """The weight that the recorded runs gave to a parameter of this published name and shape."""
    x = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode()))).standard_normal(shape)
    last = name.rsplit(".", 1)[-1]
    if last == "running_var":
        x = 1 + 0.1 * np.abs(x)
    elif last == "running_mean":
        x = 0.1 * x
    elif last == "bias":
        x = 0.02 * x
    elif last in _UNSCALED or name.endswith(".q.weight"):
        pass
    elif x.ndim == 1:
        x = 1 + 0.1 * x
    else:
        x = x / np.sqrt(np.prod(x.shape[1:]))
    return torch.from_numpy(4 * x if name.endswith("class_head.weight") else x)


def published_weights(model: nn.Module, key_map: KeyMap) -> dict[str, torch.Tensor]:
    """A checkpoint of this model as published, under the published names."""
    named = key_map.to_theirs(model.state_dict())
    kept = ("attn_mask_probs", "num_batches_tracked")
    return {
        name: value if name.endswith(kept) else weight_by_name(name, tuple(value.shape))
        for name, value in named.items()
    }


def load_published(model: nn.Module, key_map: KeyMap) -> nn.Module:
    """``model`` in float64 with the weights of the recorded runs, through the table of names."""
    converted = key_map.to_ours(published_weights(model, key_map))
    assert not converted.unknown
    model.double().load_state_dict(converted.weights)
    return model.eval()


def meta(figures: Mapping[str, np.ndarray]) -> dict:
    """What a file of figures says of how it was made."""
    return json.loads(str(figures["meta"]))


def video(figures: Mapping[str, np.ndarray]) -> torch.Tensor:
    """The clip of a recorded run, ``(1, T, 3, H, W)`` RGB 0..255."""
    about = meta(figures)
    rng = np.random.Generator(np.random.PCG64(about["seed"]))
    return torch.from_numpy(rng.random((about["T"], 3, about["H"], about["W"])) * 255)[None]


def unpacked(figures: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    """Boolean arrays that were stored as bits."""
    shape = figures[f"{name}_shape"]
    return np.unpackbits(figures[f"{name}_bits"])[: shape.prod()].reshape(shape).astype(bool)


def target(figures: Mapping[str, np.ndarray], prefix: str = "") -> ClipTarget:
    """The annotation that the recorded losses were computed with."""
    labels = torch.from_numpy(figures[f"{prefix}train_target_labels"])
    return ClipTarget(labels, torch.from_numpy(unpacked(figures, f"{prefix}train_target_masks")))


def assert_close(value: torch.Tensor, expected: np.ndarray, atol: float = 1e-5) -> None:
    """Equal to the figures, which were stored in float32."""
    np.testing.assert_allclose(value.detach().numpy().reshape(expected.shape), expected, atol=atol, rtol=1e-5)
