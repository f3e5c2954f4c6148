"""DINOv2 (with registers) and DINOv3 as their authors, timm and Hugging Face publish them: backbones to start from."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from video_mask2former.convert.key_map import Concatenation, Entry, Ignored, KeyMap, Rename, prefixed
from video_mask2former.convert.vit_keys import TIMM_BLOCKS, TIMM_DINOV2, separate_blocks
from video_mask2former.ops.vit_resampling import resample_patch_kernel, resample_positions

_IN_PYRAMID = "backbone.vit."
_NO_MASKING = "stands for masked patches in pre-training"
_POSITIONS, _CLASS, _PATCHES = "backbone.pos_embed", "backbone.cls_token", "backbone.patch_embed.weight"


def _backbone(entries: Iterable[Entry], aliases: Iterable[Rename] = ()) -> KeyMap:
    return KeyMap(prefixed(entries, "", "backbone."), tuple(aliases))


DINOV2 = _backbone(
    [
        *TIMM_DINOV2,
        Rename("blocks.{block}.mlp.w12.{parameter}", "blocks.{block}.mlp.linear1.{parameter}"),
        Rename("blocks.{block}.mlp.w3.{parameter}", "blocks.{block}.mlp.linear2.{parameter}"),
        Ignored("mask_token", _NO_MASKING),
    ],
    [Rename("register_tokens", "reg_token")],
)
"""The authors' and timm's."""

_LAYER = "encoder.layer.{block}"
HUGGINGFACE_DINOV2 = _backbone(
    [
        Rename("embeddings.cls_token", "cls_token"),
        Rename("embeddings.register_tokens", "register_tokens"),
        Rename("embeddings.position_embeddings", "pos_embed"),
        Rename("embeddings.patch_embeddings.projection.{parameter}", "patch_embed.{parameter}"),
        Ignored("embeddings.mask_token", _NO_MASKING),
        *separate_blocks(_LAYER, key_bias=True, output="o_proj", mlp=("fc1", "fc2")),
        Rename(f"{_LAYER}.mlp.weights_in.{{parameter}}", "blocks.{block}.mlp.linear1.{parameter}"),
        Rename(f"{_LAYER}.mlp.weights_out.{{parameter}}", "blocks.{block}.mlp.linear2.{parameter}"),
        Rename("layernorm.{parameter}", "norm.{parameter}"),
    ],
    [
        Rename("dinov2_with_registers.{rest}", "{rest}"),
        *(
            Rename(f"{_LAYER}.attention.attention.{name}.{{parameter}}", f"{_LAYER}.attention.{short}.{{parameter}}")
            for name, short in (("query", "q_proj"), ("key", "k_proj"), ("value", "v_proj"))
        ),
        Rename(f"{_LAYER}.attention.output.dense.{{parameter}}", f"{_LAYER}.attention.o_proj.{{parameter}}"),
    ],
)

_DINOV3_TOKENS: tuple[Entry, ...] = (
    Rename("cls_token", "cls_token"),
    Rename("patch_embed.proj.{parameter}", "patch_embed.{parameter}"),
    Rename("norm.{parameter}", "norm.{parameter}"),
    Ignored("mask_token", _NO_MASKING),
)
DINOV3 = _backbone(
    [
        *_DINOV3_TOKENS,
        Rename("storage_tokens", "register_tokens"),
        Ignored("rope_embed.periods", "made from the head dimension"),
        Ignored("blocks.{block}.attn.qkv.bias_mask", "keys have no bias"),
        *TIMM_BLOCKS,
    ]
)
TIMM_DINOV3 = _backbone(
    [
        *_DINOV3_TOKENS,
        Rename("reg_token", "register_tokens"),
        Rename("blocks.{block}.gamma_{index}", "blocks.{block}.scale{index}"),
        Concatenation(
            ("blocks.{block}.attn.q_bias", "blocks.{block}.attn.v_bias"), "blocks.{block}.attention.qkv_bias"
        ),
        *TIMM_BLOCKS,
    ]
)
HUGGINGFACE_DINOV3 = _backbone(
    [
        Rename("embeddings.cls_token", "cls_token"),
        Rename("embeddings.register_tokens", "register_tokens"),
        Rename("embeddings.patch_embeddings.{parameter}", "patch_embed.{parameter}"),
        Ignored("embeddings.mask_token", _NO_MASKING),
        *separate_blocks("layer.{block}", key_bias=False, output="o_proj", mlp=("up_proj", "down_proj")),
        Rename("norm.{parameter}", "norm.{parameter}"),
    ],
    [Rename("model.layer.{rest}", "layer.{rest}")],
)


def drop_key_bias(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """DINOv3 with the biases of queries and values only; zeros where a file has none at all."""
    adapted = dict(weights)
    for key, tensor in weights.items():
        if not key.endswith(".attention.qkv_weight"):
            continue
        name = key.removesuffix("weight") + "bias"
        dim = tensor.shape[1]
        bias = weights.get(name)
        if bias is None:
            adapted[name] = tensor.new_zeros(2 * dim)
        elif len(bias) == 3 * dim:
            adapted[name] = torch.cat([bias[:dim], bias[2 * dim :]])
    return adapted


def fit_pyramid(weights: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same weights under the names that they have in the model, whose backbone may be a pyramid on a ViT."""
    if not any(key.startswith(_IN_PYRAMID) for key in own):
        return dict(weights)
    return {key.replace("backbone.", _IN_PYRAMID, 1): value for key, value in weights.items()}


def fit_dinov2(weights: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """DINOv2 resampled to a model's patches and positions.

    The position of the class token, where a file has it, goes into the token itself.

    Args:
        weights: Under our names.
        own: The model's.

    Raises:
        ValueError: If positions have to be resampled to or from a grid that is not a square.
    """
    fitted = dict(weights)
    whole, own = own, _without_pyramid(own)
    if not {_POSITIONS, _CLASS, _PATCHES} <= own.keys() & weights.keys():
        return fit_pyramid(fitted, whole)
    positions = weights[_POSITIONS]
    if math.isqrt(positions.shape[1] - 1) ** 2 == positions.shape[1] - 1:
        fitted[_CLASS] = weights[_CLASS] + positions[:, :1]
        positions = positions[:, 1:]
    count, wanted = positions.shape[1], own[_POSITIONS].shape[1]
    if count != wanted:
        grids = [(math.isqrt(number), math.isqrt(number)) for number in (count, wanted)]
        if [math.prod(grid) for grid in grids] != [count, wanted]:
            raise ValueError(
                f"positions can be resampled between squares only, got {count} in the checkpoint and {wanted} in the "
                "model. Give model.backbone.image_size as one number."
            )
        positions = resample_positions(positions, *grids)
    fitted[_POSITIONS] = positions
    fitted[_PATCHES] = resample_patch_kernel(weights[_PATCHES], own[_PATCHES].shape[-1])
    return fit_pyramid(fitted, whole)


def _without_pyramid(own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A model's values under the names that a transformer has as backbone of a mask transformer."""
    return {key.replace(_IN_PYRAMID, "backbone.", 1): value for key, value in own.items()}
