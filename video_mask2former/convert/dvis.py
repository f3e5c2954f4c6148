"""Names of the published DVIS and DVIS++ trackers and refiners, and of the re-ID heads of DVIS++ and CTVIS."""

from __future__ import annotations

from video_mask2former.convert.key_map import Entry, Rename


def _attention(theirs: str, ours: str, attention: str) -> list[Entry]:
    """One post-norm attention layer of a stack; ``attention`` is what the published code calls it inside."""
    return [
        Rename(f"{theirs}.{{layer}}.{attention}.in_proj_{{parameter}}", f"{ours}.attention.in_proj_{{parameter}}"),
        Rename(f"{theirs}.{{layer}}.{attention}.out_proj.{{parameter}}", f"{ours}.attention.out_proj.{{parameter}}"),
        Rename(f"{theirs}.{{layer}}.norm.{{parameter}}", f"{ours}.norm.{{parameter}}"),
    ]


def _feed_forward(theirs: str, ours: str) -> list[Entry]:
    return [
        Rename(f"{theirs}.{{layer}}.linear{{index}}.{{parameter}}", f"{ours}.linear{{index}}.{{parameter}}"),
        Rename(f"{theirs}.{{layer}}.norm.{{parameter}}", f"{ours}.norm.{{parameter}}"),
    ]


_HEADS: list[Entry] = [
    Rename("decoder_norm.{parameter}", "norm.{parameter}"),
    Rename("class_embed.{parameter}", "class_embed.{parameter}"),
    Rename("mask_embed.layers.{layer}.{parameter}", "mask_embed.layers.{layer}.{parameter}"),
]

REFERRING_TRACKER: tuple[Entry, ...] = (
    *_attention("transformer_self_attention_layers", "layers.{layer}.self_attention", "self_attn"),
    *_attention("transformer_cross_attention_layers", "layers.{layer}.cross_attention", "multihead_attn"),
    *_feed_forward("transformer_ffn_layers", "layers.{layer}.feed_forward"),
    *_HEADS,
    Rename("ref_proj.layers.{layer}.{parameter}", "reference_projection.layers.{layer}.{parameter}"),
    Rename("mask_feature_proj.{parameter}", "mask_feature_projection.{parameter}"),
)

TEMPORAL_REFINER: tuple[Entry, ...] = (
    *_attention("transformer_time_self_attention_layers", "layers.{layer}.time_attention", "self_attn"),
    Rename("conv_short_aggregate_layers.{layer}.0.{parameter}", "layers.{layer}.conv1.{parameter}"),
    Rename("conv_short_aggregate_layers.{layer}.2.{parameter}", "layers.{layer}.conv2.{parameter}"),
    Rename("conv_norms.{layer}.{parameter}", "layers.{layer}.conv_norm.{parameter}"),
    *_attention("transformer_obj_self_attention_layers", "layers.{layer}.object_attention", "self_attn"),
    *_attention("transformer_cross_attention_layers", "layers.{layer}.cross_attention", "multihead_attn"),
    *_feed_forward("transformer_ffn_layers", "layers.{layer}.feed_forward"),
    *_HEADS,
    Rename("activation_proj.{parameter}", "activation.{parameter}"),
)

REID_HEAD: tuple[Entry, ...] = (
    Rename("reid_embed.layers.{layer}.{parameter}", "reid_embed.layers.{layer}.{parameter}"),
)
