"""Names of the parameters of Mask2Former in Hugging Face checkpoints, for images and for video."""

from __future__ import annotations

from video_mask2former.convert.key_map import Concatenation, Entry, Ignored, KeyMap, Rename, prefixed

_BLOCK = "encoder.layers.{stage}.blocks.{block}"
_OUR_BLOCK = "stages.{stage}.blocks.{block}"
HUGGINGFACE_SWIN: tuple[Entry, ...] = (
    Rename("embeddings.patch_embeddings.projection.{parameter}", "patch_embed.projection.{parameter}"),
    Rename("embeddings.norm.{parameter}", "patch_embed.norm.{parameter}"),
    Concatenation(
        (
            f"{_BLOCK}.attention.self.query.{{parameter}}",
            f"{_BLOCK}.attention.self.key.{{parameter}}",
            f"{_BLOCK}.attention.self.value.{{parameter}}",
        ),
        f"{_OUR_BLOCK}.attention.qkv.{{parameter}}",
    ),
    Rename(
        f"{_BLOCK}.attention.self.relative_position_bias_table",
        f"{_OUR_BLOCK}.attention.relative_position_bias_table",
    ),
    Ignored(f"{_BLOCK}.attention.self.relative_position_index", "made from the window size"),
    Rename(f"{_BLOCK}.attention.output.dense.{{parameter}}", f"{_OUR_BLOCK}.attention.projection.{{parameter}}"),
    Rename(f"{_BLOCK}.layernorm_before.{{parameter}}", f"{_OUR_BLOCK}.norm1.{{parameter}}"),
    Rename(f"{_BLOCK}.layernorm_after.{{parameter}}", f"{_OUR_BLOCK}.norm2.{{parameter}}"),
    Rename(f"{_BLOCK}.intermediate.dense.{{parameter}}", f"{_OUR_BLOCK}.mlp.linear1.{{parameter}}"),
    Rename(f"{_BLOCK}.output.dense.{{parameter}}", f"{_OUR_BLOCK}.mlp.linear2.{{parameter}}"),
    Rename("encoder.layers.{stage}.downsample.norm.{parameter}", "stages.{stage}.downsample.norm.{parameter}"),
    Rename("encoder.layers.{stage}.downsample.reduction.weight", "stages.{stage}.downsample.reduction.weight"),
    *(
        Rename(f"hidden_states_norms.stage{index + 1}.{{parameter}}", f"output_norms.res{index + 2}.{{parameter}}")
        for index in range(4)
    ),
    Ignored("layernorm.{parameter}", "normalises the last stage for a classifier"),
)
# Names of later releases of transformers, and of the first video checkpoints, for the same parameters.
HUGGINGFACE_SWIN_ALIASES = (
    Rename("swin.{rest}", "{rest}"),
    Rename("model.{rest}", "{rest}"),
    Rename(f"{_BLOCK}.attention.q_proj.{{parameter}}", f"{_BLOCK}.attention.self.query.{{parameter}}"),
    Rename(f"{_BLOCK}.attention.k_proj.{{parameter}}", f"{_BLOCK}.attention.self.key.{{parameter}}"),
    Rename(f"{_BLOCK}.attention.v_proj.{{parameter}}", f"{_BLOCK}.attention.self.value.{{parameter}}"),
    Rename(f"{_BLOCK}.attention.o_proj.{{parameter}}", f"{_BLOCK}.attention.output.dense.{{parameter}}"),
    Rename(
        f"{_BLOCK}.attention.relative_position_bias.relative_position_bias_table",
        f"{_BLOCK}.attention.self.relative_position_bias_table",
    ),
    Rename(f"{_BLOCK}.mlp.fc1.{{parameter}}", f"{_BLOCK}.intermediate.dense.{{parameter}}"),
    Rename(f"{_BLOCK}.mlp.fc2.{{parameter}}", f"{_BLOCK}.output.dense.{{parameter}}"),
    *(
        Rename(f"hidden_states_norms.{index}.{{parameter}}", f"hidden_states_norms.stage{index + 1}.{{parameter}}")
        for index in range(4)
    ),
)

_FROZEN = "batch norm is frozen"


def _convolution(theirs: str, convolution: str, norm: str) -> list[Entry]:
    """A convolution of theirs with its norm, and where the two are in our ResNet."""
    return [
        Rename(f"{theirs}.convolution.weight", f"{convolution}.weight"),
        Rename(f"{theirs}.normalization.{{statistic}}", f"{norm}.{{statistic}}"),
        Ignored(f"{theirs}.normalization.num_batches_tracked", _FROZEN),
    ]


def _resnet_stage(index: int) -> list[Entry]:
    theirs, ours = f"encoder.stages.{index}.layers.{{block}}", f"res{index + 2}.{{block}}"
    entries = _convolution(f"{theirs}.shortcut", f"{ours}.shortcut.conv", f"{ours}.shortcut.norm")
    for layer in range(3):
        entries += _convolution(f"{theirs}.layer.{layer}", f"{ours}.conv{layer + 1}", f"{ours}.norm{layer + 1}")
    return entries


HUGGINGFACE_RESNET: tuple[Entry, ...] = (
    *_convolution("embedder.embedder", "stem.conv", "stem.norm"),
    *(entry for index in range(4) for entry in _resnet_stage(index)),
)

_DEFORMABLE = "encoder.layers.{layer}.self_attn"
_PIXEL_DECODER = (
    Rename("level_embed", "level_embed"),
    Rename("input_projections.{level}.0.{parameter}", "input_projections.{level}.conv.{parameter}"),
    Rename("input_projections.{level}.1.{parameter}", "input_projections.{level}.norm.{parameter}"),
    *(
        Rename(f"{_DEFORMABLE}.{name}.{{parameter}}", f"layers.{{layer}}.attention.{name}.{{parameter}}")
        for name in ("sampling_offsets", "attention_weights", "value_proj", "output_proj")
    ),
    Rename("encoder.layers.{layer}.self_attn_layer_norm.{parameter}", "layers.{layer}.norm1.{parameter}"),
    Rename("encoder.layers.{layer}.final_layer_norm.{parameter}", "layers.{layer}.norm2.{parameter}"),
    Rename("encoder.layers.{layer}.fc{index}.{parameter}", "layers.{layer}.linear{index}.{parameter}"),
    Rename("adapter_1.0.weight", "lateral.conv.weight"),
    Rename("adapter_1.1.{parameter}", "lateral.norm.{parameter}"),
    Rename("layer_1.0.weight", "output.conv.weight"),
    Rename("layer_1.1.{parameter}", "output.norm.{parameter}"),
    Rename("mask_projection.{parameter}", "mask_projection.{parameter}"),
)

_LAYER = "decoder.layers.{layer}"
_TRANSFORMER: tuple[Entry, ...] = (
    Rename("queries_features.weight", "query_feat.weight"),
    Rename("queries_embedder.weight", "query_embed.weight"),
    Rename("level_embed.weight", "level_embed.weight"),
    *(
        Concatenation(
            tuple(f"{_LAYER}.self_attn.{part}_proj.{parameter}" for part in "qkv"),
            f"layers.{{layer}}.self_attention.in_proj_{parameter}",
        )
        for parameter in ("weight", "bias")
    ),
    Rename(f"{_LAYER}.self_attn.out_proj.{{parameter}}", "layers.{layer}.self_attention.out_proj.{parameter}"),
    Rename(f"{_LAYER}.self_attn_layer_norm.{{parameter}}", "layers.{layer}.self_attention_norm.{parameter}"),
    Rename(f"{_LAYER}.cross_attn.in_proj_{{parameter}}", "layers.{layer}.cross_attention.in_proj_{parameter}"),
    Rename(f"{_LAYER}.cross_attn.out_proj.{{parameter}}", "layers.{layer}.cross_attention.out_proj.{parameter}"),
    Rename(f"{_LAYER}.cross_attn_layer_norm.{{parameter}}", "layers.{layer}.cross_attention_norm.{parameter}"),
    Rename(f"{_LAYER}.fc{{index}}.{{parameter}}", "layers.{layer}.linear{index}.{parameter}"),
    Rename(f"{_LAYER}.final_layer_norm.{{parameter}}", "layers.{layer}.ffn_norm.{parameter}"),
    Rename("decoder.layernorm.{parameter}", "norm.{parameter}"),
    Rename("decoder.mask_predictor.mask_embedder.{layer}.0.{parameter}", "mask_embed.layers.{layer}.{parameter}"),
)

MASK2FORMER = KeyMap(
    [
        *prefixed(HUGGINGFACE_SWIN, "model.pixel_level_module.encoder.", "backbone."),
        *prefixed(HUGGINGFACE_RESNET, "model.pixel_level_module.encoder.", "backbone."),
        *prefixed(_PIXEL_DECODER, "model.pixel_level_module.decoder.", "pixel_decoder."),
        *prefixed(_TRANSFORMER, "model.transformer_module.", "decoder."),
        Rename("class_predictor.{parameter}", "decoder.class_embed.{parameter}"),
        Ignored("criterion.empty_weight", "made from the configuration"),
    ],
    aliases=[
        Rename(f"model.pixel_level_module.encoder.{alias.theirs}", f"model.pixel_level_module.encoder.{alias.ours}")
        for alias in HUGGINGFACE_SWIN_ALIASES
    ],
)
