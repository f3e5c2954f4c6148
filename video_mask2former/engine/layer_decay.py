"""Learning rates that fall from block to block of a vision transformer, as BEiT and EoMT train them."""

from __future__ import annotations

import re

from torch import nn

from video_mask2former.engine.optimizer import ParameterGroup

_BACKBONE = re.compile(r"(?:^|\.)backbone\.(?:.*\.)?blocks\.(\d+)\.")


def layerwise_parameter_groups(
    model: nn.Module, *, learning_rate: float, weight_decay: float, layer_decay: float, full_rate_blocks: int = 0
) -> list[ParameterGroup]:
    """Sort the trained parameters of a model by learning rate; all of them are decayed, as published.

    The last block of the backbone learns at the full rate, each one before it at ``layer_decay`` times that of the
    next. What comes before the blocks learns as the first of them; the norm after them, and everything else, at the
    full rate. Differs from VidEoMT, whose DINOv3 has the rate of the first block for that norm: it is registered late.

    Args:
        model: Parameters that require no gradient are left out.
        learning_rate: The full rate.
        weight_decay: Of all parameters.
        layer_decay: Factor from one block to the one before.
        full_rate_blocks: So many of the last blocks learn at the full rate; the others as if they did not.

    Returns:
        Groups from the heads to the first block, without empty ones. Names of those of the backbone begin with it.

    Raises:
        ValueError: If no parameter requires a gradient, or none of the backbone's blocks does and there is a decay.
    """
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    if not trained:
        raise ValueError("no parameter of the model requires a gradient: there is nothing to train.")
    depth = 1 + max((index for name in trained if (index := _block(name)) is not None), default=-1)
    if depth == 0 and layer_decay != 1:
        raise ValueError(
            "training.layer_decay needs a vision transformer that is trained, and this model's backbone has no "
            "trained blocks. Set it to 1, or to null for the recipe of Mask2Former."
        )
    groups: dict[tuple[bool, int], list[nn.Parameter]] = {}
    for name, parameter in trained.items():
        groups.setdefault((_in_backbone(name), _steps_down(name, depth, full_rate_blocks)), []).append(parameter)
    return [
        ParameterGroup(
            name=("backbone" if in_backbone else "head") + (f", rate {layer_decay} ** {steps}" if steps else ""),
            params=parameters,
            lr=learning_rate * layer_decay**steps,
            weight_decay=weight_decay,
        )
        for (in_backbone, steps), parameters in sorted(groups.items())
    ]


def _steps_down(name: str, depth: int, full_rate_blocks: int) -> int:
    """How often the full rate is multiplied by the decay."""
    if not _in_backbone(name) or re.search(r"backbone\.(?:\w+\.)?norm\.", name):
        return 0
    block = _block(name)
    index = 0 if block is None else block
    return 0 if block is not None and block >= depth - full_rate_blocks else depth - 1 - index


def _in_backbone(name: str) -> bool:
    return "backbone" in name.split(".")


def _block(name: str) -> int | None:
    match = _BACKBONE.search(name)
    return int(match[1]) if match else None
