"""Backbones, pixel decoders, decoders, and the segmenters that they make."""

from video_mask2former.models.backbones import (
    BACKBONES,
    Backbone,
    EfficientNetLite0,
    FeatureInfo,
    ResNet,
    SwinTransformer,
)
from video_mask2former.models.class_queries.promptable import PROMPTABLE_MODELS, PromptableModel
from video_mask2former.models.class_queries.segmenter import ClassQueries
from video_mask2former.models.decoders import DECODERS, Decoder, MaskedAttentionDecoder
from video_mask2former.models.eomt import EoMT
from video_mask2former.models.lvmt import LVMT
from video_mask2former.models.max_deeplab.segmenter import MaXDeepLab
from video_mask2former.models.pixel_decoders import PIXEL_DECODERS, MSDeformAttnPixelDecoder, PixelDecoder
from video_mask2former.models.pmt import PMT
from video_mask2former.models.position_encoding import sine_position_encoding
from video_mask2former.models.segmenter import Segmenter
from video_mask2former.models.struct_token.segmenter import StructToken
from video_mask2former.models.video_mask2former import VideoMask2Former
from video_mask2former.models.videomt import VidEoMT

SEGMENTERS: dict[str, type[Segmenter]] = {
    "mask2former": VideoMask2Former,
    "eomt": EoMT,
    "videomt": VidEoMT,
    "pmt": PMT,
    "lvmt": LVMT,
    "max_deeplab": MaXDeepLab,
    "struct_token": StructToken,
    "class_queries": ClassQueries,
}

__all__ = [
    "BACKBONES",
    "DECODERS",
    "LVMT",
    "PIXEL_DECODERS",
    "PMT",
    "PROMPTABLE_MODELS",
    "SEGMENTERS",
    "Backbone",
    "ClassQueries",
    "Decoder",
    "EfficientNetLite0",
    "EoMT",
    "FeatureInfo",
    "MSDeformAttnPixelDecoder",
    "MaXDeepLab",
    "MaskedAttentionDecoder",
    "PixelDecoder",
    "PromptableModel",
    "ResNet",
    "Segmenter",
    "StructToken",
    "SwinTransformer",
    "VidEoMT",
    "VideoMask2Former",
    "sine_position_encoding",
]
