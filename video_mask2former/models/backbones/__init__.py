"""Backbones by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from video_mask2former.models.backbones.base import LEVEL_NAMES, Backbone, FeatureInfo
from video_mask2former.models.backbones.efficientnet_lite import EfficientNetLite0
from video_mask2former.models.backbones.resnet import ResNet
from video_mask2former.models.backbones.swin import SwinTransformer

BACKBONES: dict[str, Callable[..., Backbone]] = {
    "resnet50": partial(ResNet, depth=50),
    "resnet101": partial(ResNet, depth=101),
    "swin_tiny": SwinTransformer,
    "swin_small": partial(SwinTransformer, depths=(2, 2, 18, 2)),
    "swin_base": partial(
        SwinTransformer, embed_dim=128, depths=(2, 2, 18, 2), num_heads=(4, 8, 16, 32), window_size=12
    ),
    "swin_large": partial(
        SwinTransformer, embed_dim=192, depths=(2, 2, 18, 2), num_heads=(6, 12, 24, 48), window_size=12
    ),
    "efficientnet_lite0": EfficientNetLite0,
}

__all__ = ["BACKBONES", "LEVEL_NAMES", "Backbone", "EfficientNetLite0", "FeatureInfo", "ResNet", "SwinTransformer"]
