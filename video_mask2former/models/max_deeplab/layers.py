"""Convolutions, batch normalisation and residual blocks of MaX-DeepLab (arXiv:2012.00759).

Feature maps travel before their activation: every block activates its input first, takes its shortcut from there, and
returns branch plus shortcut as it is.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from video_mask2former.models.layers import DropPath

# 0.001 in float32, which is what the published models compute with whatever their precision
_EPS = 0.0010000000474974513


class BatchNorm(_BatchNorm):
    """Batch normalisation over axis 1 of a tensor of any rank, with the constants of the published models.

    As in TensorFlow, the running variance averages variances of batches, not estimates of the population's.

    Args:
        num_channels: C.
        initial_scale: Value that the scale starts from.
    """

    running_mean: Tensor
    running_var: Tensor
    momentum: float

    def __init__(self, num_channels: int, initial_scale: float = 1.0) -> None:
        super().__init__(num_channels, eps=_EPS, momentum=0.01)
        nn.init.constant_(self.weight, initial_scale)

    def forward(self, input: Tensor) -> Tensor:
        """Map ``(N, C, ...)`` to the same shape."""
        if not self.training:
            return super().forward(input)
        # Into copies, since the backward pass keeps what it is given.
        mean, variance = self.running_mean.clone(), self.running_var.clone()
        output = F.batch_norm(input, mean, variance, self.weight, self.bias, True, self.momentum, self.eps)
        with torch.no_grad():
            step = variance - self.running_var * (1 - self.momentum)
            self.running_mean.copy_(mean)
            self.running_var.copy_(variance - step * (input.shape[1] / input.numel()))
        return output

    def _check_input_dim(self, input: Tensor) -> None:
        if input.ndim < 2:
            raise ValueError(f"expected a batch with channels, got {tuple(input.shape)}.")


class ConvBatchNorm(nn.Module):
    """Convolution without bias and batch normalisation, with ReLU where asked, on maps ``(N, C, h, w)``.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel_size: Odd.
        stride: Of the convolution; sizes are divided by it and rounded up.
        dilation: Of the convolution.
        groups: Of the convolution.
        has_relu: Whether a ReLU comes last.
        initial_scale: Of the normalisation; 0 makes a residual branch start as nothing.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 1,
        *,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        has_relu: bool = True,
        initial_scale: float = 1.0,
    ) -> None:
        super().__init__()
        padding = dilation * (kernel_size // 2)
        self.conv = nn.Conv2d(
            in_channels, out_channels, kernel_size, stride, padding, dilation=dilation, groups=groups, bias=False
        )
        self.norm = BatchNorm(out_channels, initial_scale)
        self.has_relu = has_relu
        nn.init.kaiming_normal_(self.conv.weight, mode="fan_in", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, C_in, h, w)`` to ``(N, C_out, h', w')``."""
        x = self.norm(self.conv(x))
        return F.relu(x) if self.has_relu else x


class TokenBatchNorm(nn.Module):
    """The same for tokens ``(N, C, S)``: each is projected by itself; arguments as above."""

    def __init__(
        self, in_channels: int, out_channels: int, *, has_relu: bool = True, initial_scale: float = 1.0
    ) -> None:
        super().__init__()
        self.conv = nn.Conv1d(in_channels, out_channels, kernel_size=1, bias=False)
        self.norm = BatchNorm(out_channels, initial_scale)
        self.has_relu = has_relu
        nn.init.kaiming_normal_(self.conv.weight, mode="fan_in", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, C_in, S)`` to ``(N, C_out, S)``."""
        x = self.norm(self.conv(x))
        return F.relu(x) if self.has_relu else x


class SeparableConv(nn.Module):
    """A 5x5 convolution per channel and a 1x1 convolution, each with batch normalisation and ReLU.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.depthwise = ConvBatchNorm(in_channels, in_channels, kernel_size=5, groups=in_channels)
        self.pointwise = ConvBatchNorm(in_channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, C_in, h, w)`` to ``(N, C_out, h, w)``."""
        return self.pointwise(self.depthwise(x))


class ResidualBlock(nn.Module):
    """What residual blocks have in common: the input's activation, the shortcut and the sum.

    A subclass fills ``branch``, from the activated input.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        stride: Of the block.
        drop_path_rate: Chance to drop the branch in training.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int, drop_path_rate: float) -> None:
        super().__init__()
        self.stride = stride
        self.shortcut = (
            ConvBatchNorm(in_channels, out_channels, stride=stride, has_relu=False)
            if in_channels != out_channels
            else None
        )
        self.drop_path = DropPath(drop_path_rate)

    def branch(self, x: Tensor) -> Tensor:
        """The residual of an activated map."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, C_in, h, w)``, not activated, to ``(N, C_out, h', w')``, not activated."""
        x = F.relu(x)
        shortcut = x[:, :, :: self.stride, :: self.stride] if self.shortcut is None else self.shortcut(x)
        return shortcut + self.drop_path(self.branch(x))


class BottleneckBlock(ResidualBlock):
    """1x1, 3x3 and 1x1 convolutions; the output has four times the channels of the 3x3 one.

    Args:
        in_channels: Channels of the input.
        filters: Channels of the 3x3 convolution.
        stride: Of the 3x3 convolution.
        drop_path_rate: Chance to drop the branch in training.
    """

    def __init__(self, in_channels: int, filters: int, stride: int = 1, drop_path_rate: float = 0.0) -> None:
        super().__init__(in_channels, 4 * filters, stride, drop_path_rate)
        self.conv1 = ConvBatchNorm(in_channels, filters)
        self.conv2 = ConvBatchNorm(filters, filters, kernel_size=3, stride=stride)
        self.conv3 = ConvBatchNorm(filters, 4 * filters, has_relu=False, initial_scale=0.0)

    def branch(self, x: Tensor) -> Tensor:
        """The residual of an activated map."""
        return self.conv3(self.conv2(self.conv1(x)))


class BasicBlock(ResidualBlock):
    """Two 3x3 convolutions, of a wide network.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of both convolutions.
        stride: Of the first convolution.
        drop_path_rate: Chance to drop the branch in training.
        dilations: Of the two convolutions.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int = 1,
        drop_path_rate: float = 0.0,
        dilations: tuple[int, int] = (1, 1),
    ) -> None:
        super().__init__(in_channels, out_channels, stride, drop_path_rate)
        self.conv1 = ConvBatchNorm(in_channels, out_channels, 3, stride=stride, dilation=dilations[0])
        self.output = ConvBatchNorm(
            out_channels, out_channels, 3, dilation=dilations[1], has_relu=False, initial_scale=0.0
        )

    def branch(self, x: Tensor) -> Tensor:
        """The residual of an activated map."""
        return self.output(self.conv1(x))
