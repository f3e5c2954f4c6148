"""Hugging Face's EoMT (on DINOv2 and on DINOv3) and VidEoMT: names of their parameters, and their ``config.json``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from torch import Tensor

from video_mask2former.convert.key_map import Entry, Ignored, KeyMap, Rename, prefixed
from video_mask2former.convert.vit_keys import separate_blocks
from video_mask2former.messages import shortened
from video_mask2former.option_values import parse_value

MODEL_TYPES = {"eomt": "eomt", "eomt_dinov3": "eomt", "videomt": "videomt"}
"""Their model_type to our segmenter."""

_HEADS: tuple[Entry, ...] = (
    Rename("query.weight", "queries.weight"),
    Rename("query_updater.{parameter}", "query_updater.{parameter}"),
    Rename("class_predictor.{parameter}", "heads.class_head.{parameter}"),
    *(
        Rename(f"mask_head.fc{1 + index}.{{parameter}}", f"heads.mask_head.{2 * index}.{{parameter}}")
        for index in range(3)
    ),
    Rename("upscale_block.block.{block}.conv1.{parameter}", "heads.upscale.{block}.enlarge.{parameter}"),
    Rename("upscale_block.block.{block}.conv2.{parameter}", "heads.upscale.{block}.depthwise.{parameter}"),
    Rename("upscale_block.block.{block}.layernorm2d.{parameter}", "heads.upscale.{block}.norm.{parameter}"),
    Ignored("criterion.empty_weight", "made from the configuration"),
)
_TOKENS: tuple[Entry, ...] = (
    Rename("embeddings.cls_token", "cls_token"),
    Rename("embeddings.register_tokens", "register_tokens"),
    Ignored("embeddings.mask_token", "stands for masked patches in pre-training"),
    Rename("layernorm.{parameter}", "norm.{parameter}"),
)
_DINOV2: tuple[Entry, ...] = (
    *_TOKENS,
    Rename("embeddings.position_embeddings.weight", "pos_embed"),
    Rename("embeddings.patch_embeddings.projection.{parameter}", "patch_embed.{parameter}"),
    *separate_blocks("layers.{block}", key_bias=True, output="out_proj", mlp=("fc1", "fc2")),
)
_DINOV3: tuple[Entry, ...] = (
    *_TOKENS,
    Rename("embeddings.patch_embeddings.{parameter}", "patch_embed.{parameter}"),
    *separate_blocks("layers.{block}", key_bias=False, output="o_proj", mlp=("up_proj", "down_proj")),
)
_ANNEALING = Rename("attn_mask_probs", "annealing.probabilities")
_NO_ANNEALING = Ignored("attn_mask_probs", "masked attention is not used in videos")

EOMT = KeyMap([*prefixed(_DINOV2, "", "backbone."), *_HEADS, _ANNEALING])
EOMT_DINOV3 = KeyMap([*prefixed(_DINOV3, "", "backbone."), *_HEADS, _ANNEALING])
VIDEOMT = KeyMap([*prefixed(_DINOV2, "", "backbone."), *_HEADS, _NO_ANNEALING])


def with_batch_axis(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Positions as a batch of one, which they are a table of there."""
    return {
        key: value[None] if key == "backbone.pos_embed" and value.ndim == 2 else value for key, value in weights.items()
    }


_LOSS_OPTIONS = {
    "class_weight": "class_weight",
    "mask_weight": "mask_weight",
    "dice_weight": "dice_weight",
    "no_object_weight": "no_object_weight",
    "num_points": "train_num_points",
    "oversample_ratio": "oversample_ratio",
    "importance_sample_ratio": "importance_sample_ratio",
}
# What the configuration must say, where it says anything, for these models to compute the same.
_SUPPORTED: dict[str, tuple[object, ...]] = {
    "hidden_act": ("gelu",),
    "patch_size": (16,),
    "num_channels": (3,),
    "mlp_ratio": (4,),
    "num_upscale_blocks": (2,),
    "num_register_tokens": (4,),
    "use_gated_mlp": (False,),
    "key_bias": (False,),
}


class _NeededConfig(TypedDict):
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    image_size: int
    num_blocks: int
    num_queries: int


class _Config(_NeededConfig, total=False):
    """The keys of ``config.json`` that are read."""

    num_labels: int
    id2label: Mapping[str, str] | None
    use_swiglu_ffn: bool
    intermediate_size: int
    class_weight: float
    mask_weight: float
    dice_weight: float
    no_object_weight: float
    train_num_points: int
    oversample_ratio: float
    importance_sample_ratio: float


def convert_vit_config(
    values: Mapping[str, Any], origin: str, *, class_names: Sequence[str], task: str
) -> dict[str, Any]:
    """Our options for those of Hugging Face.

    LayerNorm in DINOv3 has an epsilon of 1e-5 whatever ``layer_norm_eps`` says, as in the published model.

    Args:
        values: Content of ``config.json``, whose ``model_type`` is one of ``MODEL_TYPES``.
        origin: Name of the folder, for errors.
        class_names: That ``config.json`` gives, none where they are placeholders.
        task: Of an image model.

    Raises:
        ValueError: If the configuration asks for something that these models do not have.
    """
    kind = values["model_type"]
    for key, allowed in _SUPPORTED.items():
        if key in values and values[key] not in allowed:
            expected = " or ".join(repr(value) for value in allowed)
            raise ValueError(f"{key} in config.json of {origin} must be {expected}, got {shortened(values[key])}.")
    config: Any = parse_value(values, _Config, "", f"config.json of {origin}")
    epsilon = values.get("layer_norm_eps", 1e-6)
    if kind != "eomt_dinov3" and epsilon != 1e-6:
        raise ValueError(f"layer_norm_eps in config.json of {origin} must be 1e-6, got {shortened(epsilon)}.")
    dim = config["hidden_size"]
    if config.get("intermediate_size", 4 * dim) != 4 * dim:
        raise ValueError(
            f"intermediate_size in config.json of {origin} must be four times hidden_size, {4 * dim}, "
            f"got {config['intermediate_size']}."
        )
    backbone = {
        "name": "dinov3" if kind == "eomt_dinov3" else "dinov2",
        "embed_dim": dim,
        "depth": config["num_hidden_layers"],
        "num_heads": config["num_attention_heads"],
    }
    if kind != "eomt_dinov3":
        backbone |= {"image_size": config["image_size"], "has_gate": config.get("use_swiglu_ffn", False)}
    model = {
        "name": MODEL_TYPES[kind],
        "num_classes": len(config["id2label"]) if config.get("id2label") else config.get("num_labels", 2),
        "class_list": None,
        "class_names": list(class_names),
        "backbone": backbone,
        "num_queries": config["num_queries"],
        "num_query_blocks": config["num_blocks"],
    }
    loss = {ours: config[theirs] for ours, theirs in _LOSS_OPTIONS.items() if theirs in config}
    inference: dict[str, Any] = {"mode": "online", "window": 1}
    if kind == "videomt":
        return {"model": model, "loss": loss, "inference": inference | {"short_side": 480}, "tracker": "slots"}
    side = config["image_size"]
    inference |= {"short_side": side, "max_side": side, "top_k": 100}
    return {"model": model | {"size_divisibility": side}, "loss": loss, "inference": inference, "task": task}
