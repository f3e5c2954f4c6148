"""Mask2Former over clips: a backbone, a pixel decoder and a decoder, each of which can be exchanged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import Unpack

from video_mask2former.models.backbones import Backbone
from video_mask2former.models.decoders import Decoder
from video_mask2former.models.pixel_decoders import PixelDecoder
from video_mask2former.models.segmenter import FrameOptions, Segmenter
from video_mask2former.models.split_masks import split_masks
from video_mask2former.models.suppress_duplicates import suppress_duplicates
from video_mask2former.option_values import Share
from video_mask2former.structures import ClipFeatures, ClipOutput


class VideoMask2Former(Segmenter):
    """Mask2Former over clips (arXiv:2112.10764), and any model of the same three parts.

    Args:
        backbone: Frames to features.
        pixel_decoder: Features to mask features and decoder levels.
        decoder: Those to predictions.
        split_share: Outside of training, each connected part of a mask that has at least this share of the area of the
            largest becomes an object of its own (:mod:`~video_mask2former.models.split_masks`): for models that do not
            tell neighbours of one class apart. 0, as published, leaves masks as they are.
        duplicate_iou: Outside of training, a query whose mask has an IoU above this with that of a more certain query
            of its class becomes "no object" (:mod:`~video_mask2former.models.suppress_duplicates`): for models whose
            queries are born at pixels. 1, as published, leaves all queries as they are.
        frame_options: See :class:`Segmenter`.
    """

    default_parts: ClassVar = {"backbone": "resnet", "pixel_decoder": "deformable", "decoder": "masked_attention"}

    def __init__(
        self,
        backbone: Backbone,
        pixel_decoder: PixelDecoder,
        decoder: Decoder,
        *,
        split_share: Share = 0.0,
        duplicate_iou: Share = 1.0,
        **frame_options: Unpack[FrameOptions],
    ) -> None:
        super().__init__(decoder.num_classes, **frame_options)
        if self.size_divisibility != 1 and self.size_divisibility % 32:
            raise ValueError(f"size_divisibility must be 1 or a multiple of 32, got {self.size_divisibility}.")
        self.backbone = backbone
        self.pixel_decoder = pixel_decoder
        self.decoder = decoder
        self.split_share = split_share
        self.duplicate_iou = duplicate_iou

    @property
    def num_queries(self) -> int:
        """Q."""
        return self.decoder.num_queries

    @property
    def embedding_dim(self) -> int:
        """C of the query embeddings, for trackers and refiners with weights."""
        return self.decoder.embedding_dim

    @property
    def pixel_dim(self) -> int:
        """Channels of the maps that mask features are projected from; of mask features where there are none."""
        return self.pixel_decoder.pixel_dim

    @property
    def mask_dim(self) -> int:
        """Channels of the mask features."""
        return self.pixel_decoder.mask_dim

    def encode(self, frames: Tensor | Sequence[Tensor]) -> ClipFeatures:
        """The part that looks at each frame by itself; arguments as in :meth:`.Segmenter.forward`."""
        normalised, frame_size = self.normalise_and_pad(frames)
        batch = normalised.shape[:2]
        features = self.backbone(normalised.flatten(0, 1).contiguous(memory_format=torch.channels_last))
        pixel_features: Tensor | None = None
        if self.keeps_pixel_features:
            mask_features, levels, pixel_features = self.pixel_decoder.with_pixel_features(features)
        else:
            mask_features, levels = self.pixel_decoder(features)
        return ClipFeatures(
            mask_features=mask_features.unflatten(0, batch),
            levels=tuple(level.unflatten(0, batch) for level in levels),
            frame_size=frame_size,
            padded_size=(normalised.shape[3], normalised.shape[4]),
            pixel_features=None if pixel_features is None else pixel_features.unflatten(0, batch),
        )

    def decode(self, features: ClipFeatures, initial_queries: Tensor | None = None) -> ClipOutput:
        """The part that looks at whole clips.

        Args:
            features: From :meth:`.Segmenter.encode`.
            initial_queries: Start from these queries, ``(B, Q, C)``, instead of the learned ones.
        """
        output: ClipOutput = self.decoder(features, initial_queries)
        if self.training:
            return output
        return tell_apart(output, duplicate_iou=self.duplicate_iou, split_share=self.split_share)


def tell_apart(output: ClipOutput, *, duplicate_iou: float, split_share: float) -> ClipOutput:
    """What models that confuse neighbours need after decoding; arguments as in :class:`VideoMask2Former`."""
    if duplicate_iou < 1:
        output = suppress_duplicates(output, duplicate_iou)
    return split_masks(output, split_share) if split_share else output
