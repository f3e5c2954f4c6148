"""Backbones: frames to features at four strides."""

from video_mask2former.models.backbones.base import LEVEL_NAMES, Backbone, FeatureInfo
from video_mask2former.models.backbones.dat import DAT, DATPlusPlus
from video_mask2former.models.backbones.efficientnet_lite import EfficientNetLite0
from video_mask2former.models.backbones.plain_vit import PlainViT
from video_mask2former.models.backbones.resnet import ResNet
from video_mask2former.models.backbones.swin import SwinTransformer
from video_mask2former.models.backbones.vit import Dinov2, Dinov3, VisionTransformer
from video_mask2former.models.backbones.vit_pyramid import ViTPyramid

BACKBONES: dict[str, type[Backbone]] = {
    "resnet": ResNet,
    "swin": SwinTransformer,
    "dat": DAT,
    "dat_plus_plus": DATPlusPlus,
    "plain_vit": PlainViT,
    "efficientnet_lite0": EfficientNetLite0,
    "dinov2": Dinov2,
    "dinov3": Dinov3,
    "vit_pyramid": ViTPyramid,
}

__all__ = [
    "BACKBONES",
    "DAT",
    "LEVEL_NAMES",
    "Backbone",
    "DATPlusPlus",
    "Dinov2",
    "Dinov3",
    "EfficientNetLite0",
    "FeatureInfo",
    "PlainViT",
    "ResNet",
    "SwinTransformer",
    "ViTPyramid",
    "VisionTransformer",
]
