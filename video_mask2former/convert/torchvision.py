"""Names of torchvision's ImageNet ResNets (timm's are the same) and Swin Transformers."""

from __future__ import annotations

from video_mask2former.convert.key_map import Entry, Ignored, KeyMap, Rename, prefixed

_FROZEN = "batch norm is frozen"
_CLASSIFIES = "classifies ImageNet"


def _resnet_stage(theirs: str, ours: str) -> list[Entry]:
    return [
        Rename(f"{theirs}.{{block}}.conv{{index}}.weight", f"{ours}.{{block}}.conv{{index}}.weight"),
        Rename(f"{theirs}.{{block}}.bn{{index}}.{{statistic}}", f"{ours}.{{block}}.norm{{index}}.{{statistic}}"),
        Ignored(f"{theirs}.{{block}}.bn{{index}}.num_batches_tracked", _FROZEN),
        Rename(f"{theirs}.{{block}}.downsample.0.weight", f"{ours}.{{block}}.shortcut.conv.weight"),
        Rename(f"{theirs}.{{block}}.downsample.1.{{statistic}}", f"{ours}.{{block}}.shortcut.norm.{{statistic}}"),
        Ignored(f"{theirs}.{{block}}.downsample.1.num_batches_tracked", _FROZEN),
    ]


RESNET = KeyMap(
    prefixed(
        (
            Rename("conv1.weight", "stem.conv.weight"),
            Rename("bn1.{statistic}", "stem.norm.{statistic}"),
            Ignored("bn1.num_batches_tracked", _FROZEN),
            *(entry for stage in range(4) for entry in _resnet_stage(f"layer{stage + 1}", f"res{stage + 2}")),
            Ignored("fc.{parameter}", _CLASSIFIES),
        ),
        "",
        "backbone.",
    )
)


def _swin_stage(stage: int) -> list[Entry]:
    """``features`` is one flat list: patch embedding, blocks, merging, blocks, merging, blocks, merging, blocks."""
    blocks, merging = f"features.{2 * stage + 1}", f"features.{2 * stage + 2}"
    ours = f"stages.{stage}"
    attention = f"{ours}.blocks.{{block}}.attention"
    return [
        Rename(
            f"{blocks}.{{block}}.norm{{index}}.{{parameter}}", f"{ours}.blocks.{{block}}.norm{{index}}.{{parameter}}"
        ),
        Rename(f"{blocks}.{{block}}.attn.relative_position_bias_table", f"{attention}.relative_position_bias_table"),
        Rename(f"{blocks}.{{block}}.attn.qkv.{{parameter}}", f"{attention}.qkv.{{parameter}}"),
        Rename(f"{blocks}.{{block}}.attn.proj.{{parameter}}", f"{attention}.projection.{{parameter}}"),
        Rename(f"{blocks}.{{block}}.mlp.0.{{parameter}}", f"{ours}.blocks.{{block}}.mlp.linear1.{{parameter}}"),
        Rename(f"{blocks}.{{block}}.mlp.3.{{parameter}}", f"{ours}.blocks.{{block}}.mlp.linear2.{{parameter}}"),
        Ignored(f"{blocks}.{{block}}.attn.relative_position_index", "made from the window size"),
        Rename(f"{merging}.norm.{{parameter}}", f"{ours}.downsample.norm.{{parameter}}"),
        Rename(f"{merging}.reduction.weight", f"{ours}.downsample.reduction.weight"),
    ]


SWIN = KeyMap(
    prefixed(
        (
            Rename("features.0.0.{parameter}", "patch_embed.projection.{parameter}"),
            Rename("features.0.2.{parameter}", "patch_embed.norm.{parameter}"),
            *(entry for stage in range(4) for entry in _swin_stage(stage)),
            Ignored("norm.{parameter}", "normalises the last stage for the ImageNet classifier"),
            Ignored("head.{parameter}", _CLASSIFIES),
        ),
        "",
        "backbone.",
    )
)
