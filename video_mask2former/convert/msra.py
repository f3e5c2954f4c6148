"""Names of the ImageNet ResNets of MSRA in Caffe2's pickles (``R-50.pkl`` of detectron2's model zoo)."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import torch
from torch import Tensor

from video_mask2former.convert.key_map import Ignored, KeyMap, Rename, prefixed

logger = logging.getLogger(__name__)

_BRANCH_OF_CONV = {"branch2a": 1, "branch2b": 2, "branch2c": 3}
_PIXEL_STD = (58.395, 57.12, 57.375)
_NORM_EPS = 1e-5


def _block_entries(branch: str, conv: str, norm: str) -> list[Rename]:
    theirs, ours = f"res{{stage}}_{{block}}_{branch}", "res{stage}.{block}"
    return [
        Rename(f"{theirs}_w", f"{ours}.{conv}.weight"),
        Rename(f"{theirs}_bn_s", f"{ours}.{norm}.weight"),
        Rename(f"{theirs}_bn_b", f"{ours}.{norm}.bias"),
        Rename(f"{theirs}_bn_rm", f"{ours}.{norm}.running_mean"),
        Rename(f"{theirs}_bn_riv", f"{ours}.{norm}.running_var"),
    ]


RESNET = KeyMap(
    prefixed(
        (
            Rename("conv1_w", "stem.conv.weight"),
            Ignored("conv1_b", "zero: the norm that follows has a bias"),
            Rename("res_conv1_bn_s", "stem.norm.weight"),
            Rename("res_conv1_bn_b", "stem.norm.bias"),
            Rename("res_conv1_bn_rm", "stem.norm.running_mean"),
            Rename("res_conv1_bn_riv", "stem.norm.running_var"),
            *_block_entries("branch1", "shortcut.conv", "shortcut.norm"),
            *(
                entry
                for branch, index in _BRANCH_OF_CONV.items()
                for entry in _block_entries(branch, f"conv{index}", f"norm{index}")
            ),
            Ignored("fc1000_w", "classifies ImageNet"),
            Ignored("fc1000_b", "classifies ImageNet"),
            Ignored("pred_w", "classifies ImageNet"),
            Ignored("pred_b", "classifies ImageNet"),
        ),
        "",
        "backbone.",
    )
)


def to_rgb_with_statistics(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Make MSRA weights fit a network that takes normalised RGB and keeps batch statistics.

    These networks take BGR minus the mean, not divided by a standard deviation, and have their batch statistics
    folded into scale and bias. The first convolution is changed to give the same values on our input.
    """
    logger.warning(
        "MSRA ResNets stride in the first 1x1 convolution of a block, this one in the 3x3: the weights load, but "
        "features differ from those of ImageNet training until they are fine-tuned. Prefer torchvision weights."
    )
    result = dict(weights)
    stem = result["backbone.stem.conv.weight"]
    std = torch.tensor(_PIXEL_STD, dtype=stem.dtype).view(1, 3, 1, 1)
    result["backbone.stem.conv.weight"] = stem.flip(1) * std
    for key, bias in weights.items():
        if key.endswith(".bias"):
            norm = key.removesuffix("bias")
            result.setdefault(f"{norm}running_mean", torch.zeros_like(bias))
            result.setdefault(f"{norm}running_var", torch.full_like(bias, 1 - _NORM_EPS))
    return result
