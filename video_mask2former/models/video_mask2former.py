"""The whole model: frames in, one class and one mask per query out. An image is a clip with T = 1."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from video_mask2former.models.backbones import Backbone
from video_mask2former.models.pixel_decoder import MSDeformAttnPixelDecoder
from video_mask2former.models.transformer_decoder import MaskedAttentionDecoder
from video_mask2former.structures import ClipFeatures, ClipOutput

IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)


class VideoMask2Former(nn.Module):
    """Mask2Former over clips (arXiv:2112.10764).

    ``forward`` is ``decode(encode(frames))``. ``encode`` works frame by frame, so long clips can be encoded in chunks
    and joined with :meth:`ClipFeatures.concatenate`; ``decode`` sees the whole clip.

    Args:
        backbone: Frames to features.
        pixel_decoder: Features to mask features and decoder levels.
        decoder: Those to predictions.
        pixel_mean: Mean of each channel, RGB 0..255.
        pixel_std: Standard deviation of each channel.
        size_divisibility: Frames are padded right and below to a multiple of this.
        class_names: Name of each class index, empty where unknown.
        input_sides: What frames should be resized to by whoever runs the model: their short side, and the most that
            the long side may have then.
    """

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(
        self,
        backbone: Backbone,
        pixel_decoder: MSDeformAttnPixelDecoder,
        decoder: MaskedAttentionDecoder,
        *,
        pixel_mean: Sequence[float] = IMAGENET_MEAN,
        pixel_std: Sequence[float] = IMAGENET_STD,
        size_divisibility: int = 32,
        class_names: Sequence[str] = (),
        input_sides: tuple[int, int] = (360, 1333),
    ) -> None:
        super().__init__()
        if class_names and len(class_names) != decoder.num_classes:
            raise ValueError(f"class_names must name {decoder.num_classes} classes, got {len(class_names)} names.")
        self.backbone = backbone
        self.pixel_decoder = pixel_decoder
        self.decoder = decoder
        self.size_divisibility = size_divisibility
        self.class_names = tuple(class_names)
        self.input_sides = input_sides
        self.register_buffer("pixel_mean", torch.tensor(pixel_mean).view(3, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(pixel_std).view(3, 1, 1), persistent=False)

    @property
    def num_classes(self) -> int:
        """K, without "no object"."""
        return self.decoder.num_classes

    def forward(self, frames: Tensor | Sequence[Tensor]) -> ClipOutput:
        """Predict the objects of each clip.

        Args:
            frames: ``(B, T, 3, H, W)``, RGB 0..255, uint8 or floating point; or a list of ``B`` clips
                ``(T, 3, H_i, W_i)``, which are padded to a common size.

        Returns:
            One prediction per query and clip; masks cover the padded frames at stride 4.
        """
        return self.decode(self.encode(frames))

    def encode(self, frames: Tensor | Sequence[Tensor]) -> ClipFeatures:
        """The part that looks at each frame by itself; arguments as in :meth:`forward`."""
        normalised, frame_size = self._normalise_and_pad(frames)
        batch = normalised.shape[:2]
        features = self.backbone(normalised.flatten(0, 1).contiguous(memory_format=torch.channels_last))
        mask_features, levels = self.pixel_decoder(features)
        return ClipFeatures(
            mask_features=mask_features.unflatten(0, batch),
            levels=tuple(level.unflatten(0, batch) for level in levels),
            frame_size=frame_size,
            padded_size=(normalised.shape[3], normalised.shape[4]),
        )

    def decode(self, features: ClipFeatures, initial_queries: Tensor | None = None) -> ClipOutput:
        """The part that looks at whole clips.

        Args:
            features: From :meth:`encode`.
            initial_queries: Start from these queries, ``(B, Q, C)``, instead of the learned ones.
        """
        return self.decoder(features, initial_queries)

    def recompute_activations(self, enabled: bool = True) -> None:
        """Trade time for memory in training: recompute activations in the backward pass instead of keeping them."""
        for part in (self.backbone, self.pixel_decoder, self.decoder):
            part.recompute = enabled

    def _normalise_and_pad(self, frames: Tensor | Sequence[Tensor]) -> tuple[Tensor, tuple[int, int]]:
        """Frames as the backbone wants them, ``(B, T, 3, H, W)``, and their size before padding."""
        clips = list(frames)
        _check_clips(frames, clips)
        height = max(clip.shape[2] for clip in clips)
        width = max(clip.shape[3] for clip in clips)
        padded_height, padded_width = (
            -(-side // self.size_divisibility) * self.size_divisibility for side in (height, width)
        )
        device, dtype = self.pixel_mean.device, self.pixel_mean.dtype
        normalised = [
            F.pad(
                # First to the device, then to floats: bytes are a quarter of the way.
                (clip.to(device).to(dtype) - self.pixel_mean) / self.pixel_std,
                (0, padded_width - clip.shape[3], 0, padded_height - clip.shape[2]),
            )
            for clip in clips
        ]
        return torch.stack(normalised), (height, width)


def _check_clips(frames: Tensor | Sequence[Tensor], clips: list[Tensor]) -> None:
    if isinstance(frames, Tensor) and frames.ndim != 5:
        raise ValueError(
            f"frames must be (B, T, 3, H, W), got {tuple(frames.shape)}. "
            "Add a batch axis with frames[None], and a time axis with frames[:, None] for images."
        )
    if not clips:
        raise ValueError("frames must hold at least one clip, got none.")
    for clip in clips:
        if not isinstance(clip, Tensor):
            raise TypeError(f"clips must be tensors, got {type(clip).__name__}. Convert arrays with torch.from_numpy.")
        if clip.ndim != 4 or clip.shape[1] != 3 or clip.shape[0] != clips[0].shape[0] or 0 in clip.shape:
            raise ValueError(
                f"every clip must be (T, 3, H, W) with T = {clips[0].shape[0]} as in the first, "
                f"got {tuple(clip.shape)}. Frames are RGB, channels before height."
            )
