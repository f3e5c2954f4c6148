"""Configurations of Mask2Former, M2F-VIS and MinVIS in detectron2's YAML, by an explicit table of keys.

``KEYS`` says of every key that those configurations have what becomes of it: an option of ours, a value that this model
has built in, a key that says nothing here, or one of several that make an option together.
"""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from video_mask2former.convert.config_rules import Built, Rule, apply_rules, check_known, nest
from video_mask2former.convert.detectron2_keys import DEEPLAB_KEYS, DEFAULTS, KEYS
from video_mask2former.convert.maskformer_config import (
    MASKFORMER_DEFAULTS,
    MASKFORMER_KEYS,
    is_maskformer,
    maskformer_options,
)
from video_mask2former.convert.tracked_config import ARCHITECTURES, CTVIS, tracked_options
from video_mask2former.convert.vita_config import REFINING, TRACKING, object_token_options
from video_mask2former.documents import PlainLoader, check_plain, read_layers
from video_mask2former.messages import shortened
from video_mask2former.option_values import describe

_BASE = "_BASE_"
_TABLES = "video_mask2former/convert/detectron2_keys.py"
_DETECTRON2_URL = "detectron2://ImageNetPretrained/"
# The published sizes of training images: a list in Python, which is read here and not run.
_SIZE_RANGE = re.compile(
    r"\[\s*int\(\s*x\s*\*\s*([0-9.]+)\s*\*\s*([0-9]+)\s*\)\s*for x in range\(\s*([0-9]+)\s*,\s*([0-9]+)\s*\)\s*\]"
)
_CLASS_LIST_OF_DATASET = (
    ("ytvis_2019", "ytvis_2019", 40),
    ("ytvis_2021", "ytvis_2021", 40),
    ("ytvis_2022", "ytvis_2021", 40),
    ("ovis", "ovis", 25),
    ("coco_2017_train_panoptic", "coco_panoptic", 133),
    ("coco_2017_train", "coco_instance", 80),
    ("ade20k_sem_seg", "ade20k_semantic", 150),
    ("panoVSPW_vps", "vipseg", 124),
    ("VSPW_vss", "vspw", 124),
)
_DEEPLAB_RESNET = "build_resnet_deeplab_backbone"
_BACKBONES = {"build_resnet_backbone": "resnet", _DEEPLAB_RESNET: "resnet", "D2SwinTransformer": "swin"}
_SECTIONS = {"resnet": "MODEL.RESNETS.", "swin": "MODEL.SWIN."}
# How published files of ImageNet weights begin; those of the deeplab stem are.
_BACKBONE_FILES = ("R-50", "R-52", "R-101", "R-103", "swin_")
# Lists in whose place one value may stand
_ALSO_SINGLE = {"INPUT.MIN_SIZE_TRAIN": int, "DATASETS.TRAIN": str, "DATASETS.TEST": str}
# Crops every other image before it is resized, which is not offered
_DETR_MAPPER = "detr_panoptic"
_MAX_SIZES = 100
_MAX_LITERAL = 1000  # characters; the nested ones of a longer text would exhaust Python's own parser
_COLOR_AUGMENTATIONS = {"brightness", "contrast", "saturation"}


def read_detectron2_yaml(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a YAML file of detectron2 and those its ``_BASE_`` leads to, merged; Python tags in it are not run.

    Raises:
        FileNotFoundError: If one of the files does not exist.
        ValueError: If one of them is no YAML, has a Python tag other than the published lists of sizes, or builds on
            itself.
    """
    return read_layers(Path(path), _BASE, _merge, loader=_Detectron2Loader)


def convert_detectron2_config(values: Mapping[str, Any], origin: str) -> dict[str, Any]:
    """Our options for those of a detectron2 configuration.

    Keys that the configuration does not give have the published code's defaults.

    Args:
        values: The merged configuration.
        origin: Name of the file, for errors.

    Returns:
        Section to option to value.

    Raises:
        ValueError: If a key is unknown, or asks for something that this model does not do.
    """
    keys, defaults = _tables(_flatten(values))
    flat = read_values(values, keys, defaults, origin)
    # Whole configurations have the keys of both backbones
    backbone = _BACKBONES.get(str(flat["MODEL.BACKBONE.NAME"]))
    absent = tuple(section for name, section in _SECTIONS.items() if name != backbone)
    built_elsewhere = {key for key in flat if key.startswith(absent) and isinstance(keys[key], Built)}
    options = apply_rules({key: value for key, value in flat.items() if key not in built_elsewhere}, keys, origin)
    for combine in (
        _classes,
        _backbone,
        _inference,
        resizing,
        _schedule,
        _initial_weights,
        object_token_options,
        tracked_options,
        maskformer_options,
    ):
        options |= combine(flat, origin)
    return nest(_of_one_backbone(options))


def read_values(
    values: Mapping[str, Any], table: Mapping[str, Rule], defaults: Mapping[str, Any], origin: str
) -> dict[str, Any]:
    """Dotted key to value, those that are not given at their defaults.

    Raises:
        ValueError: If a key is not in the table, or its value is not of the type of its default.
    """
    given = _flatten(values)
    check_known(given, table, _TABLES, origin)
    for key, value in given.items():
        _check_type(key, value, defaults.get(key), origin)
    return {**defaults, **given}


def _tables(given: Mapping[str, Any]) -> tuple[dict[str, Rule], dict[str, Any]]:
    """The rules and the defaults of the system that a configuration is of."""
    keys, defaults = KEYS, DEFAULTS
    if is_maskformer(given):
        keys, defaults = keys | MASKFORMER_KEYS, defaults | MASKFORMER_DEFAULTS
    if given.get("MODEL.BACKBONE.NAME") == _DEEPLAB_RESNET:
        keys = keys | DEEPLAB_KEYS
    return keys, defaults


def _merge(base: Mapping[str, Any], update: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in update.items():
        old = merged.get(key)
        merged[key] = _merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def _flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = _literal(value)
    return flat


def _check_type(key: str, value: object, default: object, origin: str) -> None:
    """As detectron2 has it: a value is of the type of the default, but for integers as floats, and lists of one."""
    if default is None or type(value) is _ALSO_SINGLE.get(key) or _is_like(value, default):
        return
    expected = f"{describe(type(default))}, such as {default!r}"
    raise ValueError(f"{key} must be {expected}, got {shortened(value)} in {origin}.")


def _is_like(value: object, example: object) -> bool:
    if isinstance(value, list) and isinstance(example, list):
        return all(_is_like(item, example[0] if example else "") for item in value)
    return type(value) is type(example) or (isinstance(example, float) and type(value) is int)


def _literal(value: object) -> object:
    """Tuples and the like are text to YAML; detectron2 reads such text as Python literals, and so does this."""
    if isinstance(value, str) and len(value) <= _MAX_LITERAL:
        try:
            value = ast.literal_eval(value)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            return value
        return check_plain(list(value) if isinstance(value, tuple) else value, f"{value!r} is not a value of an option")
    return value


def _classes(flat: Mapping[str, Any], origin: str) -> dict[str, Any]:
    return class_list(flat["DATASETS.TRAIN"], flat["MODEL.SEM_SEG_HEAD.NUM_CLASSES"])


def class_list(datasets: Sequence[str], num_classes: int) -> dict[str, Any]:
    """The list that the classes of a dataset are in, if there is one with that many."""
    for dataset in datasets:
        for prefix, class_list, size in _CLASS_LIST_OF_DATASET:
            if dataset.startswith(prefix) and size == num_classes:
                return {"model.class_list": class_list}
    return {}


def _backbone(flat: Mapping[str, Any], origin: str) -> dict[str, Any]:
    name = flat["MODEL.BACKBONE.NAME"]
    if name not in _BACKBONES:
        raise ValueError(f"MODEL.BACKBONE.NAME must be {' or '.join(_BACKBONES)}, got {shortened(name)} in {origin}.")
    return {"model.backbone.name": _BACKBONES[name]}


def _of_one_backbone(options: Mapping[str, Any]) -> dict[str, Any]:
    """Keep the options of the backbone that is used; a configuration gives those of all of them."""
    name = options["model.backbone.name"]
    chosen = {}
    for key, value in options.items():
        section, _, option = key.partition(".")
        if section not in _BACKBONES.values():
            chosen[key] = value
        elif section == name:
            chosen[f"model.backbone.{option}"] = value
    return chosen


def _inference(flat: Mapping[str, Any], origin: str) -> dict[str, Any]:
    architecture = flat["MODEL.META_ARCHITECTURE"]
    test = {task: flat[f"MODEL.MASK_FORMER.TEST.{task}_ON"] for task in ("PANOPTIC", "INSTANCE", "SEMANTIC")}
    task = next((task.lower() for task, is_on in test.items() if is_on), "instance")
    options: dict[str, Any] = {"task.name": task}
    if task == "panoptic":
        for name in ("object_mask_threshold", "overlap_threshold"):
            options[f"task.{name}"] = float(flat[f"MODEL.MASK_FORMER.TEST.{name.upper()}"])
    if architecture == "VideoMaskFormer":
        return options | {"inference.mode": "clip", "inference.top_k": 10}
    if architecture in (REFINING, TRACKING):
        return options  # the rest is with their own options
    if architecture in ARCHITECTURES:
        return {"inference.top_k": flat["MODEL.SEM_SEG_HEAD.NUM_CLASSES"]} if architecture == CTVIS else {}
    options |= {"inference.mode": "online", "inference.window": 1}
    if architecture == "VideoMaskFormer_frame":
        return options | {"tracker": "minvis", "inference.top_k": 10}
    # A single image is a clip of one frame.
    options["inference.top_k"] = flat["TEST.DETECTIONS_PER_IMAGE"]
    return options | {"data.num_frames": 1, "data.frame_range": 0}


def _crop_of_clips(flat: Mapping[str, Any], origin: str) -> dict[str, Any]:
    """The crop of VITA and CTVIS, whose key is that of images made clips, and is read for videos, too."""
    section = "INPUT.PSEUDO.CROP"
    if not flat.get(f"{section}.ENABLED", False):
        return {}
    kind = flat.get(f"{section}.TYPE", "absolute_range")
    if kind != "absolute_range":
        raise ValueError(f"{section}.TYPE must be 'absolute_range', got {shortened(kind)} in {origin}.")
    return {"data.crop_range": flat.get(f"{section}.SIZE", (384, 600))}


def resizing(flat: Mapping[str, Any], origin: str) -> dict[str, Any]:
    """How training clips are resized, cut and recoloured.

    Raises:
        ValueError: If a crop or an augmentation is of a kind that there is not.
    """
    # Newer code has keys of its own for what older code chose by the dataset mapper's name.
    section = "INPUT.LSJ_AUG" if flat["INPUT.LSJ_AUG.ENABLED"] else "INPUT"
    if flat["INPUT.LSJ_AUG.ENABLED"] or str(flat["INPUT.DATASET_MAPPER_NAME"]).endswith("_lsj"):
        size = flat[f"{section}.IMAGE_SIZE"]
        return {
            "data.resize": "large_scale_jitter",
            "data.jitter_scales": [flat[f"{section}.MIN_SCALE"], flat[f"{section}.MAX_SCALE"]],
            "data.crop_size": [size, size],
        }
    sides = flat["INPUT.MIN_SIZE_TRAIN"]
    options: dict[str, Any] = {
        "data.resize": "short_side",
        "data.short_sides": sides if isinstance(sides, list) else [sides],
        "data.crop_size": None,
    }
    if flat["INPUT.CROP.ENABLED"] and flat["INPUT.DATASET_MAPPER_NAME"] != _DETR_MAPPER:
        kinds = {"absolute": "data.crop_size", "absolute_range": "data.crop_range"}
        kind = flat["INPUT.CROP.TYPE"]
        if kind not in kinds:
            raise ValueError(f"INPUT.CROP.TYPE must be {' or '.join(kinds)}, got {shortened(kind)} in {origin}.")
        options[kinds[kind]] = flat["INPUT.CROP.SIZE"]
    options |= _crop_of_clips(flat, origin)
    augmentations = flat["INPUT.AUGMENTATIONS"]
    if not all(isinstance(name, str) and name in _COLOR_AUGMENTATIONS for name in augmentations):
        known = ", ".join(sorted(_COLOR_AUGMENTATIONS))
        raise ValueError(f"INPUT.AUGMENTATIONS may have {known}, got {shortened(augmentations)} in {origin}.")
    options["data.color_jitter"] = bool(augmentations) or flat["INPUT.COLOR_AUG_SSD"]
    return options


def _schedule(flat: Mapping[str, Any], origin: str) -> dict[str, Any]:
    schedules = {"WarmupMultiStepLR": "multistep", "WarmupPolyLR": "polynomial"}
    name = flat["SOLVER.LR_SCHEDULER_NAME"]
    if name not in schedules:
        raise ValueError(
            f"SOLVER.LR_SCHEDULER_NAME must be {' or '.join(schedules)}, got {shortened(name)} in {origin}."
        )
    steps = flat["SOLVER.STEPS"] if name == "WarmupMultiStepLR" else []
    clip_norm = flat["SOLVER.CLIP_GRADIENTS.CLIP_VALUE"] if flat["SOLVER.CLIP_GRADIENTS.ENABLED"] else 0.0
    return {
        "training.schedule": schedules[name],
        "training.decay_steps": [step for step in steps if step < flat["SOLVER.MAX_ITER"]],
        "training.clip_norm": clip_norm,
    }


def _initial_weights(flat: Mapping[str, Any], origin: str) -> dict[str, Any]:
    """``MODEL.WEIGHTS`` is an ImageNet backbone or a whole model; the published names tell which."""
    weights = flat["MODEL.WEIGHTS"]
    if not weights:
        return {}
    is_backbone = weights.startswith(_DETECTRON2_URL) or Path(weights).name.startswith(_BACKBONE_FILES)
    return {"model.backbone.weights" if is_backbone else "training.init_weights": weights}


class _Detectron2Loader(PlainLoader):
    """Plain YAML, and the one Python expression that the published files have."""


def _construct_sizes(loader: yaml.SafeLoader, node: yaml.Node) -> list[int]:
    arguments = loader.construct_sequence(node) if isinstance(node, yaml.SequenceNode) else []
    match = _SIZE_RANGE.fullmatch(str(arguments[0]).strip()) if len(arguments) == 1 else None
    if match is None:
        raise yaml.constructor.ConstructorError(
            None, None, f"Python code is not run: {arguments}; write the list of sizes itself", node.start_mark
        )
    factor, base, start, stop = match.groups()
    steps = range(int(start), int(stop))
    if len(steps) > _MAX_SIZES or len(base) > 6 or factor.count(".") > 1:
        raise yaml.constructor.ConstructorError(None, None, f"{arguments[0]} is not a list of sizes", node.start_mark)
    return [int(x * float(factor) * int(base)) for x in steps]


_Detectron2Loader.add_constructor("tag:yaml.org,2002:python/object/apply:eval", _construct_sizes)
