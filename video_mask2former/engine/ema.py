"""A moving average of the weights, which often evaluates better than the weights themselves."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from video_mask2former.engine.sharding import split_like


class ExponentialMovingAverage:
    """``average = decay * average + (1 - decay) * weights`` after every step.

    Early on the decay is lower, ``(1 + n) / (10 + n)`` at update n, so that the random start is soon forgotten.
    Buffers and integer tensors are copied.

    Args:
        model: The model that is trained; its weights now are the first average.
        decay: In (0, 1).
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        if not 0.0 < decay < 1.0:
            raise ValueError(f"decay must lie between 0 and 1, got {decay}. 0.999 to 0.9999 are usual.")
        self._model = model
        self._decay = decay
        self._num_updates = 0
        self._averages = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
        parameters = model.named_parameters(remove_duplicate=False)
        self._averaged_names = {name for name, parameter in parameters if parameter.requires_grad}

    @torch.no_grad()
    def update(self) -> None:
        """Take in the model's weights after a step."""
        decay = min(self._decay, (1 + self._num_updates) / (10 + self._num_updates))
        self._num_updates += 1
        for name, tensor in self._model.state_dict().items():
            if name in self._averaged_names:
                self._averages[name].lerp_(tensor, 1.0 - decay)
            else:
                self._averages[name].copy_(tensor)

    @contextlib.contextmanager
    def in_model(self) -> Iterator[None]:
        """The model holds the average inside the block, and its own weights again after it."""
        own = {name: tensor.detach().clone() for name, tensor in self._model.state_dict().items()}
        self._model.load_state_dict(self._averages)
        try:
            yield
        finally:
            self._model.load_state_dict(own)

    def state_dict(self) -> dict[str, Any]:
        """What :meth:`load_state_dict` needs to go on."""
        return {"num_updates": self._num_updates, "averages": dict(self._averages)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state.

        Raises:
            ValueError: If the state has other tensors than the model.
        """
        saved: Mapping[str, Tensor] = state["averages"]
        if saved.keys() != self._averages.keys():
            differing = sorted(saved.keys() ^ self._averages.keys())
            raise ValueError(
                f"the saved average does not fit the model: {len(differing)} tensors differ, first {differing[:3]}."
            )
        self._num_updates = state["num_updates"]
        for name, average in self._averages.items():
            average.copy_(split_like(saved[name], average))
