"""The kinds of checkpoint that are understood, and how each is recognised by its keys."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor

from video_mask2former.convert import (
    dat,
    detectron2,
    dino,
    huggingface,
    huggingface_maskformer,
    huggingface_vit,
    maskformer,
    max_deeplab,
    msra,
    struct_token,
    swin,
    torchvision,
    vit_keys,
    vita,
)
from video_mask2former.convert.efficientnet_lite import EFFICIENTNET_LITE0
from video_mask2former.convert.key_map import KeyMap, Rename

# ImageNet checkpoints of Swin and DAT know nothing of the norms that Mask2Former puts on each level.
_LEVEL_NORMS = r"backbone\.output_norms\."


@dataclass(frozen=True)
class CheckpointFormat:
    """One way of naming parameters.

    Attributes:
        name: What reports call it.
        marker: Regular expression that finds one of its keys and no other format's.
        key_map: Its table of names.
        is_backbone: Whether it holds an ImageNet backbone rather than a whole model.
        may_lack: Regular expression for parameters of ours that such a checkpoint never has.
        only_into: Regular expression for a parameter that the model must have, where it is known.
        adapt: Changes to values that differ in meaning, applied under our names.
        fit: Further changes that depend on the model, whose own values come second.
        needs_backbone: Whether a file gives only what is to be added to, or to stand beside, the weights of a published
            backbone, which have to be in the model before.
    """

    name: str
    marker: str
    key_map: KeyMap
    is_backbone: bool = False
    may_lack: str | None = None
    only_into: str | None = None
    adapt: Callable[[Mapping[str, Tensor]], dict[str, Tensor]] | None = None
    fit: Callable[[Mapping[str, Tensor], Mapping[str, Tensor]], dict[str, Tensor]] | None = None
    needs_backbone: Callable[[Mapping[str, Tensor]], bool] | None = None


OURS = CheckpointFormat(
    "video_mask2former",
    r"^(pixel_decoder|decoder)\.|^encoder\.memory$|^head\.tokens$",
    KeyMap([Rename("{rest}", "{rest}")]),
)
DETECTRON2 = CheckpointFormat("detectron2", r"^sem_seg_head\.", detectron2.MASK2FORMER)
HUGGINGFACE = CheckpointFormat("huggingface", r"^model\.pixel_level_module\.", huggingface.MASK2FORMER)

MASKFORMER = CheckpointFormat("MaskFormer", r"^sem_seg_head\.predictor\.transformer\.decoder\.", maskformer.MASKFORMER)

_PYRAMID = r"backbone\.levels\."

VIT_MODELS = (
    CheckpointFormat("EoMT", r"^network\.q\.weight$", vit_keys.EOMT, needs_backbone=vit_keys.is_delta),
    CheckpointFormat("VidEoMT", r"^backbone\.q\.weight$", vit_keys.VIDEOMT),
    CheckpointFormat("PMT", r"^backbone\.decoder\.q\.weight$", vit_keys.PMT),
    CheckpointFormat(
        "PMT for images",
        r"^network\.decoder\.q\.weight$",
        vit_keys.PMT_IMAGE_DINOV3,
        may_lack=r"backbone\.",
        needs_backbone=lambda weights: True,
    ),
)
VIT_HUGGINGFACE = tuple(
    CheckpointFormat(f"huggingface {name}", marker, key_map, only_into=into, adapt=huggingface_vit.with_batch_axis)
    for name, marker, key_map, into in (
        ("VidEoMT", r"^class_predictor\.weight$", huggingface_vit.VIDEOMT, r"^query_updater\."),
        ("EoMT", r"^embeddings\.position_embeddings\.weight$", huggingface_vit.EOMT, r"^annealing\."),
        ("EoMT on DINOv3", r"^class_predictor\.weight$", huggingface_vit.EOMT_DINOV3, r"^annealing\."),
    )
)
VIT_BACKBONES = (
    CheckpointFormat(
        "timm DINOv3",
        r"^blocks\.0\.gamma_1$",
        dino.TIMM_DINOV3,
        is_backbone=True,
        may_lack=_PYRAMID,
        adapt=dino.drop_key_bias,
        fit=dino.fit_pyramid,
    ),
    CheckpointFormat(
        "DINOv3",
        r"^storage_tokens$",
        dino.DINOV3,
        is_backbone=True,
        may_lack=_PYRAMID,
        adapt=dino.drop_key_bias,
        fit=dino.fit_pyramid,
    ),
    CheckpointFormat(
        "huggingface DINOv3",
        r"^(model\.)?layer\.0\.attention\.q_proj\.weight$",
        dino.HUGGINGFACE_DINOV3,
        is_backbone=True,
        may_lack=_PYRAMID,
        fit=dino.fit_pyramid,
    ),
    CheckpointFormat(
        "DINOv2",
        r"^(reg_token|register_tokens)$",
        dino.DINOV2,
        is_backbone=True,
        may_lack=_PYRAMID,
        fit=dino.fit_dinov2,
    ),
    CheckpointFormat(
        "huggingface DINOv2",
        r"^(dinov2_with_registers\.)?encoder\.layer\.0\.layer_scale1\.lambda1$",
        dino.HUGGINGFACE_DINOV2,
        is_backbone=True,
        may_lack=_PYRAMID,
        fit=dino.fit_dinov2,
    ),
)

# GenVIS starts from VITA, whose module becomes part of its tracker.
_QUERY_MEMORY = r"tracker\.memory\."
_GENVIS_TRACKER = r"^tracker\.aggregator\."
GENVIS = CheckpointFormat("GenVIS", r"^vita_module\.pre_memory_embed_k\.", detectron2.GENVIS)

HUGGINGFACE_MASKFORMER = CheckpointFormat(
    "huggingface MaskFormer",
    r"^model\.pixel_level_module\.decoder\.fpn\.",
    huggingface_maskformer.HUGGINGFACE_MASKFORMER,
)

MAX_DEEPLAB = CheckpointFormat(
    "MaX-DeepLab", r"^encoder/memory_feature", max_deeplab.MAX_DEEPLAB, adapt=max_deeplab.from_tensorflow
)
STRUCT_TOKEN = (
    CheckpointFormat(
        "StructToken with cross-slice extraction",
        r"^decode_head\.layers\.0\.ffn2\.",
        struct_token.STRUCT_TOKEN_CROSS,
    ),
    CheckpointFormat("StructToken", r"^decode_head\.kernels$", struct_token.STRUCT_TOKEN_JOINT),
)

FORMATS = (
    *VIT_MODELS,
    *VIT_HUGGINGFACE,
    *VIT_BACKBONES,
    GENVIS,
    CheckpointFormat("VITA", r"^vita_module\.", detectron2.GENVIS, may_lack=_QUERY_MEMORY, only_into=_GENVIS_TRACKER),
    CheckpointFormat(
        "VITA trained here",
        r"^refiner\.aggregator\.",
        KeyMap(vita.REFINER_TO_TRACKER),
        may_lack=_QUERY_MEMORY,
        only_into=_GENVIS_TRACKER,
    ),
    MAX_DEEPLAB,
    *STRUCT_TOKEN,
    MASKFORMER,
    HUGGINGFACE_MASKFORMER,
    DETECTRON2,
    HUGGINGFACE,
    OURS,
    CheckpointFormat(
        "detectron2 ImageNet ResNet", r"^res2\.0\.conv1\.norm\.", detectron2.IMAGENET_RESNET, is_backbone=True
    ),
    CheckpointFormat(
        "MSRA ImageNet ResNet",
        r"^res2_0_branch2a_w$",
        msra.RESNET,
        is_backbone=True,
        adapt=msra.to_rgb_with_statistics,
    ),
    CheckpointFormat(
        "torchvision ImageNet ResNet", r"^layer1\.0\.conv1\.weight$", torchvision.RESNET, is_backbone=True
    ),
    CheckpointFormat(
        "torchvision ImageNet Swin",
        r"^features\.0\.0\.weight$",
        torchvision.SWIN,
        is_backbone=True,
        may_lack=_LEVEL_NORMS,
    ),
    CheckpointFormat(
        "timm ImageNet Swin", r"^layers\.3\.downsample\.", swin.TIMM_SWIN, is_backbone=True, may_lack=_LEVEL_NORMS
    ),
    CheckpointFormat(
        "ImageNet Swin", r"^patch_embed\.proj\.weight$", swin.IMAGENET_SWIN, is_backbone=True, may_lack=_LEVEL_NORMS
    ),
    CheckpointFormat(
        "ImageNet DAT", r"^patch_proj\.0\.weight$", dat.IMAGENET_DAT, is_backbone=True, may_lack=_LEVEL_NORMS
    ),
    CheckpointFormat("EfficientNet-Lite0", r"^_conv_stem\.weight$", EFFICIENTNET_LITE0, is_backbone=True),
)


def identify_format(keys: Iterable[str], model_keys: Iterable[str] = ()) -> CheckpointFormat:
    """Tell which kind of checkpoint has these keys.

    Args:
        keys: Names of its entries.
        model_keys: Names of the parameters of the model it is for, if that is known: a file that has them all is this
            package's own, whatever parts the model is made of, and so is one of no other kind that has some.

    Raises:
        ValueError: If none does.
    """
    names, own = list(keys), set(model_keys)
    if own and own <= set(names):
        return OURS
    for candidate in FORMATS:
        if candidate.only_into is not None and not _any(candidate.only_into, own):
            continue
        if _any(candidate.marker, names):
            return candidate
    if own & set(names):
        return OURS
    known = ", ".join(candidate.name for candidate in FORMATS)
    raise ValueError(
        f"this checkpoint of {len(names)} entries is of no known kind; its first keys are {names[:3]}. Known: {known}."
    )


def _any(pattern: str, names: Iterable[str]) -> bool:
    regex = re.compile(pattern)
    return any(regex.search(name) for name in names)
