"""Checkpoints: fvcore's, with pickles of arrays and names that are matched by their ends."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import torch
from fvcore.common.checkpoint import Checkpointer, PeriodicCheckpointer

__all__ = ["DetectionCheckpointer", "PeriodicCheckpointer"]


class DetectionCheckpointer(Checkpointer):
    """Reads ``.pkl`` and ``.pth``, and forgives missing means and deviations of pixels."""

    def __init__(self, model: torch.nn.Module, save_dir: str = "", **checkpointables: Any) -> None:
        super().__init__(model, save_dir, **checkpointables)

    def _load_file(self, filename: str) -> Any:
        if filename.endswith(".pkl"):
            with self.path_manager.open(filename, "rb") as file:
                data = pickle.load(file, encoding="latin1")
            assert "model" in data and "__author__" in data, "older pickles are not read"
            self.logger.info("Reading a file from '%s'", data["__author__"])
            return data | {"matching_heuristics": data.get("matching_heuristics", False)}
        loaded = torch.load(filename, map_location="cpu", weights_only=True)
        return loaded if "model" in loaded else {"model": loaded}

    def _load_model(self, checkpoint: Any) -> Any:
        if checkpoint.get("matching_heuristics", False):
            self._convert_ndarray_to_tensor(checkpoint["model"])
            checkpoint["model"] = _match_by_ends(self.model.state_dict(), checkpoint["model"])
        incompatible = super()._load_model(checkpoint)
        buffers = dict(self.model.named_buffers(recurse=False))
        for name in ("pixel_mean", "pixel_std"):
            if name in buffers and name in incompatible.missing_keys:
                incompatible.missing_keys.remove(name)
        return incompatible


def _match_by_ends(own: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """Every name of the model gets the longest of the given names that it ends with."""
    matched = {}
    for name, value in own.items():
        ends = [key for key in given if name == key or name.endswith("." + key)]
        if ends:
            best = given[max(ends, key=len)]
            if best.shape == value.shape:
                matched[name] = torch.as_tensor(np.asarray(best))
    return matched
