"""Small models and checkpoints under other names, for the tests of this room."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
import torch

from video_mask2former.models import MaskedAttentionDecoder, MSDeformAttnPixelDecoder, SwinTransformer, VideoMask2Former

GOLDEN = Path(__file__).parents[1] / "data" / "golden"


@pytest.fixture(scope="session")
def published_shapes() -> dict[str, dict[str, list[int]]]:
    """Name and shape of every parameter of the published checkpoints, by model."""
    with gzip.open(GOLDEN / "state_dict_shapes.json.gz") as file:
        return json.load(file)


def make_small_model(num_classes: int = 3, num_queries: int = 4, hidden_dim: int = 32) -> VideoMask2Former:
    """A whole model with a Swin backbone and a few thousand parameters."""
    backbone = SwinTransformer(embed_dim=8, depths=(1, 1, 2, 1), num_heads=(1, 1, 2, 2), window_size=2)
    pixel_decoder = MSDeformAttnPixelDecoder(
        backbone.feature_info, hidden_dim=hidden_dim, mask_dim=hidden_dim, num_layers=1, num_heads=2, feedforward_dim=8
    )
    decoder = MaskedAttentionDecoder(
        num_classes,
        hidden_dim=hidden_dim,
        mask_dim=hidden_dim,
        num_queries=num_queries,
        num_layers=2,
        num_heads=2,
        feedforward_dim=8,
    )
    return VideoMask2Former(backbone, pixel_decoder, decoder)


@pytest.fixture
def small_model():
    """:func:`make_small_model`, for tests that want several."""
    return make_small_model


@pytest.fixture
def randomised():
    """Give every parameter and buffer of a module values of its own, and return it."""

    def randomise(module: torch.nn.Module) -> torch.nn.Module:
        with torch.no_grad():
            for tensor in module.state_dict().values():
                tensor.copy_(torch.randn_like(tensor))
        return module

    return randomise
