"""Backbones: frames to features at four strides."""

from video_mask2former.models.backbones.base import LEVEL_NAMES, Backbone, FeatureInfo
from video_mask2former.models.backbones.efficientnet_lite import EfficientNetLite0
from video_mask2former.models.backbones.resnet import ResNet
from video_mask2former.models.backbones.swin import SwinTransformer

BACKBONES: dict[str, type[Backbone]] = {
    "resnet": ResNet,
    "swin": SwinTransformer,
    "efficientnet_lite0": EfficientNetLite0,
}

__all__ = ["BACKBONES", "LEVEL_NAMES", "Backbone", "EfficientNetLite0", "FeatureInfo", "ResNet", "SwinTransformer"]
