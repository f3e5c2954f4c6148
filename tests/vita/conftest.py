"""Weights by name, as the recorded runs of VITA and GenVIS had them."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
import torch

# Of the recorded runs, in place of the published counts
NUM_TOKENS, NUM_QUERIES = 20, 12


def weight_by_name(name: str, shape: list[int]) -> torch.Tensor:
    """The weight that the recorded runs gave to a parameter of this published name and shape."""
    x = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode()))).standard_normal(shape)
    last = name.rsplit(".", 1)[-1]
    is_scaled = "fq_pos" not in name and ("pre_query_embed" in name or not ("query" in name or "level_embed" in name))
    if last == "running_var":
        x = 1 + 0.1 * np.abs(x)
    elif last in ("running_mean", "relative_position_bias_table"):
        x = 0.1 * x
    elif last == "bias":
        x = 0.02 * x
    elif x.ndim == 1:
        x = 1 + 0.1 * x
    elif is_scaled:
        x = x / np.sqrt(np.prod(x.shape[1:]))
    if name.startswith("vita_module.") or ".predictor." in name:
        if name.endswith(("out_proj.weight", "linear2.weight")):
            x = x * 0.2
        elif name.endswith("in_proj_weight"):
            x = x * 2
    return torch.from_numpy(x)


def published_weights(shapes: dict[str, list[int]]) -> dict[str, torch.Tensor]:
    """A checkpoint as published, with the numbers of queries of the recorded runs."""
    weights = {}
    for name, shape in shapes.items():
        is_query = name.endswith(("query_feat.weight", "query_embed.weight"))
        if name.endswith("fq_pos.weight") or (is_query and ".predictor." in name):
            shape = [NUM_TOKENS, *shape[1:]]
        elif is_query:
            shape = [NUM_QUERIES, *shape[1:]]
        if not name.endswith(("relative_position_index", "empty_weight")):
            weights[name] = weight_by_name(name, shape)
    return weights


@pytest.fixture(scope="session")
def weights_of():
    """:func:`published_weights`."""
    return published_weights


@pytest.fixture(scope="session")
def random_tokens():
    """Builder of tokens ``(1, T, N, 256)`` from a seed."""

    def make(seed: int, num_frames: int) -> torch.Tensor:
        rng = np.random.Generator(np.random.PCG64(seed))
        return torch.from_numpy(rng.standard_normal((1, num_frames, NUM_TOKENS, 256)))

    return make
