"""A model and videos that are small enough to run many times."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from video_mask2former.config import config_from_mapping, to_yaml
from video_mask2former.convert import write_checkpoint
from video_mask2former.recipes.model import build_model
from video_mask2former.video_io import VideoWriter

SMALL = {
    "model": {
        "num_classes": 3,
        "class_names": ["person", "dog", "car"],
        "num_queries": 6,
        "hidden_dim": 32,
        "num_heads": 2,
        "feedforward_dim": 8,
        "num_decoder_layers": 1,
        "pixel_decoder": {"num_layers": 1, "feedforward_dim": 8, "mask_dim": 16},
        "backbone": {
            "name": "swin",
            "swin": {"embed_dim": 8, "depths": [1, 1, 1, 1], "num_heads": [1, 1, 2, 2], "window_size": 2},
        },
    },
    "inference": {"short_side": 48},
}


@pytest.fixture
def model_arguments(tmp_path) -> list[str]:
    """A small model in a checkpoint with its configuration inside."""
    torch.manual_seed(0)
    config = config_from_mapping(SMALL, "test")
    write_checkpoint(tmp_path / "model.safetensors", build_model(config).state_dict(), to_yaml(config))
    return ["--weights", str(tmp_path / "model.safetensors"), "--device", "cpu", "--score-threshold", "0.2"]


@pytest.fixture
def write_video() -> Callable[..., Path]:
    """A function that writes a video of a moving square."""
    return _write_video


def _write_video(path: Path, num_frames: int = 7, size: tuple[int, int] = (54, 80)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(len(path.name))
    with VideoWriter(path, Fraction(30000, 1001)) as writer:
        for index in range(num_frames):
            frame = np.full((*size, 3), 80, np.uint8)
            cv2.rectangle(frame, (3 * index, 10), (3 * index + 20, 40), rng.integers(0, 256, 3).tolist(), -1)
            writer.write(frame)
    return path
