"""A configuration of a model that is built and run in milliseconds."""

from __future__ import annotations

import pytest

from video_mask2former.config import Config, apply_overrides

SMALL = (
    "model.num_classes=3",
    "model.num_queries=4",
    "model.hidden_dim=32",
    "model.num_heads=2",
    "model.feedforward_dim=8",
    "model.num_decoder_layers=2",
    "model.pixel_decoder={num_layers: 1, feedforward_dim: 8, mask_dim: 16}",
    "model.backbone={name: swin, swin: {embed_dim: 8, depths: [1, 1, 1, 1], num_heads: [1, 1, 2, 2], window_size: 2}}",
)


@pytest.fixture
def small_config() -> Config:
    """A tiny Swin, one pixel decoder layer, two decoder layers, three classes."""
    return apply_overrides(Config(), SMALL)
