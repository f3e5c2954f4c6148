"""Loading weights into a model, strictly, with a report of what went where."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from video_mask2former.convert.formats import CheckpointFormat, identify_format
from video_mask2former.convert.key_map import Converted, nearest
from video_mask2former.messages import printable

_UPDATER = "query_updater"
# What later stages of training add to a segmenter
_LATER_PARTS = ("tracker", "refiner", "decoder.reid_embed", _UPDATER)
_CLASS_HEAD = re.compile(r"(^|\.)class_embed\.|^heads\.class_head\.|^semantic_head\.output\.")
# The option to change when a shape does not fit.
_OPTION_OF_KEY = (
    (r"^(tracker|refiner)\.aggregator\.decoder\.query_(feat|embed)\.", "num_video_queries of tracker or refiner"),
    (r"class_(embed|head)\.", "model.num_classes (or allow a class mismatch to start the class head anew)"),
    (r"decoder\.query_(feat|embed)\.", "model.num_queries"),
    (r"relative_position_bias_table$", "model.backbone.swin.window_size"),
    (r"^queries\.", "model.num_queries"),
    (r"pos_embed$", "model.backbone.image_size"),
    (r"^backbone\.", "model.backbone"),
    (r"^pixel_decoder\.", "model.pixel_decoder or model.hidden_dim"),
    (r"^decoder\.", "model.hidden_dim or model.feedforward_dim"),
)


@dataclass(frozen=True)
class LoadReport:
    """What became of each parameter of the model and each entry of the checkpoint.

    Attributes:
        format: Kind of checkpoint.
        loaded: Parameters that took their values from it.
        reinitialised: Parameters that keep the model's initial values on purpose, with the reason.
        missing: Parameters that the checkpoint does not have.
        unused: Entries of the checkpoint that were not taken, with the reason.
    """

    format: str
    loaded: tuple[str, ...]
    reinitialised: Mapping[str, str]
    missing: tuple[str, ...]
    unused: Mapping[str, str]

    def summary(self) -> str:
        """One line with the counts, and one for each group of entries that were not loaded."""
        lines = [
            f"{self.format} checkpoint: {len(self.loaded)} loaded, {len(self.reinitialised)} reinitialised, "
            f"{len(self.missing)} missing, {len(self.unused)} unused"
        ]
        lines += _grouped("reinitialised", self.reinitialised)
        lines += _grouped("missing", dict.fromkeys(self.missing, "not in the checkpoint"))
        lines += _grouped("unused", self.unused)
        return "\n".join(lines)


def convert_weights(
    state_dict: Mapping[str, Tensor], model_keys: Iterable[str] = ()
) -> tuple[CheckpointFormat, Converted]:
    """Recognise a checkpoint and put it under our names, with the values that our names mean.

    Args:
        state_dict: Its entries.
        model_keys: See :func:`identify_format`.

    Raises:
        ValueError: If it is of no known kind.
    """
    source = identify_format(state_dict, model_keys)
    converted = source.key_map.to_ours(state_dict)
    if source.adapt is not None:
        converted = replace(converted, weights=source.adapt(converted.weights))
    return source, converted


def load_weights(
    model: nn.Module,
    state_dict: Mapping[str, Tensor],
    *,
    allow_class_mismatch: bool = False,
    allow_partial: bool = False,
    has_backbone: bool = False,
    allow_earlier_stage: bool = False,
    backbone_only: bool = False,
) -> LoadReport:
    """Copy a checkpoint of any known kind into a model.

    Every parameter must be found with the right shape and every entry must be used or be known to be of no use,
    otherwise nothing is changed. A checkpoint of an ImageNet backbone fills the backbone only. A tracker, a refiner or
    a re-ID head in the checkpoint is left out where the model has none: its segmenter runs with another tracker, too.

    Args:
        model: A :class:`Segmenter`; its own types and device are kept.
        state_dict: Name to tensor, under the names of any of ``FORMATS``.
        allow_class_mismatch: Keep the initial class head where the checkpoint has another number of classes.
        allow_partial: Load what fits and report the rest, whatever it is.
        has_backbone: The backbone of the model has its published weights already, which some checkpoints build on.
        allow_earlier_stage: Keep the initial tracker, refiner, re-ID head or updater of queries where the checkpoint
            has none, or an updater of another kind.
        backbone_only: Take the backbone of a whole model, and leave the rest of it and of the model alone.

    Raises:
        ValueError: If the checkpoint is of no known kind or does not fit; the message has the reason.
    """
    source, converted = convert_weights(state_dict, model.state_dict())
    converted = _without_absent_parts(converted, model.state_dict())
    if allow_earlier_stage:
        converted = _without_other_stages(converted, model.state_dict())
    weights = converted.weights
    if source.needs_backbone is not None and source.needs_backbone(state_dict):
        if not has_backbone:
            raise ValueError(
                f"this {source.name} checkpoint builds on the published weights of its backbone. Name their file in "
                "model.backbone.weights."
            )
        weights = _on_backbone(weights, model.state_dict())
    if source.fit is not None:
        weights = source.fit(weights, model.state_dict())
    only_backbone = source.is_backbone or backbone_only
    own = {key: value for key, value in model.state_dict().items() if not only_backbone or _is_backbone(key)}
    unused = dict(converted.ignored) | {key: "unknown name" for key in converted.unknown}
    if backbone_only:
        weights, unused = {key: value for key, value in weights.items() if _is_backbone(key)}, {}
    unused |= {key: "no such parameter in the model" for key in weights.keys() - own.keys()}

    reinitialised: dict[str, str] = {}
    mismatched: list[str] = []
    for key, tensor in weights.items():
        if key in own and tensor.shape != own[key].shape:
            reason = f"{tuple(own[key].shape)} expected, {tuple(tensor.shape)} in the checkpoint"
            reinitialised[key] = reason
            if not (allow_class_mismatch and _CLASS_HEAD.search(key)):
                mismatched.append(f"{key}: {reason}. {_advice(key)}".rstrip())
    missing = []
    for key in own.keys() - weights.keys():
        if source.may_lack and re.match(source.may_lack, key):
            reinitialised[key] = "such a checkpoint does not have it"
        elif allow_earlier_stage and (part := _later_part(key)) and not _has_part(weights, part):
            reinitialised[key] = f"the checkpoint is of a stage without {part}"
        else:
            missing.append(key)
    loaded = [key for key in own if key in weights and key not in reinitialised]
    if not allow_partial:
        wrong = [key for key, reason in unused.items() if key not in converted.ignored]
        _stop_on_problems(source, mismatched, sorted(missing), sorted(wrong))
    if not loaded:
        raise ValueError(f"nothing in this {source.name} checkpoint fits the model.")
    with torch.no_grad():
        for key in loaded:
            own[key].copy_(weights[key])
    return LoadReport(source.name, tuple(loaded), reinitialised, tuple(sorted(missing)), unused)


def _on_backbone(weights: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Differences of a backbone added to what it has; everything else as it is."""
    return {
        key: own[key].to(value.device) + value
        if _is_backbone(key) and key in own and own[key].shape == value.shape
        else value
        for key, value in weights.items()
    }


def _later_part(key: str) -> str | None:
    """The part that a later stage of training adds to a segmenter, if a parameter is of one."""
    return next((part for part in _LATER_PARTS if key.startswith(f"{part}.")), None)


def _has_part(keys: Iterable[str], part: str) -> bool:
    return any(key.startswith(f"{part}.") for key in keys)


def _without_other_stages(converted: Converted, own: Iterable[str]) -> Converted:
    """Without what only another stage of a training has: masked attention that ended, another updater of queries."""
    other = {
        key: "belongs to another stage of the training"
        for key in converted.weights.keys() - set(own)
        if key.startswith((f"{_UPDATER}.", "annealing."))
    }
    weights = {key: value for key, value in converted.weights.items() if key not in other}
    return replace(converted, weights=weights, ignored=converted.ignored | other)


def _without_absent_parts(converted: Converted, own: Iterable[str]) -> Converted:
    """Without the tracker, refiner or re-ID head that the model does not have."""
    own = list(own)
    absent = {
        key: f"the model has no {part}"
        for key in converted.weights
        if (part := _later_part(key)) and part != _UPDATER and not _has_part(own, part)
    }
    weights = {key: value for key, value in converted.weights.items() if key not in absent}
    return replace(converted, weights=weights, ignored=converted.ignored | absent)


def _is_backbone(key: str) -> bool:
    return key.startswith("backbone.")


def _stop_on_problems(source: CheckpointFormat, mismatched: list[str], missing: list[str], unused: list[str]) -> None:
    problems = []
    if mismatched:
        problems.append(f"{len(mismatched)} have another shape: {_first(mismatched)}")
    if missing:
        problems.append(f"{len(missing)} parameters of the model are not in it: {_first(missing)}")
    if unused:
        hint = nearest(unused[0], missing)
        problems.append(f"{len(unused)} of its entries have no place in the model: {_first(unused)}{hint}")
    if problems:
        raise ValueError(f"this {source.name} checkpoint does not fit the model.\n- " + "\n- ".join(problems))


def _advice(key: str) -> str:
    for pattern, option in _OPTION_OF_KEY:
        if re.search(pattern, key):
            return f"Change {option}."
    return ""


def _first(items: list[str], count: int = 3) -> str:
    return "; ".join(printable(item, 300) for item in items[:count]) + ("; ..." if len(items) > count else "")


def _grouped(title: str, reasons: Mapping[str, str]) -> list[str]:
    """One line for each reason, with the number of keys and the first of them."""
    groups: dict[str, list[str]] = {}
    for key, reason in reasons.items():
        groups.setdefault(reason, []).append(key)
    return [f"  {title}, {reason}: {len(keys)} ({_first(sorted(keys), 2)})" for reason, keys in groups.items()]
