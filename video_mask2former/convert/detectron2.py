"""Names of the published Mask2Former checkpoints and what was built on them, and of detectron2's ImageNet ResNets."""

from __future__ import annotations

from video_mask2former.convert.dvis import REFERRING_TRACKER, REID_HEAD, TEMPORAL_REFINER
from video_mask2former.convert.key_map import Entry, Ignored, KeyMap, Rename, prefixed
from video_mask2former.convert.swin import SWIN_ENTRIES
from video_mask2former.convert.vita import REFINER_FIRST, TRACKER_FIRST

_RECOMPUTED = "made from the configuration"

RESNET_ENTRIES: tuple[Entry, ...] = (
    Rename("stem.conv1.weight", "stem.conv.weight"),
    Rename("stem.conv1.norm.{statistic}", "stem.norm.{statistic}"),
    *(Rename(f"stem.conv{index}.weight", f"stem.conv{index}.weight") for index in (2, 3)),
    *(Rename(f"stem.conv{index}.norm.{{statistic}}", f"stem.norm{index}.{{statistic}}") for index in (2, 3)),
    Rename("res{stage}.{block}.shortcut.weight", "res{stage}.{block}.shortcut.conv.weight"),
    Rename("res{stage}.{block}.shortcut.norm.{statistic}", "res{stage}.{block}.shortcut.norm.{statistic}"),
    Rename("res{stage}.{block}.conv{index}.weight", "res{stage}.{block}.conv{index}.weight"),
    Rename("res{stage}.{block}.conv{index}.norm.{statistic}", "res{stage}.{block}.norm{index}.{statistic}"),
    Ignored("stem.fc.{parameter}", "classifies ImageNet"),
    Ignored("stem.conv{index}.norm.num_batches_tracked", "batch norm is frozen"),
    Ignored("res{stage}.{block}.conv{index}.norm.num_batches_tracked", "batch norm is frozen"),
    Ignored("res{stage}.{block}.shortcut.norm.num_batches_tracked", "batch norm is frozen"),
)

_PIXEL_DECODER = (
    Rename("input_proj.{level}.0.{parameter}", "input_projections.{level}.conv.{parameter}"),
    Rename("input_proj.{level}.1.{parameter}", "input_projections.{level}.norm.{parameter}"),
    Rename("transformer.level_embed", "level_embed"),
    Rename(
        "transformer.encoder.layers.{layer}.self_attn.sampling_offsets.{parameter}",
        "layers.{layer}.attention.sampling_offsets.{parameter}",
    ),
    Rename(
        "transformer.encoder.layers.{layer}.self_attn.attention_weights.{parameter}",
        "layers.{layer}.attention.attention_weights.{parameter}",
    ),
    Rename(
        "transformer.encoder.layers.{layer}.self_attn.value_proj.{parameter}",
        "layers.{layer}.attention.value_proj.{parameter}",
    ),
    Rename(
        "transformer.encoder.layers.{layer}.self_attn.output_proj.{parameter}",
        "layers.{layer}.attention.output_proj.{parameter}",
    ),
    Rename("transformer.encoder.layers.{layer}.norm{index}.{parameter}", "layers.{layer}.norm{index}.{parameter}"),
    Rename("transformer.encoder.layers.{layer}.linear{index}.{parameter}", "layers.{layer}.linear{index}.{parameter}"),
    Rename("adapter_1.weight", "lateral.conv.weight"),
    Rename("adapter_1.norm.{parameter}", "lateral.norm.{parameter}"),
    Rename("layer_1.weight", "output.conv.weight"),
    Rename("layer_1.norm.{parameter}", "output.norm.{parameter}"),
    Rename("mask_features.{parameter}", "mask_projection.{parameter}"),
)

_PREDICTOR = (
    Rename("query_feat.weight", "query_feat.weight"),
    Rename("query_embed.weight", "query_embed.weight"),
    Rename("level_embed.weight", "level_embed.weight"),
    Rename(
        "transformer_cross_attention_layers.{layer}.multihead_attn.in_proj_{parameter}",
        "layers.{layer}.cross_attention.in_proj_{parameter}",
    ),
    Rename(
        "transformer_cross_attention_layers.{layer}.multihead_attn.out_proj.{parameter}",
        "layers.{layer}.cross_attention.out_proj.{parameter}",
    ),
    Rename(
        "transformer_cross_attention_layers.{layer}.norm.{parameter}",
        "layers.{layer}.cross_attention_norm.{parameter}",
    ),
    Rename(
        "transformer_self_attention_layers.{layer}.self_attn.in_proj_{parameter}",
        "layers.{layer}.self_attention.in_proj_{parameter}",
    ),
    Rename(
        "transformer_self_attention_layers.{layer}.self_attn.out_proj.{parameter}",
        "layers.{layer}.self_attention.out_proj.{parameter}",
    ),
    Rename(
        "transformer_self_attention_layers.{layer}.norm.{parameter}", "layers.{layer}.self_attention_norm.{parameter}"
    ),
    Rename("transformer_ffn_layers.{layer}.linear{index}.{parameter}", "layers.{layer}.linear{index}.{parameter}"),
    Rename("transformer_ffn_layers.{layer}.norm.{parameter}", "layers.{layer}.ffn_norm.{parameter}"),
    Rename("decoder_norm.{parameter}", "norm.{parameter}"),
    Rename("class_embed.{parameter}", "class_embed.{parameter}"),
    Rename("mask_embed.layers.{layer}.{parameter}", "mask_embed.layers.{layer}.{parameter}"),
)

_MODEL: tuple[Entry, ...] = (
    *prefixed(RESNET_ENTRIES, "backbone.", "backbone."),
    *prefixed(SWIN_ENTRIES, "backbone.", "backbone."),
    *prefixed(_PIXEL_DECODER, "sem_seg_head.pixel_decoder.", "pixel_decoder."),
    *prefixed(_PREDICTOR, "sem_seg_head.predictor.", "decoder."),
    *prefixed(REID_HEAD, "sem_seg_head.predictor.", "decoder."),
    *prefixed(REFERRING_TRACKER, "tracker.", "tracker."),
    *prefixed(TEMPORAL_REFINER, "refiner.", "refiner."),
    Ignored("criterion.empty_weight", _RECOMPUTED),
    Ignored("pixel_mean", _RECOMPUTED),
    Ignored("pixel_std", _RECOMPUTED),
)

_ALIASES = (
    # The first releases had one level less in the names of the pixel decoder, and another name for the queries.
    *(Rename(f"sem_seg_head.{entry.theirs}", f"sem_seg_head.pixel_decoder.{entry.theirs}") for entry in _PIXEL_DECODER),
    Rename("sem_seg_head.predictor.static_query.weight", "sem_seg_head.predictor.query_feat.weight"),
)

MASK2FORMER = KeyMap([*_MODEL, *REFINER_FIRST], aliases=_ALIASES)

# As that, where a tracker rather than a refiner has the module of VITA
GENVIS = KeyMap([*_MODEL, *TRACKER_FIRST], aliases=_ALIASES)

IMAGENET_RESNET = KeyMap(prefixed(RESNET_ENTRIES, "", "backbone."))
