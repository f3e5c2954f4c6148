"""Options at the end of a command line, as people write them: ``key=value``, or detectron2's ``KEY VALUE`` pairs."""

from __future__ import annotations

import json
from collections.abc import Sequence

import yaml

from video_mask2former.convert.config_rules import Option
from video_mask2former.convert.detectron2_keys import KEYS
from video_mask2former.convert.key_map import nearest

# Keys that make options together with others in a file, and mean one thing on a command line.
_ALONE = {
    "MODEL.WEIGHTS": "training.init_weights",
    "OUTPUT_DIR": "training.output",
    "SOLVER.STEPS": "training.decay_steps",
    "SOLVER.CLIP_GRADIENTS.CLIP_VALUE": "training.clip_norm",
    "INPUT.MIN_SIZE_TRAIN": "data.short_sides",
    "TEST.DETECTIONS_PER_IMAGE": "inference.top_k",
}


def normalise_overrides(words: Sequence[str]) -> list[str]:
    """Write every override as ``section.option=value``.

    Args:
        words: ``training.max_steps=100``, or the two words ``training.max_steps 100``, or detectron2's two words
            ``SOLVER.MAX_ITER 100``, in any mixture.

    Raises:
        ValueError: If a key has no value, or is one of detectron2's that says nothing here.
    """
    overrides = []
    remaining = iter(words)
    for word in remaining:
        key, equals, value = word.partition("=")
        if not equals:
            following = next(remaining, None)
            if following is None:
                raise ValueError(f"option {word!r} has no value; write {word}=VALUE.")
            value = following
        overrides.append(_translate(key, value) if key.isupper() else f"{key}={value}")
    return overrides


def _translate(key: str, text: str) -> str:
    if key not in KEYS:
        raise ValueError(f"unknown detectron2 key {key!r}{nearest(key, KEYS)}.")
    value = yaml.safe_load(text.replace("(", "[").replace(")", "]").replace(",]", "]"))
    if key in _ALONE:
        name = _ALONE[key]
        if name in ("training.decay_steps", "data.short_sides") and not isinstance(value, list):
            value = [value]
    else:
        rule = KEYS[key]
        if not isinstance(rule, Option):
            raise ValueError(f"detectron2 key {key} cannot be changed on the command line; change it in the file.")
        name, value = rule.name, rule.convert(value)
    return f"{name}={json.dumps(value)}"
