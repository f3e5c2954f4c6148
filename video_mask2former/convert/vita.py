"""Names of the published VITA and GenVIS checkpoints, beside those of the image model that they stand on."""

from __future__ import annotations

from video_mask2former.convert.key_map import Entry, Ignored, Rename, prefixed


def _attention(theirs: str, ours: str) -> list[Entry]:
    """A block of attention and its norm; ``theirs`` is the name of the attention, ``ours`` that of the block."""
    block = theirs.rsplit(".", 1)[0]
    return [
        Rename(f"{theirs}.in_proj_{{parameter}}", f"{ours}.attention.in_proj_{{parameter}}"),
        Rename(f"{theirs}.out_proj.{{parameter}}", f"{ours}.attention.out_proj.{{parameter}}"),
        Rename(f"{block}.norm.{{parameter}}", f"{ours}.norm.{{parameter}}"),
    ]


def _feed_forward(theirs: str, ours: str) -> list[Entry]:
    return [
        Rename(f"{theirs}.linear{{index}}.{{parameter}}", f"{ours}.linear{{index}}.{{parameter}}"),
        Rename(f"{theirs}.norm.{{parameter}}", f"{ours}.norm.{{parameter}}"),
    ]


OBJECT_AGGREGATOR: tuple[Entry, ...] = (
    Rename("input_proj_dec.{parameter}", "encoder.input_projection.{parameter}"),
    *_attention("enc_self_attn.{layer}.self_attn", "encoder.layers.{layer}.self_attention"),
    *_feed_forward("enc_ffn.{layer}", "encoder.layers.{layer}.feed_forward"),
    *_attention("transformer_cross_attention_layers.{layer}.multihead_attn", "decoder.layers.{layer}.cross_attention"),
    *_attention("transformer_self_attention_layers.{layer}.self_attn", "decoder.layers.{layer}.self_attention"),
    *_feed_forward("transformer_ffn_layers.{layer}", "decoder.layers.{layer}.feed_forward"),
    Rename("query_feat.weight", "decoder.query_feat.weight"),
    Rename("query_embed.weight", "decoder.query_embed.weight"),
    Rename("fq_pos.weight", "decoder.token_embed.weight"),
    Rename("decoder_norm.{parameter}", "decoder.norm.{parameter}"),
    Rename("class_embed.{parameter}", "decoder.class_embed.{parameter}"),
    Rename("mask_embed.layers.{layer}.{parameter}", "decoder.mask_embed.layers.{layer}.{parameter}"),
    Rename("vita_mask_features.{parameter}", "mask_projection.{parameter}"),
    Rename("sim_embed_frame.{parameter}", "token_similarity.{parameter}"),
    Rename("sim_embed_clip.{parameter}", "query_similarity.{parameter}"),
)

_QUERY_MEMORY: tuple[Entry, ...] = (
    Rename("pre_query_embed_k.{parameter}", "query_key.{parameter}"),
    Rename("pre_query_embed_v.{parameter}", "query_value.{parameter}"),
    Rename("pre_memory_embed_k.{parameter}", "memory_key.{parameter}"),
    Rename("pre_memory_embed_v.{parameter}", "memory_value.{parameter}"),
)

_VITA = prefixed(OBJECT_AGGREGATOR, "vita_module.", "refiner.aggregator.")
_GENVIS = [
    *prefixed(OBJECT_AGGREGATOR, "vita_module.", "tracker.aggregator."),
    *prefixed(_QUERY_MEMORY, "vita_module.", "tracker.memory."),
    Ignored("vita_criterion.empty_weight", "made from the configuration"),
    Ignored("genvis_criterion.empty_weight", "made from the configuration"),
]

# The published name of the module is the same; of a name that may stand for two of ours, the first one counts.
REFINER_FIRST: tuple[Entry, ...] = (*_VITA, *_GENVIS)
TRACKER_FIRST: tuple[Entry, ...] = (*_GENVIS, *_VITA)

# A refiner that was trained here, in a model whose tracker goes on from it
REFINER_TO_TRACKER: tuple[Entry, ...] = (
    Rename("refiner.aggregator.{rest}", "tracker.aggregator.{rest}"),
    Rename("{rest}", "{rest}"),
)
