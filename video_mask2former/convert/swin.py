"""Names of ImageNet Swin Transformers: the official release, and timm's."""

from __future__ import annotations

from video_mask2former.convert.key_map import Entry, Ignored, KeyMap, Rename, prefixed

_BLOCK: tuple[Entry, ...] = (
    Rename(
        "layers.{stage}.blocks.{block}.norm{index}.{parameter}", "stages.{stage}.blocks.{block}.norm{index}.{parameter}"
    ),
    Rename(
        "layers.{stage}.blocks.{block}.attn.relative_position_bias_table",
        "stages.{stage}.blocks.{block}.attention.relative_position_bias_table",
    ),
    Rename(
        "layers.{stage}.blocks.{block}.attn.qkv.{parameter}", "stages.{stage}.blocks.{block}.attention.qkv.{parameter}"
    ),
    Rename(
        "layers.{stage}.blocks.{block}.attn.proj.{parameter}",
        "stages.{stage}.blocks.{block}.attention.projection.{parameter}",
    ),
    Rename(
        "layers.{stage}.blocks.{block}.mlp.fc{index}.{parameter}",
        "stages.{stage}.blocks.{block}.mlp.linear{index}.{parameter}",
    ),
    Ignored("layers.{stage}.blocks.{block}.attn.relative_position_index", "made from the window size"),
    Ignored("layers.{stage}.blocks.{block}.attn_mask", "made from the size of the input"),
)

_PATCH_EMBED = (
    Rename("patch_embed.proj.{parameter}", "patch_embed.projection.{parameter}"),
    Rename("patch_embed.norm.{parameter}", "patch_embed.norm.{parameter}"),
)

_CLASSIFIER = (
    Ignored("norm.{parameter}", "normalises the last stage for the ImageNet classifier"),
    Ignored("head.{parameter}", "classifies ImageNet"),
    Ignored("head.fc.{parameter}", "classifies ImageNet"),
)

# The backbone of the published Mask2Former: the official names, and one norm for each level.
SWIN_ENTRIES: tuple[Entry, ...] = (
    *_PATCH_EMBED,
    *_BLOCK,
    Rename("layers.{stage}.downsample.norm.{parameter}", "stages.{stage}.downsample.norm.{parameter}"),
    Rename("layers.{stage}.downsample.reduction.weight", "stages.{stage}.downsample.reduction.weight"),
    *(Rename(f"norm{index}.{{parameter}}", f"output_norms.res{index + 2}.{{parameter}}") for index in range(4)),
)

IMAGENET_SWIN = KeyMap(prefixed((*SWIN_ENTRIES, *_CLASSIFIER), "", "backbone."))

# timm halves the resolution at the start of a stage, the official code at the end of the one before.
TIMM_SWIN = KeyMap(
    prefixed(
        (
            *_PATCH_EMBED,
            *_BLOCK,
            *(
                Rename(f"layers.{stage + 1}.downsample.{name}", f"stages.{stage}.downsample.{name}")
                for stage in range(3)
                for name in ("norm.{parameter}", "reduction.weight")
            ),
            *_CLASSIFIER,
        ),
        "",
        "backbone.",
    )
)
