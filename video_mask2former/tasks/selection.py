"""Which queries are reported, as which class, with which score."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from video_mask2former.config import InferenceSettings


def for_classes(settings: InferenceSettings, class_names: Sequence[str], num_classes: int) -> InferenceSettings:
    """Settings with their classes as indices, for a model that has these classes.

    Raises:
        ValueError: If a class is unknown; the nearest name is suggested.
    """
    if settings.classes is None:
        return settings
    return replace(settings, classes=class_indices(settings.classes, class_names, num_classes))


@dataclass(frozen=True)
class Selection:
    """N reported objects, the most confident first.

    Attributes:
        indices: Row of the class logits behind each, ``(N,)`` int64; a row comes several times where the rules allow
            several labels.
        labels: Class of each, ``(N,)`` int64.
        scores: Class probability of each, ``(N,)``.
        num_left_out: How many more have the score, but not a place among the top k.
    """

    indices: Tensor
    labels: Tensor
    scores: Tensor
    num_left_out: int = 0

    def __len__(self) -> int:
        return self.indices.shape[0]


def select_instances(class_logits: Tensor, settings: InferenceSettings) -> Selection:
    """As :func:`select_probable`, by class logits ``(Q, K + 1)``."""
    if class_logits.ndim != 2 or class_logits.shape[1] < 2:
        raise ValueError(f"class_logits must be (Q, K + 1), got {tuple(class_logits.shape)}.")
    return select_probable(class_logits.softmax(dim=1), settings)


def select_probable(probabilities: Tensor, settings: InferenceSettings) -> Selection:
    """Choose objects by their class alone, before any mask is looked at.

    Args:
        probabilities: ``(Q, K + 1)``, "no object" last, which takes no part in the choice.
        settings: Which of the Q x K pairs of query and class are reported; classes by index (:func:`for_classes`).
    """
    # A query that is not finite is never reported
    probabilities = probabilities[:, :-1].nan_to_num(nan=-1.0)
    num_classes = probabilities.shape[1]
    is_allowed = _allowed_classes(num_classes, settings.classes, probabilities.device).expand_as(probabilities)
    if settings.one_label_per_query:
        is_likeliest = torch.zeros_like(is_allowed).scatter(1, probabilities.argmax(dim=1, keepdim=True), True)
        is_allowed = is_allowed & is_likeliest
    candidates = torch.where(is_allowed, probabilities, -1.0).flatten()
    scores, order = candidates.topk(min(settings.top_k, candidates.numel()))
    is_kept = scores >= settings.score_threshold
    scores, order = scores[is_kept], order[is_kept]
    num_left_out = int((candidates >= settings.score_threshold).sum()) - len(scores)
    return Selection(order // num_classes, order % num_classes, scores, num_left_out)


def class_indices(classes: Sequence[str | int], class_names: Sequence[str], num_classes: int) -> tuple[int, ...]:
    """Resolve classes given by name or by index.

    Raises:
        ValueError: If a name or an index is unknown; the nearest name is suggested.
    """
    by_name = {name.lower(): index for index, name in enumerate(class_names)}
    indices = []
    for entry in classes:
        index = by_name.get(str(entry).lower())
        if index is None and str(entry).isdecimal() and int(entry) < num_classes:
            index = int(entry)
        if index is None:
            raise ValueError(_unknown_class(entry, class_names, num_classes))
        indices.append(index)
    return tuple(dict.fromkeys(indices))


def _allowed_classes(num_classes: int, classes: tuple[str | int, ...] | None, device: torch.device) -> Tensor:
    if classes is None:
        return torch.ones(num_classes, dtype=torch.bool, device=device)
    allowed = torch.zeros(num_classes, dtype=torch.bool, device=device)
    allowed[list(classes)] = True
    return allowed


def _unknown_class(entry: str | int, class_names: Sequence[str], num_classes: int) -> str:
    if not class_names:
        return f"unknown class {entry!r}: this model has no class names, give indices from 0 to {num_classes - 1}."
    close = difflib.get_close_matches(str(entry), class_names, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"the classes are {', '.join(class_names)}."
    return f"unknown class {entry!r}; {hint}"
