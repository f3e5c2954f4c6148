"""Pixel decoders: backbone features to mask features and decoder levels."""

from video_mask2former.models.pixel_decoders.base import PixelDecoder
from video_mask2former.models.pixel_decoders.deformable import MSDeformAttnPixelDecoder

PIXEL_DECODERS: dict[str, type[PixelDecoder]] = {"deformable": MSDeformAttnPixelDecoder}

__all__ = ["PIXEL_DECODERS", "MSDeformAttnPixelDecoder", "PixelDecoder"]
