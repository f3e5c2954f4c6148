"""``config.json`` and ``preprocessor_config.json`` of Hugging Face's models, read, and for Mask2Former written.

The video checkpoints (``video-mask2former-*``) have the image model's names and configuration; only the class they were
saved from, or the name of the folder, tells them apart.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

from video_mask2former.convert.huggingface_vit import MODEL_TYPES, convert_vit_config
from video_mask2former.documents import check_plain, read_json
from video_mask2former.messages import shortened
from video_mask2former.option_values import parse_value

logger = logging.getLogger(__name__)

HUGGINGFACE_CONFIG = "config.json"
HUGGINGFACE_PREPROCESSOR = "preprocessor_config.json"

# Ours to theirs; "decoder_layers" counts the prediction on the learned queries as a layer and is not among them.
_MODEL_OPTIONS = {
    "num_queries": "num_queries",
    "hidden_dim": "hidden_dim",
    "num_heads": "num_attention_heads",
}
_PIXEL_DECODER_OPTIONS = {
    "num_layers": "encoder_layers",
    "feedforward_dim": "encoder_feedforward_dim",
    "mask_dim": "mask_feature_size",
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

# What the configuration must say, where it says anything, for this model to compute the same; the first is written.
_SUPPORTED: dict[str, tuple[object, ...]] = {
    "model_type": ("mask2former", "video_mask2former"),
    "activation_function": ("relu",),
    "pre_norm": (False,),
    "enforce_input_projection": (False,),
    "feature_strides": ([4, 8, 16, 32],),
    "common_stride": (4,),
}
_SUPPORTED_SWIN: dict[str, tuple[object, ...]] = {
    "model_type": ("swin", "maskformer-swin"),
    "hidden_act": ("gelu",),
    "patch_size": (4,),
    "mlp_ratio": (4.0,),
    "qkv_bias": (True,),
    "use_absolute_embeddings": (False,),
    "num_channels": (3,),
}
_SUPPORTED_RESNET: dict[str, tuple[object, ...]] = {
    "model_type": ("resnet",),
    "hidden_act": ("relu",),
    "layer_type": ("bottleneck",),
    "embedding_size": (64,),
    "hidden_sizes": ([256, 512, 1024, 2048],),
    "depths": ([3, 4, 6, 3], [3, 4, 23, 3]),
    "downsample_in_first_stage": (False,),
    "downsample_in_bottleneck": (False,),
    "num_channels": (3,),
}
_RESNET_DEPTHS = {50: [3, 4, 6, 3], 101: [3, 4, 23, 3]}


class _NeededSwin(TypedDict):
    embed_dim: int
    depths: tuple[int, int, int, int]
    num_heads: tuple[int, int, int, int]
    window_size: int


class _Swin(_NeededSwin, total=False):
    """The options of a Swin backbone that are read."""

    drop_path_rate: float


class _ResNet(TypedDict):
    depths: tuple[int, int, int, int]


class _Kind(TypedDict, total=False):
    """What every model's ``config.json`` may have."""

    model_type: str
    id2label: Mapping[str, str] | None


class _NeededConfig(TypedDict):
    backbone_config: Mapping[str, Any]
    num_queries: int
    hidden_dim: int
    num_attention_heads: int
    dim_feedforward: int
    encoder_layers: int
    encoder_feedforward_dim: int
    mask_feature_size: int
    decoder_layers: int


class _Config(_NeededConfig, total=False):
    """The keys of ``config.json`` that are read."""

    model_type: str
    feature_size: int
    architectures: Sequence[str] | None
    id2label: Mapping[str, str] | None
    num_labels: int
    class_weight: float
    mask_weight: float
    dice_weight: float
    no_object_weight: float
    train_num_points: int
    oversample_ratio: float
    importance_sample_ratio: float


class _Preprocessor(TypedDict, total=False):
    """The keys of ``preprocessor_config.json`` that are read."""

    image_mean: tuple[float, float, float]
    image_std: tuple[float, float, float]
    size: Any


class _Sides(TypedDict):
    shortest_edge: int
    longest_edge: int


_NUM_POINTS = 4  # of the pixel decoder; they have no option for it

_TASKS = ("panoptic", "semantic", "instance")
_IMAGE_CLASS = "Mask2FormerForUniversalSegmentation"
_VIDEO_CLASS = "VideoMask2FormerForVideoSegmentation"


def read_huggingface_config(folder: Path) -> dict[str, Any]:
    """Read the ``config.json`` of a folder, and its ``preprocessor_config.json`` where there is one.

    Returns:
        Our options, section to option to value.

    Raises:
        FileNotFoundError: If there is no ``config.json``.
        ValueError: If it is not of a Mask2Former, an EoMT or a VidEoMT whose parts this package has.
    """
    config, preprocessor = folder / HUGGINGFACE_CONFIG, folder / HUGGINGFACE_PREPROCESSOR
    if not config.is_file():
        raise FileNotFoundError(f"no {config.name} in {folder}. A Hugging Face folder has it beside its weights.")
    values, steps = _read(config), _read(preprocessor) if preprocessor.is_file() else {}
    return convert_config(values, steps, str(folder))


def convert_config(values: Mapping[str, Any], preprocessor: Mapping[str, Any], origin: str) -> dict[str, Any]:
    """Our options for those of Hugging Face.

    Args:
        values: Content of ``config.json``.
        preprocessor: Content of ``preprocessor_config.json``, empty where there is none.
        origin: Name of the folder, for errors, and to recognise task and video checkpoints by.
    """
    kind = parse_value(values, _Kind, "", f"config.json of {origin}").get("model_type")
    if kind in MODEL_TYPES:
        task = next((task for task in _TASKS if any(task in place for place in _places(values, origin))), "instance")
        options = convert_vit_config(values, origin, class_names=names_of_classes(values), task=task)
        return options | {"model": options["model"] | normalisation(preprocessor, origin)}
    if kind == "maskformer":
        from video_mask2former.convert.huggingface_maskformer import convert_maskformer_config  # it reads with these

        return convert_maskformer_config(values, preprocessor, origin)
    check_supported(values, _SUPPORTED, origin)
    values = parse_value(values, _Config, "", f"config.json of {origin}")
    if values.get("feature_size", values["hidden_dim"]) != values["hidden_dim"]:
        raise ValueError(
            f"feature_size and hidden_dim in config.json of {origin} must be equal, "
            f"got {values['feature_size']} and {values['hidden_dim']}."
        )
    is_video = _is_video(values, origin)
    model = {ours: values[theirs] for ours, theirs in _MODEL_OPTIONS.items()} | {
        "num_classes": len(values["id2label"]) if values.get("id2label") else values.get("num_labels", 2),
        "class_list": None,
        "class_names": names_of_classes(values),
        "backbone": backbone_options(values["backbone_config"], origin),
        "pixel_decoder": {ours: values[theirs] for ours, theirs in _PIXEL_DECODER_OPTIONS.items()},
        "decoder": {
            "num_layers": values["decoder_layers"] - 1,
            "feedforward_dim": values["dim_feedforward"],
            "temporal_position_encoding": is_video,
        },
    }
    model |= normalisation(preprocessor, origin)
    loss = {ours: values[theirs] for ours, theirs in _LOSS_OPTIONS.items() if theirs in values}
    return {"model": model, "loss": loss} | inference_options(values, preprocessor, origin, is_video)


def normalisation(preprocessor: Mapping[str, Any], origin: str) -> dict[str, list[float]]:
    """Mean and deviation of the pixels, where they are given."""
    given = parse_value(preprocessor, _Preprocessor, "", f"preprocessor_config.json of {origin}")
    names = (("pixel_mean", "image_mean"), ("pixel_std", "image_std"))
    return {ours: [round(255 * value, 3) for value in given[theirs]] for ours, theirs in names if theirs in given}


def make_huggingface_config(options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Hugging Face's configuration for our options: the way back from :func:`convert_config`.

    Args:
        options: Section to option to value, all of them, the names of the classes in ``class_names``.

    Returns:
        Contents of ``config.json`` and ``preprocessor_config.json``.

    Raises:
        ValueError: If their Mask2Former has no such parts.
    """
    model, loss, inference = options["model"], options["loss"], options["inference"]
    if model["pixel_decoder"]["num_points"] != _NUM_POINTS:
        raise ValueError(
            f"Hugging Face's Mask2Former has {_NUM_POINTS} sampling points, "
            f"got model.pixel_decoder.num_points = {model['pixel_decoder']['num_points']}. Write another format."
        )
    names = model["class_names"] or [f"LABEL_{index}" for index in range(model["num_classes"])]
    if model["name"] != "mask2former":
        raise ValueError(f"only a mask2former can be written for Hugging Face, got {model['name']!r}.")
    missing = [name for name in _MODEL_OPTIONS if name not in model]
    if missing:
        raise ValueError(
            f"Hugging Face's Mask2Former has one {missing[0]} for both decoders, and this model has two. "
            "Write another format."
        )
    is_video = model["decoder"]["temporal_position_encoding"]
    if is_video:
        logger.warning(
            "transformers has only the image model: it will read this video model, but decode each frame by itself and "
            "without the encoding of time. Only video_mask2former runs it as it was trained."
        )
    config = {
        "architectures": [_VIDEO_CLASS if is_video else _IMAGE_CLASS],
        **{key: allowed[0] for key, allowed in _SUPPORTED.items()},
        "backbone_config": _make_backbone_config(model["backbone"]),
        **{theirs: model[ours] for ours, theirs in _MODEL_OPTIONS.items()},
        **{theirs: model["pixel_decoder"][ours] for ours, theirs in _PIXEL_DECODER_OPTIONS.items()},
        **{theirs: loss[ours] for ours, theirs in _LOSS_OPTIONS.items()},
        "feature_size": model["hidden_dim"],
        "dim_feedforward": model["decoder"]["feedforward_dim"],
        "decoder_layers": model["decoder"]["num_layers"] + 1,
        "id2label": {str(index): name for index, name in enumerate(names)},
        "label2id": {name: index for index, name in enumerate(names)},
    }
    preprocessor = {
        "image_processor_type": "Mask2FormerImageProcessor",
        "do_resize": True,
        "resample": 2,  # bilinear
        "size": {"shortest_edge": inference["short_side"] or 360, "longest_edge": inference["max_side"] or 1333},
        "size_divisor": model["size_divisibility"],
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [value / 255 for value in model["pixel_mean"]],
        "image_std": [value / 255 for value in model["pixel_std"]],
        "ignore_index": 255,
        "do_reduce_labels": False,
        "num_labels": model["num_classes"],
    }
    return config, preprocessor


def check_supported(values: Mapping[str, Any], needed: Mapping[str, tuple[object, ...]], origin: str) -> None:
    """Check that a configuration has a backbone we have, and that it says nothing else than what is ``needed``."""
    backbone = values.get("backbone_config")
    if not isinstance(backbone, Mapping):
        raise ValueError(
            f"config.json of {origin} has no backbone_config, got model_type {shortened(values.get('model_type'))}. "
            "Only Mask2Former and MaskFormer checkpoints with their backbone's configuration inside can be read."
        )
    kinds = (*_SUPPORTED_SWIN["model_type"], *_SUPPORTED_RESNET["model_type"])
    supported_backbone = _SUPPORTED_RESNET if backbone.get("model_type") == "resnet" else _SUPPORTED_SWIN
    for section, supported, prefix in (
        (values, needed, ""),
        (backbone, supported_backbone | {"model_type": kinds}, "backbone_config."),
    ):
        for key, allowed in supported.items():
            if key in section and section[key] not in allowed:
                expected = " or ".join(repr(value) for value in allowed)
                raise ValueError(
                    f"{prefix}{key} in config.json of {origin} must be {expected}, got {shortened(section[key])}."
                )


def backbone_options(backbone: Mapping[str, Any], origin: str) -> dict[str, Any]:
    """Our options of a backbone of theirs."""
    if backbone.get("model_type") == "resnet":
        depths = list(parse_value(backbone, _ResNet, "backbone_config", f"config.json of {origin}")["depths"])
        return {"name": "resnet", "depth": next(k for k, v in _RESNET_DEPTHS.items() if v == depths)}
    backbone = parse_value(backbone, _Swin, "backbone_config", f"config.json of {origin}")
    return {
        "name": "swin",
        "embed_dim": backbone["embed_dim"],
        "depths": list(backbone["depths"]),
        "num_heads": list(backbone["num_heads"]),
        "window_size": backbone["window_size"],
        "drop_path_rate": backbone.get("drop_path_rate", 0.0),
    }


def _make_backbone_config(backbone: Mapping[str, Any]) -> dict[str, Any]:
    out_features = {"out_features": [f"stage{index + 1}" for index in range(4)]}
    if backbone["name"] == "resnet":
        fixed = {key: allowed[0] for key, allowed in _SUPPORTED_RESNET.items()}
        return fixed | {"depths": _RESNET_DEPTHS[backbone["depth"]]} | out_features
    if backbone["name"] != "swin":
        raise ValueError(
            f"Hugging Face's Mask2Former takes the backbones swin and resnet, got {backbone['name']!r}. "
            "Write another format."
        )
    return {key: allowed[0] for key, allowed in _SUPPORTED_SWIN.items()} | {
        "embed_dim": backbone["embed_dim"],
        "depths": list(backbone["depths"]),
        "num_heads": list(backbone["num_heads"]),
        "window_size": backbone["window_size"],
        "drop_path_rate": backbone["drop_path_rate"],
        **out_features,
    }


def names_of_classes(values: Mapping[str, Any]) -> list[str]:
    """The names in index order; none where they are only placeholders."""
    labels = parse_value(values, _Kind, "", "config.json").get("id2label") or {}
    if not all(index.isdecimal() and len(index) < 10 for index in labels):
        raise ValueError(f"the keys of id2label in config.json must be class indices, got {shortened(list(labels))}.")
    labels = {int(index): name for index, name in labels.items()}
    names = [labels[index] for index in sorted(labels)]
    return [] if all(name == f"LABEL_{index}" for index, name in enumerate(names)) else names


def inference_options(
    values: Mapping[str, Any], preprocessor: Mapping[str, Any], origin: str, is_video: bool
) -> dict[str, Any]:
    """How the model is run, as its name and its preprocessor say."""
    task = "instance"
    options: dict[str, Any] = {"mode": "clip", "short_side": 480, "top_k": 10}
    if not is_video:
        task = next((task for task in _TASKS if any(task in place for place in _places(values, origin))), task)
        options = {"mode": "online", "window": 1, "short_side": 800, "top_k": 100}
    size = preprocessor.get("size")
    if isinstance(size, Mapping) and {"shortest_edge", "longest_edge"} <= size.keys():
        size = parse_value(size, _Sides, "size", f"preprocessor_config.json of {origin}")
        options |= {"short_side": size["shortest_edge"], "max_side": size["longest_edge"]}
    return {"task": task, "inference": options}


def _is_video(values: Mapping[str, Any], origin: str) -> bool:
    architectures = values.get("architectures") or []
    named_video = any(str(name).startswith("VideoMask2Former") for name in architectures)
    placed_video = any("youtubevis" in place or "video-mask2former" in place for place in _places(values, origin))
    is_video = named_video or placed_video
    logger.info(
        "%s is read as %s checkpoint (architectures: %s). Override with model.decoder.temporal_position_encoding.",
        origin,
        "a video" if is_video else "an image",
        ", ".join(map(str, architectures)) or "not given",
    )
    return is_video


def _places(values: Mapping[str, Any], origin: str) -> tuple[str, str]:
    """Where the checkpoint lies and lay, whose names tell what it is for: ``mask2former-swin-tiny-coco-panoptic``."""
    return Path(origin).resolve().name, str(values.get("_name_or_path", ""))


def _read(path: Path) -> dict[str, Any]:
    values: dict[str, Any] = check_plain(read_json(path), f"{path} cannot be read")
    return values
