"""Configurations: the options that Mask2Former adds to detectron2's, and what a whole ``cfg`` is here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from video_mask2former.config import Config, config_from_mapping
from video_mask2former.convert import convert_detectron2_config
from video_mask2former.convert.detectron2_defaults import MASK2FORMER, MINVIS, VIDEO
from video_mask2former.convert.detectron2_keys import KEYS
from video_mask2former.recipes.model import check_parts

# What detectron2's own loop does with its configuration is no business of the model
_OF_THE_LOOP = (
    *("SOLVER.", "DATALOADER.", "OUTPUT_DIR", "SEED", "CUDNN_BENCHMARK", "MODEL.WEIGHTS"),
    *("TEST.EVAL_PERIOD", "TEST.AUG.", "TEST.EXPECTED_RESULTS"),
)
# The model takes channels in whatever order its mean and deviation are in; mappers turn them round
_FORMAT = ("INPUT.FORMAT",)


def add_maskformer2_config(cfg: Any) -> None:
    """Add the options of Mask2Former at their published defaults to a ``CfgNode``."""
    _add(cfg, MASK2FORMER)


def add_maskformer2_video_config(cfg: Any) -> None:
    """Add the options of its video version; after :func:`add_maskformer2_config`."""
    _add(cfg, VIDEO)


def add_minvis_config(cfg: Any) -> None:
    """Add the options of MinVIS; after the other two."""
    _add(cfg, MINVIS)


def convert_cfg(cfg: Mapping[str, Any]) -> Config:
    """The configuration of this package that a whole ``cfg`` stands for, as far as it is of model, inputs and tests.

    Args:
        cfg: A ``CfgNode``, or a ``DictConfig`` with the same keys. Keys that other projects have added are not read.

    Raises:
        ValueError: If it asks for something that this package does not do.
    """
    flat = {key: value for key, value in _flatten(cfg).items() if key in KEYS and not key.startswith(_OF_THE_LOOP)}
    values = convert_detectron2_config({key: flat[key] for key in flat if key not in _FORMAT}, "cfg")
    if flat.get("MODEL.META_ARCHITECTURE") == "VideoMaskFormer_frame":
        # Clips of several frames are trained on frame by frame; here they are clips of one frame otherwise
        values["model"]["frame_by_frame"] = True
        values["loss"]["absent_objects"] = "empty"
    config = config_from_mapping(values, "cfg")
    check_parts(config, "cfg")
    return config


def _add(cfg: Any, defaults: Mapping[str, Any]) -> None:
    for key, value in defaults.items():
        *sections, last = key.split(".")
        node = cfg
        for section in sections:
            if section not in node:
                node[section] = type(cfg)()
            node = node[section]
        node[last] = list(value) if isinstance(value, list) else value


def _flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) or hasattr(value, "items"):
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = _plain(value)
    return flat


def _plain(value: Any) -> Any:
    """Lists for tuples and for the lists of lazy configurations, as in YAML."""
    if isinstance(value, (str, bytes)) or not hasattr(value, "__iter__"):
        return value
    return [_plain(item) for item in value]
