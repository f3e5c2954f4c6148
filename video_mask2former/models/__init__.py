"""Backbones, pixel decoder, transformer decoder and the model they make."""

from video_mask2former.models.backbones import (
    Backbone,
    EfficientNetLite0,
    FeatureInfo,
    ResNet,
    SwinTransformer,
)
from video_mask2former.models.pixel_decoder import MSDeformAttnPixelDecoder
from video_mask2former.models.position_encoding import sine_position_encoding
from video_mask2former.models.transformer_decoder import MaskedAttentionDecoder
from video_mask2former.models.video_mask2former import VideoMask2Former

__all__ = [
    "Backbone",
    "EfficientNetLite0",
    "FeatureInfo",
    "MSDeformAttnPixelDecoder",
    "MaskedAttentionDecoder",
    "ResNet",
    "SwinTransformer",
    "VideoMask2Former",
    "sine_position_encoding",
]
