"""Options that are to be changed, under our names or under those of detectron2 (``SOLVER.MAX_ITER=100``)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from video_mask2former.config import Config, Overrides, apply_overrides, to_mapping
from video_mask2former.convert import convert_detectron2_config
from video_mask2former.convert.config_rules import Built, Combined, Option, Rule, Unused
from video_mask2former.convert.detectron2_keys import KEYS
from video_mask2former.convert.key_map import nearest
from video_mask2former.convert.vit_config import KEYS as VIT_KEYS
from video_mask2former.convert.vit_config import is_vit_config
from video_mask2former.documents import parse_yaml
from video_mask2former.messages import shortened

_THEIRS = re.compile(r"[A-Z][A-Z0-9_]*(\.\w+)*")  # CTVIS has a small letter in one
_DEVICE = "MODEL.DEVICE"
# Keys that make options together with others in a file, and mean one thing by themselves
_ALONE = {
    "MODEL.WEIGHTS": "training.init_weights",
    "OUTPUT_DIR": "training.output",
    "SOLVER.STEPS": "training.decay_steps",
    "SOLVER.CLIP_GRADIENTS.CLIP_VALUE": "training.clip_norm",
    "INPUT.MIN_SIZE_TRAIN": "data.short_sides",
    "TEST.DETECTIONS_PER_IMAGE": "inference.top_k",
}
_LISTS = ("training.decay_steps", "data.short_sides")
_WHOLE_RUN = ("MODEL.WEIGHTS", "OUTPUT_DIR")  # alone in detectron2's own files, too
_BACKBONES = ("resnet", "swin")


def is_detectron2_key(name: str) -> bool:
    """Whether an option is named as detectron2 names them: in capitals."""
    return _THEIRS.fullmatch(name.partition("=")[0]) is not None


def split_overrides(overrides: Overrides, known: Mapping[str, Rule] = KEYS) -> tuple[dict[str, Any], Overrides]:
    """Those under detectron2's names, with their values, and the others as they are.

    Args:
        overrides: As given.
        known: Table of detectron2's names.

    Raises:
        ValueError: If a key is unknown.
    """
    theirs: dict[str, Any] = {}
    if isinstance(overrides, Mapping):
        theirs = {name: value for name, value in overrides.items() if is_detectron2_key(name)}
        ours: Overrides = {name: value for name, value in overrides.items() if name not in theirs}
    else:
        ours = [word for word in overrides if not is_detectron2_key(word)]
        for word in overrides:
            if is_detectron2_key(word):
                name, equals, text = word.partition("=")
                if not equals:
                    raise ValueError(f"an override must read KEY=VALUE, got {word!r}.")
                theirs[name] = _value(text)
    for name in theirs:
        if name not in known:
            raise ValueError(f"unknown detectron2 key {name!r}{nearest(name, known)}.")
    return theirs, ours


def override(config: Config, overrides: Overrides) -> Config:
    """As :func:`apply_overrides`, with detectron2's names, too.

    Of a key that makes options with others only what is so already is taken; in a file of detectron2 all can change.

    Raises:
        ValueError: If an option is unknown, or its value makes no sense here.
    """
    theirs, ours = split_overrides(overrides)
    return apply_overrides(apply_overrides(config, _translated(theirs, config)), ours)


def override_detectron2(values: Mapping[str, Any], overrides: Overrides) -> tuple[dict[str, Any], Overrides]:
    """Change a configuration of detectron2 before it is converted; what is left is for :func:`override`."""
    theirs, ours = split_overrides(overrides, VIT_KEYS if is_vit_config(values) else KEYS)
    changed = dict(values)
    for name, value in theirs.items():
        if name not in _WHOLE_RUN:
            changed = _with(changed, name.split("."), value)
    alone = {_ALONE[name]: value for name, value in theirs.items() if name in _WHOLE_RUN}
    if isinstance(ours, Mapping):
        return changed, alone | dict(ours)
    return changed, [*(f"{name}={json.dumps(value)}" for name, value in alone.items()), *ours]


def device_of(overrides: Overrides) -> str | None:
    """The device that ``MODEL.DEVICE`` names, None where nothing does."""
    named = overrides.items() if isinstance(overrides, Mapping) else (word.partition("=")[::2] for word in overrides)
    return next((str(value) for name, value in named if name == _DEVICE), None)


def _translated(theirs: Mapping[str, Any], config: Config) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for key, value in theirs.items():
        rule = KEYS[key]
        if key in _ALONE:
            name = _ALONE[key]
            options[name] = [value] if name in _LISTS and not isinstance(value, list) else value
        elif isinstance(rule, Option):
            own = _on_backbone(rule.name, config)
            if own is not None:
                options[own] = _converted(rule, key, value)
        elif isinstance(rule, Built):
            if value not in rule.values:
                expected = " or ".join(map(repr, rule.values))
                raise ValueError(f"{key} must be {expected}, got {shortened(value)}: {rule.reason}.")
        elif isinstance(rule, Combined):
            _check_is_so(key, value, rule, config)
        else:
            assert isinstance(rule, Unused)
    return options


def _on_backbone(name: str, config: Config) -> str | None:
    """The option of the backbone that the model has, None for that of another."""
    section, _, option = name.partition(".")
    if section not in _BACKBONES:
        return name
    backbone = config.model.options.get("backbone")
    own = backbone.get("name") if isinstance(backbone, Mapping) else None
    return f"model.backbone.{option}" if own == section else None


def _converted(rule: Option, key: str, value: Any) -> Any:
    try:
        return rule.convert(value)
    except (TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f"{key} cannot be {shortened(value)}: {error}.") from error


def _check_is_so(key: str, value: Any, rule: Combined, config: Config) -> None:
    """Reject a key that goes into options with others, unless they are what it says already."""
    said = convert_detectron2_config({key: value}, f"override {key}")
    current = to_mapping(config)
    for name in rule.options:
        *sections, last = name.split(".")
        ours, theirs = current, said
        for section in sections:
            ours, theirs = ours.get(section) or {}, theirs.get(section) or {}
        if last in theirs and not _agree(ours.get(last), theirs[last], value):
            raise ValueError(
                f"{key} makes {', '.join(rule.options)} together with other keys, so it can be changed in a "
                f"configuration of detectron2 only. Here, change {name} itself."
            )


def _agree(ours: Any, theirs: Any, value: Any) -> bool:
    """Whether an option is what a key says; a key that is on or off says no more than that."""
    if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
        return ours.get("name") == theirs.get("name")
    if isinstance(value, bool):
        return bool(ours) == bool(theirs)
    return bool(ours == theirs)


def _with(values: Mapping[str, Any], path: list[str], value: Any) -> dict[str, Any]:
    first, *rest = path
    inner = values.get(first)
    return {**values, first: _with(inner if isinstance(inner, Mapping) else {}, rest, value) if rest else value}


def _value(text: str) -> Any:
    """Of detectron2's command lines: YAML, or a tuple of Python."""
    text = text.replace("(", "[").replace(")", "]").replace(",]", "]")
    return parse_yaml(text, f"the value of override {shortened(text)} is not YAML that can be read")
