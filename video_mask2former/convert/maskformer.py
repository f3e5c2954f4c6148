"""Names of the published MaskFormer checkpoints (arXiv:2107.06278)."""

from __future__ import annotations

from video_mask2former.convert.detectron2 import RESNET_ENTRIES
from video_mask2former.convert.key_map import Entry, Ignored, KeyMap, Rename, prefixed
from video_mask2former.convert.swin import SWIN_ENTRIES

_RECOMPUTED = "made from the configuration"


def _attention(theirs: str, ours: str) -> list[Entry]:
    return [
        Rename(f"{theirs}.in_proj_{{parameter}}", f"{ours}.attention.in_proj_{{parameter}}"),
        Rename(f"{theirs}.out_proj.{{parameter}}", f"{ours}.attention.out_proj.{{parameter}}"),
    ]


def _layer(theirs: str, ours: str, *names: str) -> list[Entry]:
    """A layer of encoder or decoder; its norms are numbered in the order of its parts, whose names are given."""
    return [
        *_attention(f"{theirs}.self_attn", f"{ours}.self_attention"),
        Rename(f"{theirs}.linear{{index}}.{{parameter}}", f"{ours}.feed_forward.linear{{index}}.{{parameter}}"),
        *(
            Rename(f"{theirs}.norm{number}.{{parameter}}", f"{ours}.{name}.norm.{{parameter}}")
            for number, name in enumerate(names, start=1)
        ),
    ]


_PIXEL_DECODER: tuple[Entry, ...] = (
    Rename("input_proj.{parameter}", "input_projection.{parameter}"),
    *_layer("transformer.encoder.layers.{layer}", "encoder_layers.{layer}", "self_attention", "feed_forward"),
    *(Rename(f"adapter_{index}.weight", f"laterals.res{index + 1}.conv.weight") for index in (1, 2, 3)),
    *(
        Rename(f"adapter_{index}.norm.{{parameter}}", f"laterals.res{index + 1}.norm.{{parameter}}")
        for index in (1, 2, 3)
    ),
    *(Rename(f"layer_{index}.weight", f"outputs.res{index + 1}.conv.weight") for index in (1, 2, 3, 4)),
    *(
        Rename(f"layer_{index}.norm.{{parameter}}", f"outputs.res{index + 1}.norm.{{parameter}}")
        for index in (1, 2, 3, 4)
    ),
    Rename("mask_features.{parameter}", "mask_projection.{parameter}"),
)

_PREDICTOR: tuple[Entry, ...] = (
    Rename("query_embed.weight", "query_embed.weight"),
    Rename("input_proj.{parameter}", "input_projection.{parameter}"),
    *_layer(
        "transformer.decoder.layers.{layer}", "layers.{layer}", "self_attention", "cross_attention", "feed_forward"
    ),
    *_attention("transformer.decoder.layers.{layer}.multihead_attn", "layers.{layer}.cross_attention"),
    Rename("transformer.decoder.norm.{parameter}", "norm.{parameter}"),
    Rename("class_embed.{parameter}", "class_embed.{parameter}"),
    Rename("mask_embed.layers.{layer}.{parameter}", "mask_embed.layers.{layer}.{parameter}"),
)

MASKFORMER = KeyMap(
    [
        *prefixed(RESNET_ENTRIES, "backbone.", "backbone."),
        *prefixed(SWIN_ENTRIES, "backbone.", "backbone."),
        *prefixed(_PIXEL_DECODER, "sem_seg_head.pixel_decoder.", "pixel_decoder."),
        *prefixed(_PREDICTOR, "sem_seg_head.predictor.", "decoder."),
        Ignored("criterion.empty_weight", _RECOMPUTED),
        Ignored("pixel_mean", _RECOMPUTED),
        Ignored("pixel_std", _RECOMPUTED),
    ],
    # The first releases had one level less in the names of the pixel decoder.
    aliases=[
        Rename(f"sem_seg_head.{entry.theirs}", f"sem_seg_head.pixel_decoder.{entry.theirs}")
        for entry in _PIXEL_DECODER
        if isinstance(entry, Rename)
    ],
)
