"""MaX-DeepLab as a whole: frames in, one class and one mask per slot of the memory out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from typing_extensions import Unpack

from video_mask2former.models.max_deeplab.encoder import MaXDeepLabEncoder, large_plan, small_plan
from video_mask2former.models.max_deeplab.heads import DeeplabDecoder, MaskHead, PixelHead
from video_mask2former.models.segmenter import FrameOptions, Segmenter
from video_mask2former.option_values import PositiveInt, Share
from video_mask2former.structures import ClipFeatures, ClipOutput

_PLANS = {"small": small_plan, "large": large_plan}


class MaXDeepLab(Segmenter):
    """End-to-end panoptic segmentation with a dual-path transformer (MaX-DeepLab, arXiv:2012.00759).

    A model of images: each frame of a clip is segmented by itself, and a tracker finds what is the same object.
    In training a head of its own predicts the class of each pixel, which costs nothing in use. Slots compete for
    pixels: mask logits are the published ones, less what :meth:`.MaskLogits.exclusive` takes from all slots of a pixel,
    so that a mask is where its slot has the greatest.

    Args:
        num_classes: K, without "no object".
        size: ``small`` is MaX-DeepLab-S, ``large`` MaX-DeepLab-L.
        width: Scale of the channels of maps; 1 is the published model.
        stem_width: Scale of the channels of the stem, and of the large model's first stage.
        num_queries: Slots of the memory, the most masks of an image.
        memory_mlp_dim: Hidden features of the memory's feed-forward networks.
        drop_path_rate: Stochastic depth.
        training_side: Side of the images of the training; the semantic decoder of the small model averages over a
            sixteenth of it.
        frame_options: See :class:`Segmenter`. Published models have ``pixel_mean`` and ``pixel_std`` 127.5.
    """

    criterion: ClassVar = "max_deeplab"

    def __init__(
        self,
        num_classes: int,
        *,
        size: Literal["small", "large"] = "small",
        width: float = 1.0,
        stem_width: float = 1.0,
        num_queries: PositiveInt = 128,
        memory_mlp_dim: PositiveInt = 2048,
        drop_path_rate: Share = 0.2,
        training_side: PositiveInt = 641,
        **frame_options: Unpack[FrameOptions],
    ) -> None:
        super().__init__(num_classes, **frame_options)
        if size not in _PLANS:
            raise ValueError(f"size must be 'small' or 'large', got {size!r}.")
        plan = _PLANS[size](width, stem_width)
        self.encoder = MaXDeepLabEncoder(
            plan, num_slots=num_queries, feedforward_dim=memory_mlp_dim, drop_path_rate=drop_path_rate
        )
        channels = {stage.name: stage.channels for stage in (*plan.stages, *plan.decoder)}
        self.head = MaskHead(num_classes, channels[plan.decoder[-1].name], plan.slot_channels)
        self.semantic_decoder: DeeplabDecoder | None = None
        semantic_channels = channels[plan.semantic]
        if size == "small":
            side = -(-training_side // 16)
            levels = (semantic_channels, channels["stage3"], channels["stage2"])
            self.semantic_decoder = DeeplabDecoder(levels, pooling_size=(side, side))
            semantic_channels = self.semantic_decoder.hidden_channels
        self.semantic_head = PixelHead(semantic_channels, 256, num_classes + 1)

    @property
    def num_queries(self) -> int:
        """Q."""
        return len(self.encoder.memory)

    def backbone_parameters(self) -> Iterator[nn.Parameter]:
        """What the published recipe trains at a tenth of the rate, since ImageNet weights are there for it.

        All of the encoder but the memory, its dual-path layers and heads, and the stages that dense prediction added.
        """
        for name, parameter in self.encoder.named_parameters():
            if not any(added in name for added in ("transformer", "_extra", "memory", "slots")):
                yield parameter

    def encode(self, frames: Tensor | Sequence[Tensor]) -> ClipFeatures:
        """The part that looks at each frame by itself, which is all but the heads of the memory.

        Returns:
            Mask features; ``tokens`` are what the memory learned of masks and of classes, ``(B, T, Q, 2 C)``. In
            training ``levels`` has the semantic logits, "nothing" first as in the published head.
        """
        normalised, frame_size = self.normalise_and_pad(frames)
        batch = normalised.shape[:2]
        encoded = self.encoder(normalised.flatten(0, 1))
        slots = torch.cat((encoded.mask_slots, encoded.class_slots), dim=1).transpose(1, 2)
        levels: tuple[Tensor, ...] = ()
        if self.training:
            semantic = encoded.semantic
            if self.semantic_decoder is not None:
                semantic = self.semantic_decoder(semantic, encoded.middle, encoded.fine)
            levels = (self.semantic_head(semantic).unflatten(0, batch),)
        return ClipFeatures(
            mask_features=self.head.features(encoded.panoptic).unflatten(0, batch),
            levels=levels,
            frame_size=frame_size,
            padded_size=(normalised.shape[3], normalised.shape[4]),
            tokens=slots.unflatten(0, batch),
        )

    def decode(self, features: ClipFeatures, initial_queries: Tensor | None = None) -> ClipOutput:
        """Masks and classes of each frame.

        Args:
            features: From :meth:`.Segmenter.encode`.
            initial_queries: Must be None: the memory starts anew on every frame.

        Raises:
            ValueError: If there are initial queries, or the features are another model's.
        """
        if initial_queries is not None:
            raise ValueError("MaX-DeepLab has no queries to propagate; use a tracker that matches them.")
        if features.tokens is None:
            raise ValueError("these features have no tokens. Decode them with the model that encoded them.")
        slots = features.tokens.flatten(0, 1)  # (B * T, Q, 2 C)
        mask_slots, class_slots = slots.chunk(2, dim=2)
        mask_logits = self.head.masks(mask_slots, features.pixels.flatten(0, 1)).exclusive()
        output = ClipOutput(
            class_logits=self.head.classes(class_slots),
            mask_logits=mask_logits,
            query_embeddings=mask_slots,
            queries=slots,
            frame_size=features.frame_size,
            padded_size=features.padded_size,
        )
        if features.num_frames > 1:
            output = output.joined_frames(features.num_frames)
        output = replace(output, pixel_features=features.pixels[:, :, :-1])
        if features.levels:
            semantic = features.levels[0]
            output = replace(output, semantic_logits=torch.cat((semantic[:, :, 1:], semantic[:, :, :1]), dim=2))
        return output
