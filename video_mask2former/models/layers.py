"""Layers used by more than one part of the model."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from video_mask2former.distributed import is_distributed, sum_with_gradient


class FrozenBatchNorm2d(nn.Module):
    """Batch normalisation with fixed statistics and affine terms, folded into the convolution before it.

    Args:
        num_channels: C.
        eps: Added to the variance.
    """

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, num_channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.register_buffer("weight", torch.ones(num_channels))
        self.register_buffer("bias", torch.zeros(num_channels))
        self.register_buffer("running_mean", torch.zeros(num_channels))
        self.register_buffer("running_var", torch.ones(num_channels))

    def scale_and_shift(self) -> tuple[Tensor, Tensor]:
        """The map as ``x * scale + shift``, each ``(C,)``."""
        scale = self.weight * (self.running_var + self.eps).rsqrt()
        return scale, self.bias - self.running_mean * scale


class SyncedBatchNorm1d(nn.BatchNorm1d):
    """Batch normalisation over the rows of all processes of a training, ``(N, C)``; on any device.

    Ranks may have different numbers of rows. Alone, and in evaluation, it is ``nn.BatchNorm1d``.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor
    momentum: float

    def forward(self, input: Tensor) -> Tensor:
        """Map ``(N, C)`` to the same shape."""
        if not self.training or not is_distributed():
            return super().forward(input)
        x = input.float() if input.dtype in (torch.float16, torch.bfloat16) else input
        sums = sum_with_gradient(torch.cat([x.sum(dim=0), x.new_tensor([x.shape[0]])]))
        count = sums[-1].detach()
        centred = x - sums[:-1] / count
        variance = sum_with_gradient(centred.square().sum(dim=0)) / count
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_((sums[:-1] / count).to(self.running_mean), self.momentum)
            unbiased = variance * (count / (count - 1).clamp(min=1))
            self.running_var.lerp_(unbiased.to(self.running_var), self.momentum)
        return (centred * (variance + self.eps).rsqrt() * self.weight + self.bias).to(input.dtype)


def conv_frozen_norm(x: Tensor, conv: nn.Conv2d, norm: FrozenBatchNorm2d) -> Tensor:
    """``norm(conv(x))`` as one convolution: the scale goes into its weight, the shift is its bias.

    Exact, differentiable in ``conv.weight``, and one pass over the activations instead of two.
    """
    scale, shift = norm.scale_and_shift()
    weight = conv.weight * scale[:, None, None, None]
    return F.conv2d(x, weight, shift, conv.stride, conv.padding, conv.dilation, conv.groups)


def token_linear(tokens: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """``F.linear`` over many tokens, ``(N, S, C_in)`` to ``(N, S, C_out)``.

    On the CPU in float32 it is written as a 1x1 convolution over maps of one row: oneDNN, which computes those, is a
    fifth faster than the BLAS that computes linear layers, and adds the bias on the way. Same numbers to rounding.
    """
    if tokens.numel() == 0 or not _has_fast_pointwise_convolution(tokens):
        return F.linear(tokens, weight, bias)
    maps = tokens.transpose(1, 2)[:, :, None]  # (N, C, 1, S), channels last in memory
    return F.conv2d(maps, weight[:, :, None, None], bias)[:, :, 0].transpose(1, 2)


def _has_fast_pointwise_convolution(x: Tensor) -> bool:
    """With one thread torch computes 1x1 convolutions another way, and so do other dtypes; compilers choose anyway."""
    is_float32_on_cpu = x.device.type == "cpu" and x.dtype == torch.float32
    return is_float32_on_cpu and not torch.compiler.is_compiling() and torch.get_num_threads() > 1


class ConvNorm(nn.Module):
    """Convolution without bias followed by GroupNorm, with ReLU where asked.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel_size: Odd; the output has the input's height and width.
        num_groups: Groups of the normalisation.
        has_bias: Whether the convolution keeps a bias of its own.
        has_relu: Whether a ReLU comes last.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 1,
        *,
        num_groups: int = 32,
        has_bias: bool = False,
        has_relu: bool = False,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2, bias=has_bias)
        self.norm = nn.GroupNorm(num_groups, out_channels)
        self.has_relu = has_relu

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, C_in, h, w)`` to ``(N, C_out, h, w)``."""
        x = self.norm(self.conv(x))
        return F.relu(x, inplace=True) if self.has_relu else x


class MapLayerNorm(nn.LayerNorm):
    """Layer normalisation over the channels of maps ``(N, C, h, w)``."""

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, C, h, w)`` to the same shape."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class MLP(nn.Module):
    """Linear layers with ReLU between them.

    Args:
        in_dim: Features that go in.
        hidden_dim: Features between layers.
        out_dim: Features that come out.
        num_layers: Number of linear layers.
    """

    def __init__(self, in_dim: int, hidden_dim: int, out_dim: int, num_layers: int) -> None:
        super().__init__()
        dims = [in_dim, *[hidden_dim] * (num_layers - 1), out_dim]
        self.layers = nn.ModuleList(nn.Linear(dims[i], dims[i + 1]) for i in range(num_layers))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(..., in_dim)`` to ``(..., out_dim)``."""
        for layer in self.layers[:-1]:
            x = F.relu(layer(x))
        return self.layers[-1](x)


class DropPath(nn.Module):
    """Stochastic depth: in training, drop the whole branch of a sample and rescale the others (arXiv:1603.09382).

    Args:
        probability: Chance to drop.
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        if not 0.0 <= probability < 1.0:
            raise ValueError(f"probability must be in [0, 1), got {probability}.")
        self.probability = probability

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, ...)`` to the same shape."""
        if self.probability == 0.0 or not self.training:
            return x
        keep = 1.0 - self.probability
        mask = x.new_empty(x.shape[0], *[1] * (x.ndim - 1)).bernoulli_(keep)
        return x * (mask / keep)


def run_layer(layer: Callable[..., Tensor], *inputs: object, recompute: bool) -> Tensor:
    """Call a layer; with ``recompute`` its activations are recomputed in the backward pass instead of kept."""
    if recompute and torch.is_grad_enabled():
        return checkpoint(layer, *inputs, use_reentrant=False)
    return layer(*inputs)


def check_heads(hidden_dim: int, num_heads: int) -> None:
    """Reject channels that attention heads cannot share out evenly."""
    if hidden_dim % num_heads:
        raise ValueError(f"hidden_dim must be a multiple of num_heads, got {hidden_dim = } and {num_heads = }.")
