"""Weights and images of the recorded runs of other segmenters and backbones, made from names and seeds."""

from __future__ import annotations

import gzip
import json
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

GOLDEN = Path(__file__).parents[2] / "data" / "golden"


def weight_by_name(name: str, shape: list[int]) -> torch.Tensor:
    """The weight that the recorded runs gave to a parameter of this published name, before exceptions."""
    x = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode()))).standard_normal(shape)
    last = name.rsplit(".", 1)[-1]
    if last == "running_var":
        x = 1 + 0.1 * np.abs(x)
    elif last in ("running_mean", "relative_position_bias_table"):
        x = 0.1 * x
    elif last == "bias":
        x = 0.02 * x
    elif x.ndim == 1:
        x = 1 + 0.1 * x
    elif "query" not in name and "level_embed" not in name:
        x = x / np.sqrt(np.prod(x.shape[1:]))
    return torch.from_numpy(x)


def tensorflow_weight_by_name(name: str, shape: list[int]) -> torch.Tensor:
    """The weight that the recorded runs of MaX-DeepLab gave to a variable, before exceptions."""
    x = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode()))).standard_normal(shape)
    last = name.rsplit("/", 1)[-1]
    if last == "moving_variance":
        x = 1 + 0.1 * np.abs(x)
    elif last == "moving_mean":
        x = 0.1 * x
    elif last in ("beta", "bias"):
        x = 0.02 * x
    elif last == "gamma":
        x = 1 + 0.1 * x
    elif last == "embeddings":
        x = 0.3 * x
    elif last == "depthwise_kernel":
        x = x / np.sqrt(shape[0] * shape[1])
    elif last != "memory_feature":
        x = x / np.sqrt(np.prod(shape[:-1]))
    return torch.from_numpy(x)


def block_image(seed: int, batch: int, height: int, width: int, *, channels_last: bool = False) -> np.ndarray:
    """Images uint8 of coloured blocks with noise, ``(B, 3, H, W)`` or ``(B, H, W, 3)``."""
    rng = np.random.Generator(np.random.PCG64(seed))
    axes = (1, 2) if channels_last else (2, 3)

    def draw(rows: int, columns: int) -> np.ndarray:
        return rng.random((batch, rows, columns, 3) if channels_last else (batch, 3, rows, columns))

    cells = draw(-(-height // 16), -(-width // 16)) * 200
    blocks = cells.repeat(16, axis=axes[0]).repeat(16, axis=axes[1])
    blocks = blocks[:, :height, :width] if channels_last else blocks[:, :, :height, :width]
    return (blocks + draw(height, width) * 55).round().astype(np.uint8)


def assert_close(value: torch.Tensor, figures: np.ndarray, tolerance: float = 1e-6) -> None:
    """Equal to a share of the largest absolute value."""
    value = value.detach().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)
    assert value.shape == figures.shape
    scale = np.abs(figures).max() if figures.size else 1.0
    np.testing.assert_allclose(value / scale, figures / scale, rtol=0, atol=tolerance)


@pytest.fixture(scope="session")
def published_shapes() -> dict[str, dict[str, list[int]]]:
    """Parameters of the published models: model to name to shape."""
    return json.loads(gzip.decompress((GOLDEN / "relatives_shapes.json.gz").read_bytes()))


@pytest.fixture(scope="session")
def recorded():
    """The functions of this file, for tests that cannot import it."""

    class Recorded:
        weight = staticmethod(weight_by_name)
        tensorflow_weight = staticmethod(tensorflow_weight_by_name)
        image = staticmethod(block_image)
        close = staticmethod(assert_close)

    return Recorded


@pytest.fixture(scope="session")
def golden_file():
    """Figures of the published implementations, by file name without suffix."""

    def load(name: str) -> dict[str, np.ndarray]:
        with np.load(GOLDEN / f"{name}.npz") as file:
            return dict(file)

    return load
