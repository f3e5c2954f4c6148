"""Backbones, pixel decoders, decoders, and the segmenters that they make."""

from video_mask2former.models.backbones import (
    BACKBONES,
    Backbone,
    EfficientNetLite0,
    FeatureInfo,
    ResNet,
    SwinTransformer,
)
from video_mask2former.models.decoders import DECODERS, Decoder, MaskedAttentionDecoder
from video_mask2former.models.pixel_decoders import PIXEL_DECODERS, MSDeformAttnPixelDecoder, PixelDecoder
from video_mask2former.models.position_encoding import sine_position_encoding
from video_mask2former.models.segmenter import Segmenter
from video_mask2former.models.video_mask2former import VideoMask2Former

SEGMENTERS: dict[str, type[Segmenter]] = {"mask2former": VideoMask2Former}

__all__ = [
    "BACKBONES",
    "DECODERS",
    "PIXEL_DECODERS",
    "SEGMENTERS",
    "Backbone",
    "Decoder",
    "EfficientNetLite0",
    "FeatureInfo",
    "MSDeformAttnPixelDecoder",
    "MaskedAttentionDecoder",
    "PixelDecoder",
    "ResNet",
    "Segmenter",
    "SwinTransformer",
    "VideoMask2Former",
    "sine_position_encoding",
]
