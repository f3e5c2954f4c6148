"""Names and configuration of Hugging Face's MaskFormer (``MaskFormerForInstanceSegmentation``)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict

from video_mask2former.convert.huggingface import (
    HUGGINGFACE_RESNET,
    HUGGINGFACE_SWIN,
    HUGGINGFACE_SWIN_ALIASES,
)
from video_mask2former.convert.huggingface_config import (
    backbone_options,
    check_supported,
    inference_options,
    names_of_classes,
    normalisation,
)
from video_mask2former.convert.key_map import Concatenation, Entry, Ignored, KeyMap, Rename, prefixed
from video_mask2former.option_values import parse_value

_ENCODER = "model.pixel_level_module.encoder."
_LAYER = "model.transformer_module.decoder.layers.{layer}"
_PARAMETERS = ("weight", "bias")

_SUPPORTED: dict[str, tuple[object, ...]] = {"model_type": ("maskformer",)}
_DECODER_OPTIONS = {
    "d_model": "hidden_dim",
    "num_queries": "num_queries",
    "decoder_layers": "num_layers",
    "decoder_attention_heads": "num_heads",
    "decoder_ffn_dim": "feedforward_dim",
}
_LOSS_OPTIONS = {
    "cross_entropy_weight": "class_weight",
    "mask_weight": "mask_weight",
    "dice_weight": "dice_weight",
    "no_object_weight": "no_object_weight",
}


class _Decoder(TypedDict):
    """The keys of ``decoder_config`` that are read."""

    d_model: int
    num_queries: int
    decoder_layers: int
    decoder_attention_heads: int
    decoder_ffn_dim: int


class _Config(TypedDict, total=False):
    """The keys of ``config.json`` that are read."""

    backbone_config: Mapping[str, Any]
    decoder_config: Mapping[str, Any]
    id2label: Mapping[str, str] | None
    num_labels: int
    fpn_feature_size: int
    mask_feature_size: int
    cross_entropy_weight: float
    mask_weight: float
    dice_weight: float
    no_object_weight: float


def _attention(theirs: str, ours: str) -> list[Entry]:
    return [
        *(
            Concatenation(
                tuple(f"{_LAYER}.{theirs}.{part}_proj.{parameter}" for part in "qkv"),
                f"decoder.layers.{{layer}}.{ours}.attention.in_proj_{parameter}",
            )
            for parameter in _PARAMETERS
        ),
        Rename(
            f"{_LAYER}.{theirs}.o_proj.{{parameter}}",
            f"decoder.layers.{{layer}}.{ours}.attention.out_proj.{{parameter}}",
        ),
        Rename(f"{_LAYER}.{theirs}_layer_norm.{{parameter}}", f"decoder.layers.{{layer}}.{ours}.norm.{{parameter}}"),
    ]


def _pyramid() -> list[Entry]:
    """Their levels count from the coarsest."""
    fpn = "model.pixel_level_module.decoder.fpn"
    entries: list[Entry] = []
    blocks = [(f"{fpn}.stem", "outputs.res5")]
    for index, level in enumerate(("res4", "res3", "res2")):
        blocks.append((f"{fpn}.layers.{index}.proj", f"laterals.{level}"))
        blocks.append((f"{fpn}.layers.{index}.block", f"outputs.{level}"))
    for theirs, ours in blocks:
        entries.append(Rename(f"{theirs}.0.weight", f"pixel_decoder.{ours}.conv.weight"))
        entries.append(Rename(f"{theirs}.1.{{parameter}}", f"pixel_decoder.{ours}.norm.{{parameter}}"))
    return entries


HUGGINGFACE_MASKFORMER = KeyMap(
    [
        *prefixed(HUGGINGFACE_SWIN, f"{_ENCODER}model.", "backbone."),
        *prefixed(HUGGINGFACE_SWIN, _ENCODER, "backbone."),
        *prefixed(HUGGINGFACE_RESNET, _ENCODER, "backbone."),
        *_pyramid(),
        Rename(
            "model.pixel_level_module.decoder.mask_projection.{parameter}", "pixel_decoder.mask_projection.{parameter}"
        ),
        Rename("model.transformer_module.queries_embedder.weight", "decoder.query_embed.weight"),
        Rename("model.transformer_module.input_projection.{parameter}", "decoder.input_projection.{parameter}"),
        *_attention("self_attn", "self_attention"),
        *_attention("encoder_attn", "cross_attention"),
        Rename(
            f"{_LAYER}.mlp.fc{{index}}.{{parameter}}", "decoder.layers.{layer}.feed_forward.linear{index}.{parameter}"
        ),
        Rename(f"{_LAYER}.final_layer_norm.{{parameter}}", "decoder.layers.{layer}.feed_forward.norm.{parameter}"),
        Rename("model.transformer_module.decoder.layernorm.{parameter}", "decoder.norm.{parameter}"),
        Rename("class_predictor.{parameter}", "decoder.class_embed.{parameter}"),
        Rename("mask_embedder.{layer}.0.{parameter}", "decoder.mask_embed.layers.{layer}.{parameter}"),
        Ignored("criterion.empty_weight", "made from the configuration"),
    ],
    aliases=[
        *(Rename(_ENCODER + alias.theirs, _ENCODER + alias.ours) for alias in HUGGINGFACE_SWIN_ALIASES),
        # names of earlier releases
        Rename(f"{_LAYER}.self_attn.out_proj.{{parameter}}", f"{_LAYER}.self_attn.o_proj.{{parameter}}"),
        Rename(f"{_LAYER}.encoder_attn.out_proj.{{parameter}}", f"{_LAYER}.encoder_attn.o_proj.{{parameter}}"),
        Rename(f"{_LAYER}.fc{{index}}.{{parameter}}", f"{_LAYER}.mlp.fc{{index}}.{{parameter}}"),
    ],
)


def convert_maskformer_config(
    values: Mapping[str, Any], preprocessor: Mapping[str, Any], origin: str
) -> dict[str, Any]:
    """Our options for those of a MaskFormer; see :func:`~video_mask2former.convert.huggingface_config.convert_config`.

    Raises:
        ValueError: If a part of it is not here, or an option has the wrong type.
    """
    file = f"config.json of {origin}"
    check_supported(values, _SUPPORTED, origin)
    config = parse_value(values, _Config, "", file)
    decoder = parse_value(config.get("decoder_config", {}), _Decoder, "decoder_config", file)
    model = {
        "num_classes": len(config["id2label"]) if config.get("id2label") else config.get("num_labels", 2),
        "class_list": None,
        "class_names": names_of_classes(config),
        "backbone": backbone_options(config["backbone_config"], origin),
        "pixel_decoder": {
            "name": "fpn",
            "hidden_dim": config.get("fpn_feature_size", 256),
            "mask_dim": config.get("mask_feature_size", 256),
        },
        "decoder": {"name": "detr"} | {ours: decoder[theirs] for theirs, ours in _DECODER_OPTIONS.items()},
        **normalisation(preprocessor, origin),
    }
    rest = inference_options(values, preprocessor, origin, is_video=False)
    if rest["task"] == "panoptic":
        rest["task"] = {"name": "panoptic", "fill": True}
    loss = {ours: config[theirs] for theirs, ours in _LOSS_OPTIONS.items() if theirs in config}
    return {"model": model, "loss": {"name": "whole_mask"} | loss} | rest
