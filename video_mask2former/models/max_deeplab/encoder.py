"""The networks of MaX-DeepLab-S and MaX-DeepLab-L (arXiv:2012.00759): maps and memory, updated side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from video_mask2former.models.layers import run_layer
from video_mask2former.models.max_deeplab.attention import AxialBlock, DualPathLayer
from video_mask2former.models.max_deeplab.heads import resize
from video_mask2former.models.max_deeplab.layers import BasicBlock, BottleneckBlock, ConvBatchNorm, TokenBatchNorm

Block = Literal["bottleneck", "basic", "axial"]
# Filters of dual-path layers are this, or twice this
_TRANSFORMER_FILTERS = 128


@dataclass(frozen=True)
class StagePlan:
    """Blocks that work at one resolution.

    Attributes:
        name: Of the module.
        stride: Of the maps that come out, against the frames.
        channels: Of the maps that come out.
        blocks: Kind of each block.
        transformer_filters: Filters of the dual-path layer after every block, 0 for none.
        first_stride: Stride of the first block.
        fuses: Whether the stage starts from earlier maps of its resolution as well, and is kept for later ones.
    """

    name: str
    stride: int
    channels: int
    blocks: tuple[Block, ...]
    transformer_filters: int = 0
    first_stride: int = 1
    fuses: bool = False


@dataclass(frozen=True)
class NetworkPlan:
    """A whole network.

    Attributes:
        stem_channels: Of each convolution of the stem; the first has stride 2.
        stages: From the stem to the coarsest map.
        decoder: What comes after; the last of them makes the panoptic map.
        kept: Names of stages that the decoder starts from.
        semantic: Name of the stage that makes the semantic map.
        memory_channels: Channels of each slot of the memory.
        slot_channels: Channels of what comes out for each slot.
        axial_expansion: See :class:`AxialBlock`.
        drop_path_from: Stages of this stride and coarser drop branches in training.
    """

    stem_channels: tuple[int, ...]
    stages: tuple[StagePlan, ...]
    decoder: tuple[StagePlan, ...]
    kept: tuple[str, ...]
    semantic: str
    memory_channels: int
    slot_channels: int
    axial_expansion: int
    drop_path_from: int


@dataclass(frozen=True)
class Encoded:
    """What the network makes of frames.

    Attributes:
        panoptic: Activated map at stride 4, ``(N, C, h, w)``.
        semantic: Activated map that semantic classes are read from.
        middle: Map of the third stage at stride 8, activated.
        fine: Map of the second stage at stride 4, activated.
        mask_slots: What the memory says of masks, ``(N, C_slot, Q)``.
        class_slots: What it says of classes.
    """

    panoptic: Tensor
    semantic: Tensor
    middle: Tensor
    fine: Tensor
    mask_slots: Tensor
    class_slots: Tensor


def small_plan(width: float = 1.0, stem_width: float = 1.0) -> NetworkPlan:
    """MaX-DeepLab-S; ``width`` scales the channels of maps, ``stem_width`` those of the stem."""
    c2, c3, c4, c5 = (round(channels * width) for channels in (256, 512, 1024, 2048))
    stem = round(64 * stem_width)
    return NetworkPlan(
        stem_channels=(stem, stem, 2 * stem),
        stages=(
            StagePlan("stage2", 4, c2, ("bottleneck",) * 3, first_stride=2),
            StagePlan("stage3", 8, c3, ("bottleneck",) * 4, first_stride=2),
            StagePlan("stage4", 16, c4, ("bottleneck", *("axial",) * 5), first_stride=2),
            StagePlan("stage5", 16, c5, ("axial",) * 3, _TRANSFORMER_FILTERS),
        ),
        decoder=(
            StagePlan("stage5_extra", 16, c5, ("axial",), _TRANSFORMER_FILTERS),
            StagePlan("decoder_stage1_extra", 8, c3, ("bottleneck",), fuses=True),
            StagePlan("decoder_stage2_extra", 4, c2, ("bottleneck",), fuses=True),
        ),
        kept=("stage2", "stage3"),
        semantic="stage5",
        memory_channels=256,
        slot_channels=256,
        axial_expansion=2,
        drop_path_from=16,
    )


def large_plan(width: float = 1.0, stem_width: float = 1.0) -> NetworkPlan:
    """MaX-DeepLab-L; ``width`` scales the channels of maps, ``stem_width`` those of stem and first stage."""
    c1 = round(128 * stem_width)
    c2, c3, c4, c5 = (round(channels * width) for channels in (256, 512, 1024, 2048))
    wide = 2 * _TRANSFORMER_FILTERS

    def hourglass(stage: int, stride: int, num_blocks: int) -> StagePlan:
        name = f"decoder_stage{stage}" if num_blocks == 1 else f"decoder_stage{stage}_extra"
        kind: Block = "axial" if stride == 16 else "basic"
        blocks = (kind,) * num_blocks
        if stride == 16:
            return StagePlan(name, 16, c5, blocks, wide, fuses=True)
        return StagePlan(name, stride, c3 if stride == 8 else c2, blocks, fuses=True)

    return NetworkPlan(
        stem_channels=(round(64 * stem_width),),
        stages=(
            StagePlan("stage1", 2, c1, ("basic",) * 3),
            StagePlan("stage2", 4, c2, ("basic",) * 3, first_stride=2),
            StagePlan("stage3", 8, c3, ("basic",) * 6, first_stride=2),
            StagePlan("stage4", 16, c4, ("basic", "axial", "axial"), _TRANSFORMER_FILTERS, first_stride=2),
            StagePlan("stage5", 16, c5, ("axial",) * 3, wide),
        ),
        decoder=(
            *(hourglass(index, stride, 1) for index, stride in enumerate((8, 4, 8, 16), start=1)),
            StagePlan("decoder_stage4_extra", 16, c5, ("axial",) * 3, wide),
            *(hourglass(index, stride, 3) for index, stride in enumerate((8, 4, 8, 16, 8, 4), start=5)),
        ),
        kept=("stage2", "stage3", "stage5"),
        semantic="decoder_stage6_extra",
        memory_channels=512,
        slot_channels=512,
        axial_expansion=4,
        drop_path_from=4,
    )


class MaXDeepLabEncoder(nn.Module):
    """Frames and a learned memory in, maps and what the memory learned of them out.

    Args:
        plan: The network.
        num_slots: Slots of the memory, one for each mask.
        feedforward_dim: Hidden features of the memory's feed-forward networks.
        drop_path_rate: Stochastic depth at stride 32; less at finer strides.

    Attributes:
        recompute: Whether training recomputes activations in the backward pass to save memory.
    """

    recompute: bool = False

    def __init__(
        self, plan: NetworkPlan, *, num_slots: int = 128, feedforward_dim: int = 2048, drop_path_rate: float = 0.2
    ) -> None:
        super().__init__()
        self.plan = plan
        self.memory = nn.Parameter(torch.randn(num_slots, plan.memory_channels))
        self.stem = _make_stem(plan.stem_channels)
        channels = plan.stem_channels[-1]
        kept: dict[int, int] = {}  # stride to channels
        previous_stride = 2
        for stage in (*plan.stages, *plan.decoder):
            if stage.fuses:
                inputs = [(channels, previous_stride), (kept[stage.stride], stage.stride)]
                self.add_module(f"{stage.name}_fuse", ResizedFuse(inputs, stage.channels, stage.stride))
                channels = stage.channels
            self.add_module(
                stage.name, Stage(stage, channels, plan, feedforward_dim=feedforward_dim, drop_path_rate=drop_path_rate)
            )
            if stage.name in plan.kept:
                kept[stage.stride] = stage.channels
            channels, previous_stride = stage.channels, stage.stride
        self.mask_slots = TokenBatchNorm(plan.memory_channels, plan.slot_channels)
        self.class_slots = TokenBatchNorm(plan.memory_channels, plan.slot_channels)

    def forward(self, frames: Tensor) -> Encoded:
        """Encode normalised frames ``(N, 3, H, W)``."""
        maps: dict[str, Tensor] = {}
        memory = self.memory.T.expand(len(frames), -1, -1)
        x = self.stem(frames)
        kept: dict[int, list[Tensor]] = {4: [], 8: [], 16: []}
        for stage in (*self.plan.stages, *self.plan.decoder):
            if stage.fuses:
                x = self.get_submodule(f"{stage.name}_fuse")([x, *kept[stage.stride][-2:]])
            x, memory = self.get_submodule(stage.name)(x, memory, self.recompute)
            maps[stage.name] = x
            if stage.fuses or stage.name in self.plan.kept:
                kept[stage.stride].append(x)
            elif stage.name == "decoder_stage4_extra":
                kept[stage.stride][-1] = x
        return Encoded(
            panoptic=F.relu(x),
            semantic=F.relu(maps[self.plan.semantic]),
            middle=F.relu(maps["stage3"]),
            fine=F.relu(maps["stage2"]),
            mask_slots=self.mask_slots(memory),
            class_slots=self.class_slots(memory),
        )


class Stage(nn.Module):
    """Blocks at one resolution, with dual-path layers between them where planned.

    Args:
        stage: What it is made of.
        in_channels: Channels of the map that comes in.
        plan: The network it belongs to.
        feedforward_dim: Hidden features of the memory's feed-forward networks.
        drop_path_rate: Stochastic depth at stride 32.
    """

    def __init__(
        self, stage: StagePlan, in_channels: int, plan: NetworkPlan, *, feedforward_dim: int, drop_path_rate: float
    ) -> None:
        super().__init__()
        self.num_blocks = len(stage.blocks)
        depth = stage.stride.bit_length() - 2  # 1 at stride 4, 4 at stride 32
        rate = drop_path_rate * depth / 4 if stage.stride >= plan.drop_path_from else 0.0
        for index, kind in enumerate(stage.blocks, start=1):
            stride = stage.first_stride if index == 1 else 1
            self.add_module(f"block{index}", _make_block(kind, in_channels, stage.channels, stride, rate, plan))
            in_channels = stage.channels
            if stage.transformer_filters:
                layer = DualPathLayer(
                    stage.channels,
                    plan.memory_channels,
                    stage.transformer_filters,
                    feedforward_dim=feedforward_dim,
                    drop_path_rate=rate,
                )
                self.add_module(f"transformer{index}", layer)
        self.has_transformers = stage.transformer_filters > 0

    def forward(self, x: Tensor, memory: Tensor, recompute: bool = False) -> tuple[Tensor, Tensor]:
        """Update the map ``(N, C, h, w)``, not activated, and the memory ``(N, C_memory, slots)``."""
        for index in range(1, self.num_blocks + 1):
            x = run_layer(self.get_submodule(f"block{index}"), x, recompute=recompute)
            if self.has_transformers:
                x, memory = self.get_submodule(f"transformer{index}")(x, memory)
        return x, memory


class ResizedFuse(nn.Module):
    """The sum of maps, brought to one size and number of channels.

    Args:
        inputs: Channels and stride of each map; those with ``channels`` channels are only resized.
        channels: Channels of the sum.
        stride: Of the sum. A map of half this stride is brought down by a strided convolution.
    """

    def __init__(self, inputs: Sequence[tuple[int, int]], channels: int, stride: int) -> None:
        super().__init__()
        for index, (in_channels, in_stride) in enumerate(inputs, start=1):
            if in_channels == channels:
                continue
            if in_stride * 2 == stride:
                self.add_module(f"strided{index}", ConvBatchNorm(in_channels, channels, stride=2, has_relu=False))
            else:
                self.add_module(f"resized{index}", ConvBatchNorm(in_channels, channels, has_relu=False))
        self.channels = channels

    def forward(self, maps: Sequence[Tensor], size: tuple[int, int] | None = None) -> Tensor:
        """Fuse maps ``(N, C_i, h_i, w_i)``, not activated, to the size given, or to that of the last one."""
        if size is None:
            size = (maps[-1].shape[2], maps[-1].shape[3])
        parts = []
        for index, x in enumerate(maps, start=1):
            if x.shape[1] == self.channels:
                parts.append(resize(x, size))
            elif hasattr(self, f"strided{index}"):
                parts.append(self.get_submodule(f"strided{index}")(F.relu(x)))
            else:
                parts.append(resize(self.get_submodule(f"resized{index}")(F.relu(x)), size))
        return torch.stack(parts).sum(dim=0)


def _make_stem(channels: Sequence[int]) -> nn.Module:
    """One or three 3x3 convolutions; what comes out is not activated."""
    if len(channels) == 1:
        return ConvBatchNorm(3, channels[0], kernel_size=3, stride=2, has_relu=False)
    stem = nn.Sequential()
    in_channels = 3
    for index, width in enumerate(channels, start=1):
        is_last = index == len(channels)
        convolution = ConvBatchNorm(in_channels, width, 3, stride=2 if index == 1 else 1, has_relu=not is_last)
        stem.add_module(f"conv{index}", convolution)
        in_channels = width
    return stem


def _make_block(
    kind: Block, in_channels: int, channels: int, stride: int, drop_path_rate: float, plan: NetworkPlan
) -> nn.Module:
    if kind == "basic":
        return BasicBlock(in_channels, channels, stride, drop_path_rate)
    if kind == "bottleneck":
        return BottleneckBlock(in_channels, channels // 4, stride, drop_path_rate)
    return AxialBlock(in_channels, channels // 4, stride, drop_path_rate, expansion=plan.axial_expansion)
