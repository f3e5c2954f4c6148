"""Hugging Face checkpoints of Mask2Former, for images and for video: names of parameters, and ``config.json``.

The video checkpoints (``video-mask2former-*``) have the image model's names and configuration; only the class they were
saved from, or the name of the folder, tells them apart.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from video_mask2former.convert.key_map import Concatenation, Entry, Ignored, KeyMap, Rename, prefixed

logger = logging.getLogger(__name__)

HUGGINGFACE_CONFIG = "config.json"

_BLOCK = "encoder.layers.{stage}.blocks.{block}"
_OUR_BLOCK = "stages.{stage}.blocks.{block}"
_SWIN: tuple[Entry, ...] = (
    Rename("embeddings.patch_embeddings.projection.{parameter}", "patch_embed.projection.{parameter}"),
    Rename("embeddings.norm.{parameter}", "patch_embed.norm.{parameter}"),
    Concatenation(
        (
            f"{_BLOCK}.attention.self.query.{{parameter}}",
            f"{_BLOCK}.attention.self.key.{{parameter}}",
            f"{_BLOCK}.attention.self.value.{{parameter}}",
        ),
        f"{_OUR_BLOCK}.attention.qkv.{{parameter}}",
    ),
    Rename(
        f"{_BLOCK}.attention.self.relative_position_bias_table",
        f"{_OUR_BLOCK}.attention.relative_position_bias_table",
    ),
    Ignored(f"{_BLOCK}.attention.self.relative_position_index", "made from the window size"),
    Rename(f"{_BLOCK}.attention.output.dense.{{parameter}}", f"{_OUR_BLOCK}.attention.projection.{{parameter}}"),
    Rename(f"{_BLOCK}.layernorm_before.{{parameter}}", f"{_OUR_BLOCK}.norm1.{{parameter}}"),
    Rename(f"{_BLOCK}.layernorm_after.{{parameter}}", f"{_OUR_BLOCK}.norm2.{{parameter}}"),
    Rename(f"{_BLOCK}.intermediate.dense.{{parameter}}", f"{_OUR_BLOCK}.mlp.linear1.{{parameter}}"),
    Rename(f"{_BLOCK}.output.dense.{{parameter}}", f"{_OUR_BLOCK}.mlp.linear2.{{parameter}}"),
    Rename("encoder.layers.{stage}.downsample.norm.{parameter}", "stages.{stage}.downsample.norm.{parameter}"),
    Rename("encoder.layers.{stage}.downsample.reduction.weight", "stages.{stage}.downsample.reduction.weight"),
    *(
        Rename(f"hidden_states_norms.stage{index + 1}.{{parameter}}", f"output_norms.res{index + 2}.{{parameter}}")
        for index in range(4)
    ),
    Ignored("layernorm.{parameter}", "normalises the last stage for a classifier"),
)
# Names of later releases of transformers, and of the first video checkpoints, for the same parameters.
_SWIN_ALIASES = (
    Rename("swin.{rest}", "{rest}"),
    Rename("model.{rest}", "{rest}"),
    Rename(f"{_BLOCK}.attention.q_proj.{{parameter}}", f"{_BLOCK}.attention.self.query.{{parameter}}"),
    Rename(f"{_BLOCK}.attention.k_proj.{{parameter}}", f"{_BLOCK}.attention.self.key.{{parameter}}"),
    Rename(f"{_BLOCK}.attention.v_proj.{{parameter}}", f"{_BLOCK}.attention.self.value.{{parameter}}"),
    Rename(f"{_BLOCK}.attention.o_proj.{{parameter}}", f"{_BLOCK}.attention.output.dense.{{parameter}}"),
    Rename(
        f"{_BLOCK}.attention.relative_position_bias.relative_position_bias_table",
        f"{_BLOCK}.attention.self.relative_position_bias_table",
    ),
    Rename(f"{_BLOCK}.mlp.fc1.{{parameter}}", f"{_BLOCK}.intermediate.dense.{{parameter}}"),
    Rename(f"{_BLOCK}.mlp.fc2.{{parameter}}", f"{_BLOCK}.output.dense.{{parameter}}"),
    *(
        Rename(f"hidden_states_norms.{index}.{{parameter}}", f"hidden_states_norms.stage{index + 1}.{{parameter}}")
        for index in range(4)
    ),
)

_DEFORMABLE = "encoder.layers.{layer}.self_attn"
_PIXEL_DECODER = (
    Rename("level_embed", "level_embed"),
    Rename("input_projections.{level}.0.{parameter}", "input_projections.{level}.conv.{parameter}"),
    Rename("input_projections.{level}.1.{parameter}", "input_projections.{level}.norm.{parameter}"),
    *(
        Rename(f"{_DEFORMABLE}.{name}.{{parameter}}", f"layers.{{layer}}.attention.{name}.{{parameter}}")
        for name in ("sampling_offsets", "attention_weights", "value_proj", "output_proj")
    ),
    Rename("encoder.layers.{layer}.self_attn_layer_norm.{parameter}", "layers.{layer}.norm1.{parameter}"),
    Rename("encoder.layers.{layer}.final_layer_norm.{parameter}", "layers.{layer}.norm2.{parameter}"),
    Rename("encoder.layers.{layer}.fc{index}.{parameter}", "layers.{layer}.linear{index}.{parameter}"),
    Rename("adapter_1.0.weight", "lateral.conv.weight"),
    Rename("adapter_1.1.{parameter}", "lateral.norm.{parameter}"),
    Rename("layer_1.0.weight", "output.conv.weight"),
    Rename("layer_1.1.{parameter}", "output.norm.{parameter}"),
    Rename("mask_projection.{parameter}", "mask_projection.{parameter}"),
)

_LAYER = "decoder.layers.{layer}"
_TRANSFORMER: tuple[Entry, ...] = (
    Rename("queries_features.weight", "query_feat.weight"),
    Rename("queries_embedder.weight", "query_embed.weight"),
    Rename("level_embed.weight", "level_embed.weight"),
    *(
        Concatenation(
            tuple(f"{_LAYER}.self_attn.{part}_proj.{parameter}" for part in "qkv"),
            f"layers.{{layer}}.self_attention.in_proj_{parameter}",
        )
        for parameter in ("weight", "bias")
    ),
    Rename(f"{_LAYER}.self_attn.out_proj.{{parameter}}", "layers.{layer}.self_attention.out_proj.{parameter}"),
    Rename(f"{_LAYER}.self_attn_layer_norm.{{parameter}}", "layers.{layer}.self_attention_norm.{parameter}"),
    Rename(f"{_LAYER}.cross_attn.in_proj_{{parameter}}", "layers.{layer}.cross_attention.in_proj_{parameter}"),
    Rename(f"{_LAYER}.cross_attn.out_proj.{{parameter}}", "layers.{layer}.cross_attention.out_proj.{parameter}"),
    Rename(f"{_LAYER}.cross_attn_layer_norm.{{parameter}}", "layers.{layer}.cross_attention_norm.{parameter}"),
    Rename(f"{_LAYER}.fc{{index}}.{{parameter}}", "layers.{layer}.linear{index}.{parameter}"),
    Rename(f"{_LAYER}.final_layer_norm.{{parameter}}", "layers.{layer}.ffn_norm.{parameter}"),
    Rename("decoder.layernorm.{parameter}", "norm.{parameter}"),
    Rename("decoder.mask_predictor.mask_embedder.{layer}.0.{parameter}", "mask_embed.layers.{layer}.{parameter}"),
)

MASK2FORMER = KeyMap(
    [
        *prefixed(_SWIN, "model.pixel_level_module.encoder.", "backbone."),
        *prefixed(_PIXEL_DECODER, "model.pixel_level_module.decoder.", "pixel_decoder."),
        *prefixed(_TRANSFORMER, "model.transformer_module.", "decoder."),
        Rename("class_predictor.{parameter}", "decoder.class_embed.{parameter}"),
        Ignored("criterion.empty_weight", "made from the configuration"),
    ],
    aliases=[
        Rename(f"model.pixel_level_module.encoder.{alias.theirs}", f"model.pixel_level_module.encoder.{alias.ours}")
        for alias in _SWIN_ALIASES
    ],
)


def read_huggingface_config(folder: Path) -> dict[str, Any]:
    """Read the ``config.json`` of a folder, and its ``preprocessor_config.json`` where there is one.

    Returns:
        Our options, section to option to value.

    Raises:
        FileNotFoundError: If there is no ``config.json``.
        ValueError: If it is not of a Mask2Former whose parts this package has.
    """
    values = _read_json(folder / HUGGINGFACE_CONFIG)
    preprocessor = folder / "preprocessor_config.json"
    return convert_config(values, _read_json(preprocessor) if preprocessor.is_file() else {}, str(folder))


def convert_config(values: Mapping[str, Any], preprocessor: Mapping[str, Any], origin: str) -> dict[str, Any]:
    """Our options for those of Hugging Face.

    Args:
        values: Content of ``config.json``.
        preprocessor: Content of ``preprocessor_config.json``, empty where there is none.
        origin: Name of the folder, for errors, and to recognise a video checkpoint by.
    """
    _check_supported(values, origin)
    is_video = _is_video(values, origin)
    names = _class_names(values)
    model = {
        "num_classes": len(values["id2label"]) if "id2label" in values else values.get("num_labels", 2),
        "class_list": None,
        "class_names": names,
        "backbone": {"name": "swin", "swin": _swin_options(values["backbone_config"])},
        "pixel_decoder": {
            "num_layers": values["encoder_layers"],
            "feedforward_dim": values["encoder_feedforward_dim"],
            "mask_dim": values["mask_feature_size"],
        },
        "num_queries": values["num_queries"],
        "hidden_dim": values["hidden_dim"],
        "num_heads": values["num_attention_heads"],
        "feedforward_dim": values["dim_feedforward"],
        # Theirs counts the prediction on the learned queries as a layer.
        "num_decoder_layers": values["decoder_layers"] - 1,
        "temporal_position_encoding": is_video,
    }
    for ours, theirs in (("pixel_mean", "image_mean"), ("pixel_std", "image_std")):
        if theirs in preprocessor:
            model[ours] = [round(255 * value, 3) for value in preprocessor[theirs]]
    loss = {ours: float(values[theirs]) for ours, theirs in _LOSS_OPTIONS.items() if theirs in values}
    if "train_num_points" in values:
        loss["num_points"] = values["train_num_points"]
    inference = {"mode": "clip", "short_side": 480, "top_k": 10} if is_video else _IMAGE_INFERENCE
    return {"model": model, "loss": loss, "inference": dict(inference)}


_LOSS_OPTIONS = {
    "class_weight": "class_weight",
    "mask_weight": "mask_weight",
    "dice_weight": "dice_weight",
    "no_object_weight": "no_object_weight",
    "oversample_ratio": "oversample_ratio",
    "importance_sample_ratio": "importance_sample_ratio",
}
_IMAGE_INFERENCE = {"mode": "online", "window": 1, "short_side": 800, "top_k": 100}
# What the configuration must say, where it says anything, for this model to compute the same.
_SUPPORTED: dict[str, tuple[object, ...]] = {
    "model_type": ("mask2former", "video_mask2former"),
    "activation_function": ("relu",),
    "pre_norm": (False,),
    "enforce_input_projection": (False,),
    "feature_strides": ([4, 8, 16, 32],),
    "common_stride": (4,),
}
_SUPPORTED_BACKBONE: dict[str, tuple[object, ...]] = {
    "model_type": ("swin", "maskformer-swin"),
    "hidden_act": ("gelu",),
    "patch_size": (4,),
    "mlp_ratio": (4.0,),
    "qkv_bias": (True,),
    "use_absolute_embeddings": (False,),
    "num_channels": (3,),
}
_NEEDED = (
    "encoder_layers",
    "encoder_feedforward_dim",
    "mask_feature_size",
    "num_queries",
    "hidden_dim",
    "num_attention_heads",
    "dim_feedforward",
    "decoder_layers",
)


def _check_supported(values: Mapping[str, Any], origin: str) -> None:
    backbone = values.get("backbone_config")
    if not isinstance(backbone, Mapping):
        raise ValueError(
            f"config.json of {origin} has no backbone_config, got model_type {values.get('model_type')!r}. "
            "Only Mask2Former checkpoints with their backbone's configuration inside can be read."
        )
    for section, supported, prefix in ((values, _SUPPORTED, ""), (backbone, _SUPPORTED_BACKBONE, "backbone_config.")):
        for key, allowed in supported.items():
            if key in section and section[key] not in allowed:
                expected = " or ".join(repr(value) for value in allowed)
                raise ValueError(f"{prefix}{key} in config.json of {origin} must be {expected}, got {section[key]!r}.")
    missing = [key for key in _NEEDED if key not in values]
    if missing:
        raise ValueError(f"config.json of {origin} lacks {', '.join(missing)}.")
    if values.get("feature_size", values["hidden_dim"]) != values["hidden_dim"]:
        raise ValueError(
            f"feature_size and hidden_dim in config.json of {origin} must be equal, "
            f"got {values['feature_size']} and {values['hidden_dim']}."
        )


def _swin_options(backbone: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "embed_dim": backbone["embed_dim"],
        "depths": list(backbone["depths"]),
        "num_heads": list(backbone["num_heads"]),
        "window_size": backbone["window_size"],
        "drop_path": float(backbone.get("drop_path_rate", 0.0)),
    }


def _class_names(values: Mapping[str, Any]) -> list[str]:
    """The names in index order; none where they are only placeholders."""
    labels = {int(index): str(name) for index, name in values.get("id2label", {}).items()}
    names = [labels[index] for index in sorted(labels)]
    return [] if all(name == f"LABEL_{index}" for index, name in enumerate(names)) else names


def _is_video(values: Mapping[str, Any], origin: str) -> bool:
    architectures = values.get("architectures") or []
    named_video = any(str(name).startswith("VideoMask2Former") for name in architectures)
    places = (Path(origin).name, str(values.get("_name_or_path", "")))
    placed_video = any("youtubevis" in place or "video-mask2former" in place for place in places)
    is_video = named_video or placed_video
    logger.info(
        "%s is read as %s checkpoint (architectures: %s). Override with model.temporal_position_encoding.",
        origin,
        "a video" if is_video else "an image",
        ", ".join(map(str, architectures)) or "not given",
    )
    return is_video


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"no {path.name} in {path.parent}. A Hugging Face folder has it beside its weights.")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not a JSON file: {error}") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path} must hold a JSON object, got {type(values).__name__}.")
    return values
