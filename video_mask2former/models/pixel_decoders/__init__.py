"""Pixel decoders: backbone features to mask features and decoder levels."""

from video_mask2former.models.pixel_decoders.base import PixelDecoder
from video_mask2former.models.pixel_decoders.deformable import MSDeformAttnPixelDecoder
from video_mask2former.models.pixel_decoders.fpn import FPNPixelDecoder

PIXEL_DECODERS: dict[str, type[PixelDecoder]] = {"deformable": MSDeformAttnPixelDecoder, "fpn": FPNPixelDecoder}

__all__ = ["PIXEL_DECODERS", "FPNPixelDecoder", "MSDeformAttnPixelDecoder", "PixelDecoder"]
