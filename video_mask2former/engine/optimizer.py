"""AdamW as the published recipe sets it up, and the course of the learning rate (arXiv:2112.10764, section 3)."""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypedDict, runtime_checkable

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.nn.modules.batchnorm import _NormBase

# _NormBase is the root of every BatchNorm and InstanceNorm.
NORM_TYPES = (_NormBase, nn.GroupNorm, nn.LayerNorm, nn.LocalResponseNorm, nn.RMSNorm)
# Parameters that belong to no norm or embedding module and still are not decayed: those of Swin, ViT and DAT. A bare
# level_embed, as in the pixel decoder, is decayed in the published recipe.
UNDECAYED_NAMES = (
    "relative_position_bias_table",
    "position_bias_table",
    "absolute_pos_embed",
    "pos_embed",
    "cls_token",
)


@runtime_checkable
class HasBackbone(Protocol):
    """A model without a submodule named ``backbone`` that has parts which learn like one."""

    def backbone_parameters(self) -> Iterator[nn.Parameter]:
        """Those that learn at the rate of the backbone."""
        ...


class ParameterGroup(TypedDict):
    """One group as ``torch.optim`` takes it."""

    name: str
    params: list[nn.Parameter]
    lr: float
    weight_decay: float


def parameter_groups(
    model: nn.Module, *, learning_rate: float, weight_decay: float, backbone_multiplier: float
) -> list[ParameterGroup]:
    """Sort the trained parameters of a model by learning rate and weight decay.

    Norms, embeddings and position tables are not decayed; everything else is, biases of convolutions and linear
    layers included. Parameters under a submodule named ``backbone``, and those that a model names in
    ``backbone_parameters()``, learn at ``learning_rate * backbone_multiplier``.

    Args:
        model: Parameters that require no gradient are left out.
        learning_rate: Of everything but the backbone.
        weight_decay: Of decayed parameters.
        backbone_multiplier: Factor on the learning rate of the backbone.

    Returns:
        At most four groups, in a fixed order and without empty ones.

    Raises:
        ValueError: If no parameter requires a gradient.
    """
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    seen: set[nn.Parameter] = set()
    backbone = _backbone_parameters(model)
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.requires_grad and parameter not in seen:
                seen.add(parameter)
                key = (parameter in backbone, _is_decayed(module, name))
                groups.setdefault(key, []).append(parameter)
    if not groups:
        raise ValueError("no parameter of the model requires a gradient: there is nothing to train.")
    return [
        ParameterGroup(
            name=("backbone" if in_backbone else "head") + ("" if decayed else ", no decay"),
            params=groups[in_backbone, decayed],
            lr=learning_rate * (backbone_multiplier if in_backbone else 1.0),
            weight_decay=weight_decay if decayed else 0.0,
        )
        for in_backbone in (False, True)
        for decayed in (True, False)
        if (in_backbone, decayed) in groups
    ]


def freeze(model: nn.Module, prefixes: Sequence[str]) -> int:
    """Stop training the parameters whose dotted names lie under one of some prefixes.

    Args:
        model: Changed in place.
        prefixes: ``"backbone"`` or ``"backbone.res2"``: whole components of the name.

    Returns:
        How many parameters (tensors) were frozen.

    Raises:
        ValueError: If a prefix fits no parameter.
    """
    names = dict(model.named_parameters())
    frozen = set()
    for prefix in prefixes:
        under = [name for name in names if name == prefix or name.startswith(prefix + ".")]
        if not under:
            known = sorted({name.split(".")[0] for name in names})
            raise ValueError(f"no parameter lies under {prefix!r}. The model consists of {', '.join(known)}.")
        frozen.update(under)
    for name in frozen:
        names[name].requires_grad_(False)
    return len(frozen)


def clip_gradient_norm(model: nn.Module, max_norm: float) -> Tensor:
    """Scale the gradient of the whole model down to ``max_norm``; 0 only measures it.

    Returns:
        The norm before scaling, one number; not finite if any gradient is not.
    """
    limit = max_norm if max_norm > 0 else math.inf
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), limit)
    return norm.full_tensor() if isinstance(norm, DTensor) else norm


@dataclass(frozen=True)
class LearningRateSchedule:
    """The factor on every group's learning rate as a function of the step, so that it has no state to save.

    Attributes:
        kind: "multistep" multiplies by ``decay_factor`` after each of ``decay_steps``; "polynomial" is
            ``(1 - step / max_steps) ** power``; "cosine" is half a cosine from 1 to 0; "constant" is 1. "two_part" is
            the schedule of EoMT: a linear warm-up from 0, then a polynomial over the steps that are left. The backbone
            stands still in that warm-up and then has one of its own, over ``backbone_warmup_steps``.
        max_steps: Steps of the training.
        decay_steps: For "multistep".
        decay_factor: For "multistep".
        power: For "polynomial".
        warmup_steps: Steps of linear warm-up, multiplied on top.
        warmup_factor: The warm-up's factor at step 0; 1 is no warm-up. Not of "two_part", which starts from 0.
        backbone_warmup_steps: For "two_part".
    """

    kind: Literal["multistep", "polynomial", "cosine", "constant", "two_part"]
    max_steps: int
    decay_steps: tuple[int, ...] = ()
    decay_factor: float = 0.1
    power: float = 0.9
    warmup_steps: int = 0
    warmup_factor: float = 1.0
    backbone_warmup_steps: int = 0

    def __post_init__(self) -> None:
        if list(self.decay_steps) != sorted(self.decay_steps):
            raise ValueError(f"decay_steps must rise, got {self.decay_steps}.")
        warmup = self.warmup_steps + self.backbone_warmup_steps
        if self.kind == "two_part" and warmup >= self.max_steps:
            raise ValueError(f"a two_part schedule needs steps after its {warmup} of warm-up, got {self.max_steps}.")

    def factor(self, step: int, *, of_backbone: bool = False) -> float:
        """The factor at one step, counted from 0; "two_part" has another one for the backbone."""
        if self.kind == "two_part":
            return self._two_part(step, of_backbone)
        return self._decay(step) * self._warmup(step)

    def apply(self, optimizer: torch.optim.Optimizer, step: int) -> None:
        """Set the learning rates of one step; the first call notes each group's own as ``initial_lr``."""
        for group in optimizer.param_groups:
            factor = self.factor(step, of_backbone=str(group.get("name", "")).startswith("backbone"))
            group["lr"] = group.setdefault("initial_lr", group["lr"]) * factor

    def _two_part(self, step: int, of_backbone: bool) -> float:
        wait = self.warmup_steps if of_backbone else 0
        warmup = self.backbone_warmup_steps if of_backbone else self.warmup_steps
        if step < wait + warmup:
            return max(step - wait, 0) / warmup if warmup else 0.0  # only waiting
        done = (step - wait - warmup) / (self.max_steps - wait - warmup)
        return (1.0 - min(done, 1.0)) ** self.power

    def _decay(self, step: int) -> float:
        done = min(step / self.max_steps, 1.0)
        if self.kind == "multistep":
            return self.decay_factor ** bisect.bisect_right(self.decay_steps, step)
        if self.kind == "polynomial":
            return (1.0 - done) ** self.power
        if self.kind == "cosine":
            return 0.5 * (1.0 + math.cos(math.pi * done))
        return 1.0

    def _warmup(self, step: int) -> float:
        if step >= self.warmup_steps:
            return 1.0
        return self.warmup_factor + (1.0 - self.warmup_factor) * step / self.warmup_steps


def _backbone_parameters(model: nn.Module) -> set[nn.Parameter]:
    found: set[nn.Parameter] = set()
    for name, module in model.named_modules():
        if name.rpartition(".")[2] == "backbone":
            found.update(module.parameters())
        elif isinstance(module, HasBackbone):
            found.update(module.backbone_parameters())
    return found


def _is_decayed(module: nn.Module, name: str) -> bool:
    return not isinstance(module, (*NORM_TYPES, nn.Embedding)) and name not in UNDECAYED_NAMES
