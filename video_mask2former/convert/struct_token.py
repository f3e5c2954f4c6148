"""Names of the published StructToken checkpoints, which are mmsegmentation's."""

from __future__ import annotations

from video_mask2former.convert.key_map import Entry, Ignored, KeyMap, Rename, prefixed

_HEAD_LAYER = "layers.{layer}"
_MAPS = {"query_map": "query", "key_map": "key", "value_map": "value", "out_project": "output"}


def _feed_forward(theirs: str, ours: str) -> list[Entry]:
    return [
        Rename(f"{theirs}.pwconv{{index}}.{{parameter}}", f"{ours}.conv{{index}}.{{parameter}}"),
        Rename(f"{theirs}.dwconv.{{parameter}}", f"{ours}.grouped.{{parameter}}"),
        Rename(f"{theirs}.norm{{index}}.{{parameter}}", f"{ours}.norm{{index}}.{{parameter}}"),
    ]


def _maps(theirs: str, ours: str) -> list[Entry]:
    return [
        Rename(
            f"{_HEAD_LAYER}.{theirs}.{their_map}.{part}{{index}}.{{parameter}}",
            f"{_HEAD_LAYER}.{ours}.{our_map}.{part}{{index}}.{{parameter}}",
        )
        for their_map, our_map in _MAPS.items()
        for part in ("conv", "norm")
    ]


def _head(feed_forward: str) -> tuple[Entry, ...]:
    """``feed_forward`` is ours for the network on the tokens, or on both."""
    return (
        Rename("kernels", "tokens"),
        Rename("dec_proj.{parameter}", "projection.{parameter}"),
        *_maps("cross_attn", "attention"),
        *_maps("attn", "mixing"),
        Rename(f"{_HEAD_LAYER}.attn.attn_pw_conv.{{parameter}}", f"{_HEAD_LAYER}.mixing.mix.{{parameter}}"),
        *_feed_forward(f"{_HEAD_LAYER}.ffn1", f"{_HEAD_LAYER}.{feed_forward}"),
        *_feed_forward(f"{_HEAD_LAYER}.ffn2", f"{_HEAD_LAYER}.feature_mlp"),
        Rename("residual_block.conv{index}.{parameter}", "residual.conv{index}.{parameter}"),
        Rename("residual_block.norm{index}.{parameter}", "residual.norm{index}.{parameter}"),
        Ignored("conv_seg.{parameter}", "belongs to other heads of mmsegmentation"),
    )


_BACKBONE: tuple[Entry, ...] = (
    Rename("cls_token", "cls_token"),
    Rename("pos_embed", "pos_embed"),
    Rename("patch_embed.projection.{parameter}", "patch_embed.{parameter}"),
    Rename("layers.{block}.ln{index}.{parameter}", "blocks.{block}.norm{index}.{parameter}"),
    Rename("layers.{block}.attn.attn.in_proj_{parameter}", "blocks.{block}.attention.qkv_{parameter}"),
    Rename("layers.{block}.attn.attn.out_proj.{parameter}", "blocks.{block}.attention.projection.{parameter}"),
    Rename("layers.{block}.ffn.layers.0.0.{parameter}", "blocks.{block}.mlp.linear1.{parameter}"),
    Rename("layers.{block}.ffn.layers.1.{parameter}", "blocks.{block}.mlp.linear2.{parameter}"),
)


def _key_map(feed_forward: str) -> KeyMap:
    return KeyMap(
        [*prefixed(_BACKBONE, "backbone.", "backbone."), *prefixed(_head(feed_forward), "decode_head.", "head.")]
    )


# With cross-slice extraction, tokens and features have a feed-forward network each; otherwise there is one for both.
STRUCT_TOKEN_CROSS = _key_map("token_mlp")
STRUCT_TOKEN_JOINT = _key_map("mlp")
