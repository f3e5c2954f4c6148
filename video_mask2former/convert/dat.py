"""Names of the published DAT and DAT++ checkpoints: ImageNet classifiers, and backbones of detectors."""

from __future__ import annotations

from video_mask2former.convert.key_map import Entry, Ignored, KeyMap, Rename, prefixed

# Blocks of the deepest stage there is
_MAX_DEPTH = 18
_RECOMPUTED = "made from the sizes of windows and maps"
_CLASSIFIES = "classifies ImageNet"


def _norms(block: int) -> list[Entry]:
    """Their norms of a stage are one list, two for each block."""
    return [
        Rename(
            f"stages.{{stage}}.layer_norms.{2 * block + index}.norm.{{parameter}}",
            f"stages.{{stage}}.{block}.norm{index + 1}.{{parameter}}",
        )
        for index in (0, 1)
    ]


def _attention(theirs: str, ours: str) -> Rename:
    return Rename(f"stages.{{stage}}.attns.{{block}}.{theirs}", f"stages.{{stage}}.{{block}}.attention.{ours}")


def _feed_forward(theirs: str, ours: str) -> Rename:
    return Rename(
        f"stages.{{stage}}.mlps.{{block}}.{theirs}.{{parameter}}",
        f"stages.{{stage}}.{{block}}.mlp.{ours}.{{parameter}}",
    )


DAT_ENTRIES: tuple[Entry, ...] = (
    *(
        Rename(f"patch_proj.{theirs}.{{parameter}}", f"patch_embed.{ours}.{{parameter}}")
        for theirs, ours in (("0", "0"), ("1.norm", "1"), ("3", "3"), ("4.norm", "4"))
    ),
    *(entry for block in range(_MAX_DEPTH) for entry in _norms(block)),
    # windows
    _attention("proj_qkv.{parameter}", "qkv.{parameter}"),
    _attention("relative_position_bias_table", "relative_position_bias_table"),
    Ignored("stages.{stage}.attns.{block}.relative_position_index", _RECOMPUTED),
    Ignored("stages.{stage}.attns.{block}.attn_mask", _RECOMPUTED),
    # windows and deformable attention
    _attention("proj_out.{parameter}", "projection.{parameter}"),
    # deformable attention
    *(
        _attention(f"conv_offset.{theirs}{{parameter}}", f"offsets.{ours}{{parameter}}")
        for theirs, ours in (("0.", "0."), ("1.norm.", "1."), ("3.", "3."))
    ),
    *(_attention(f"proj_{name[0]}.{{parameter}}", f"{name}.{{parameter}}") for name in ("query", "key", "value")),
    _attention("rpe_table", "position_bias_table"),
    # neighbourhood attention
    _attention("qkv.{parameter}", "input_projection.{parameter}"),
    _attention("proj.{parameter}", "output_projection.{parameter}"),
    _attention("rpb", "neighbour_bias_table"),
    _feed_forward("chunk.linear1", "fc1"),
    _feed_forward("chunk.linear2", "fc2"),
    _feed_forward("linear1.0", "linear1"),
    _feed_forward("linear2.0", "linear2"),
    _feed_forward("dwc", "depthwise"),
    Rename(
        "stages.{stage}.local_perception_units.{block}.{parameter}",
        "stages.{stage}.{block}.local_perception.{parameter}",
    ),
    Rename("down_projs.{index}.0.weight", "downsamples.{index}.0.weight"),
    Rename("down_projs.{index}.1.norm.{parameter}", "downsamples.{index}.1.{parameter}"),
    *(Rename(f"norms.{index}.norm.{{parameter}}", f"output_norms.res{index + 2}.{{parameter}}") for index in range(4)),
)

IMAGENET_DAT = KeyMap(
    prefixed(
        (
            *DAT_ENTRIES,
            Ignored("cls_norm.norm.{parameter}", "normalises the last stage for the ImageNet classifier"),
            Ignored("cls_head.{parameter}", _CLASSIFIES),
        ),
        "",
        "backbone.",
    )
)
