"""Decoders: features of clips to one class and one mask for each query."""

from video_mask2former.models.decoders.base import Decoder
from video_mask2former.models.decoders.detr import DetrDecoder
from video_mask2former.models.decoders.masked_attention import MaskedAttentionDecoder
from video_mask2former.models.decoders.peak_queries import PeakQueryDecoder
from video_mask2former.models.decoders.reid import ReidDecoder

DECODERS: dict[str, type[Decoder]] = {
    "masked_attention": MaskedAttentionDecoder,
    "masked_attention_reid": ReidDecoder,
    "peak_queries": PeakQueryDecoder,
    "detr": DetrDecoder,
}

__all__ = ["DECODERS", "Decoder", "DetrDecoder", "MaskedAttentionDecoder", "PeakQueryDecoder", "ReidDecoder"]
