"""What MaX-DeepLab makes of its encoder's maps and memory: masks, classes, and a semantic map for training."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from video_mask2former.mask_logits import MaskLogits
from video_mask2former.models.max_deeplab.layers import BatchNorm, ConvBatchNorm, SeparableConv, TokenBatchNorm


class PixelHead(nn.Module):
    """A separable convolution and a 1x1 convolution with bias.

    Args:
        in_channels: Channels of the input.
        hidden_channels: Channels between the two.
        out_channels: Channels of the output.
    """

    def __init__(self, in_channels: int, hidden_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = SeparableConv(in_channels, hidden_channels)
        self.output = nn.Conv2d(hidden_channels, out_channels, kernel_size=1)
        nn.init.normal_(self.output.weight, std=0.01)
        nn.init.zeros_(self.output.bias)  # type: ignore[arg-type]  # it has one

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, C_in, h, w)`` to ``(N, C_out, h, w)``."""
        return self.output(self.conv(x))


class MaskHead(nn.Module):
    """Masks as products of normalised pixel features and one kernel per slot, and the class of each slot.

    Args:
        num_classes: K, without "no object".
        pixel_channels: Channels of the finest map.
        slot_channels: Channels of what the memory says of masks, and of classes.
        hidden_channels: Hidden channels of the pixel head.
        mask_channels: Channels of pixel features and kernels.
    """

    void_prior: Tensor

    def __init__(
        self,
        num_classes: int,
        pixel_channels: int,
        slot_channels: int,
        *,
        hidden_channels: int = 256,
        mask_channels: int = 128,
    ) -> None:
        super().__init__()
        self.pixel_head = PixelHead(pixel_channels, hidden_channels, mask_channels)
        self.pixel_norm = BatchNorm(mask_channels)
        self.mask_embed = TokenBatchNorm(slot_channels, mask_channels, has_relu=False)
        self.mask_norm = BatchNorm(1, initial_scale=0.1)
        self.class_embed = nn.Conv1d(slot_channels, num_classes + 1, kernel_size=1)
        nn.init.normal_(self.class_embed.weight, std=0.01)
        nn.init.zeros_(self.class_embed.bias)  # type: ignore[arg-type]  # it has one
        # A tenth of the probability is for objects at the start.
        prior = torch.zeros(num_classes + 1)
        prior[-1] = math.log(num_classes * 0.9 / 0.1)
        self.register_buffer("void_prior", prior, persistent=False)

    def features(self, pixels: Tensor) -> Tensor:
        """Mask features: normalised pixel features and a constant one.

        Args:
            pixels: Activated map, ``(N, C, h, w)``.

        Returns:
            ``(N, mask_channels + 1, h, w)``.
        """
        features = F.normalize(self.pixel_norm(self.pixel_head(pixels)), dim=1, eps=1e-6)
        return torch.cat((features, torch.ones_like(features[:, :1])), dim=1)

    def masks(self, slots: Tensor, features: Tensor) -> MaskLogits:
        """Mask logits of ``N`` clips of one frame, from slots ``(N, Q, C_slot)`` and mask features."""
        kernels = self.mask_embed(slots.transpose(1, 2)).transpose(1, 2)  # (N, Q, C)
        scale, shift = self._normalisation(kernels, features[:, :-1])
        embeddings = torch.cat((kernels * scale, shift.expand(*kernels.shape[:2], 1)), dim=2)
        return MaskLogits(embeddings, features[:, None])

    def classes(self, slots: Tensor) -> Tensor:
        """Class logits ``(N, Q, K + 1)`` from slots ``(N, Q, C_slot)``."""
        return self.class_embed(slots.transpose(1, 2)).transpose(1, 2) + self.void_prior

    def _normalisation(self, kernels: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        """Batch normalisation of all mask logits, one channel, as the map ``x * scale + shift``."""
        norm = self.mask_norm
        mean, variance = norm.running_mean, norm.running_var
        if self.training:
            logits = torch.einsum("nqc,nchw->nqhw", kernels, features)
            variance, mean = (part[None] for part in torch.var_mean(logits, correction=0))
            with torch.no_grad():
                norm.running_mean.lerp_(mean.to(norm.running_mean.dtype), norm.momentum)
                norm.running_var.lerp_(variance.to(norm.running_var.dtype), norm.momentum)
        scale = norm.weight * (variance + norm.eps).rsqrt()
        return scale, norm.bias - mean * scale


class DeeplabDecoder(nn.Module):
    """The semantic decoder of DeepLabv3+ (arXiv:1802.02611), for maps at strides 16, 8 and 4.

    Args:
        channels: Channels at strides 16, 8 and 4.
        hidden_channels: Channels of what comes out.
        pooling_size: Height and width of the windows that are averaged, at stride 16: those of a training image.
        dropout: Chance to drop a value of the joined branches in training.
    """

    def __init__(
        self,
        channels: tuple[int, int, int],
        *,
        hidden_channels: int = 256,
        pooling_size: tuple[int, int] = (41, 41),
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        coarse, middle, fine = channels
        self.pooling_size = pooling_size
        self.hidden_channels = hidden_channels
        self.pointwise = ConvBatchNorm(coarse, hidden_channels)
        self.dilated = nn.ModuleList(
            ConvBatchNorm(coarse, hidden_channels, kernel_size=3, dilation=rate) for rate in (6, 12, 18)
        )
        self.pooled = ConvBatchNorm(coarse, hidden_channels)
        self.joined = ConvBatchNorm(5 * hidden_channels, hidden_channels)
        self.dropout = nn.Dropout(dropout)
        self.laterals = nn.ModuleList((ConvBatchNorm(middle, 64), ConvBatchNorm(fine, 32)))
        self.fusions = nn.ModuleList(SeparableConv(hidden_channels + width, hidden_channels) for width in (64, 32))

    def forward(self, coarse: Tensor, middle: Tensor, fine: Tensor) -> Tensor:
        """Map activated maps at strides 16, 8 and 4 to ``(N, hidden_channels, h, w)`` at stride 4."""
        branches = [self.pointwise(coarse), *(convolution(coarse) for convolution in self.dilated), self._pool(coarse)]
        x = self.dropout(self.joined(torch.cat(branches, dim=1)))
        for lateral, fusion, level in zip(self.laterals, self.fusions, (middle, fine), strict=True):
            x = resize(x, (level.shape[2], level.shape[3]))
            x = fusion(torch.cat((x, lateral(level)), dim=1))
        return x

    def _pool(self, x: Tensor) -> Tensor:
        """Means over windows, one after the other without overlap, spread over the map again."""
        size = (x.shape[2], x.shape[3])
        window = (min(self.pooling_size[0], size[0]), min(self.pooling_size[1], size[1]))
        return resize(self.pooled(F.avg_pool2d(x, window)), size)


def resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear, corners on corners."""
    if tuple(x.shape[2:]) == size:
        return x
    return F.interpolate(x, size=size, mode="bilinear", align_corners=True)
