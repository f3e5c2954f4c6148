"""Option names of version 0.1.0, in files, checkpoints and overrides, as what they are called now."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

RENAMED = {
    "model.num_decoder_layers": "model.decoder.num_layers",
    "model.feedforward_dim": "model.decoder.feedforward_dim",
    "model.temporal_position_encoding": "model.decoder.temporal_position_encoding",
    "model.backbone.swin.drop_path": "model.backbone.swin.drop_path_rate",
    "inference.tracker": "tracker",
    "inference.task": "task.name",
    # whatever the task; a section of it until the task is known
    "inference.object_mask_threshold": "task.panoptic.object_mask_threshold",
    "inference.overlap_threshold": "task.panoptic.overlap_threshold",
}
# A backbone's options were in a section of its name, beside those of the other backbones.
_BACKBONE_SECTIONS = ("resnet", "swin")
_PANOPTIC = "panoptic"
_DEFAULT_BACKBONE = "resnet"


def upgrade(values: Mapping[str, Any]) -> dict[str, Any]:
    """The same options by the names of today.

    Args:
        values: A whole configuration, or part of one, sections inside each other; left as it is.
    """
    upgraded = _copy(values)
    for old, new in RENAMED.items():
        _move(upgraded, old.split("."), new.split("."))
    return upgraded


def choose_options(values: Mapping[str, Any]) -> dict[str, Any]:
    """Keep of the options that were given for all backbones and tasks those of the ones that are named.

    Args:
        values: A whole configuration, whose backbone and task are known; left as it is.
    """
    return _of_one_task(_of_one_backbone(values))


def _of_one_backbone(values: Mapping[str, Any]) -> dict[str, Any]:
    """The section of the backbone that is named becomes its options."""
    model = values.get("model")
    backbone = model.get("backbone") if isinstance(model, Mapping) else None
    if not isinstance(model, Mapping) or not isinstance(backbone, Mapping):
        return dict(values)
    name = backbone.get("name", _DEFAULT_BACKBONE)
    section = backbone.get(name) if name in _BACKBONE_SECTIONS else None
    flat = {key: value for key, value in backbone.items() if key not in _BACKBONE_SECTIONS}
    if isinstance(section, Mapping):
        flat |= {"name": name, **section}
    return {**values, "model": {**model, "backbone": flat}}


def _of_one_task(values: Mapping[str, Any]) -> dict[str, Any]:
    """The thresholds of the panoptic merge become options of the panoptic task, and go where the task is another."""
    task = values.get("task")
    if not isinstance(task, Mapping) or _PANOPTIC not in task:
        return dict(values)
    own = {name: value for name, value in task.items() if name != _PANOPTIC}
    return {**values, "task": {**task[_PANOPTIC], **own} if task.get("name") == _PANOPTIC else own}


def _copy(values: Any) -> Any:
    return {key: _copy(value) for key, value in values.items()} if isinstance(values, Mapping) else values


def _move(values: dict[str, Any], old: list[str], new: list[str]) -> None:
    """Move one option, where it is there; what has the new name already stays."""
    section: Any = values
    for name in old[:-1]:
        section = section.get(name) if isinstance(section, dict) else None
    if not isinstance(section, dict) or old[-1] not in section:
        return
    place = values
    for name in new[:-1]:
        if isinstance(place.get(name), str):  # a part by its name alone
            place[name] = {"name": place[name]}
        place = place.setdefault(name, {})
        if not isinstance(place, dict):
            return
    place.setdefault(new[-1], section.pop(old[-1]))
