"""Names of DINOv2 and DINOv3, and of the mask transformers on them: EoMT, VidEoMT, PMT and LVMT."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import Tensor

from video_mask2former.convert.key_map import Concatenation, Entry, Ignored, KeyMap, Rename, prefixed

_RECOMPUTED = "made from the configuration"


TIMM_BLOCKS: tuple[Entry, ...] = (
    Rename("blocks.{block}.norm{index}.{parameter}", "blocks.{block}.norm{index}.{parameter}"),
    Rename("blocks.{block}.attn.qkv.weight", "blocks.{block}.attention.qkv_weight"),
    Rename("blocks.{block}.attn.qkv.bias", "blocks.{block}.attention.qkv_bias"),
    Rename("blocks.{block}.attn.proj.{parameter}", "blocks.{block}.attention.projection.{parameter}"),
    Rename("blocks.{block}.ls{index}.gamma", "blocks.{block}.scale{index}"),
    Rename("blocks.{block}.mlp.fc{index}.{parameter}", "blocks.{block}.mlp.linear{index}.{parameter}"),
)


def separate_blocks(place: str, *, key_bias: bool, output: str, mlp: tuple[str, str]) -> tuple[Entry, ...]:
    """Blocks as Hugging Face has them, queries, keys and values apart.

    Args:
        place: What a block of theirs is called, with ``{block}`` for its index.
        key_bias: Whether keys have a bias.
        output: Name of the output projection.
        mlp: Names of the two linear layers.
    """
    attention, ours = f"{place}.attention", "blocks.{block}"
    biased = ("q", "k", "v") if key_bias else ("q", "v")
    return (
        Rename(f"{place}.norm{{index}}.{{parameter}}", f"{ours}.norm{{index}}.{{parameter}}"),
        Concatenation(
            tuple(f"{attention}.{name}_proj.weight" for name in ("q", "k", "v")), f"{ours}.attention.qkv_weight"
        ),
        Concatenation(tuple(f"{attention}.{name}_proj.bias" for name in biased), f"{ours}.attention.qkv_bias"),
        Rename(f"{attention}.{output}.{{parameter}}", f"{ours}.attention.projection.{{parameter}}"),
        Rename(f"{place}.layer_scale{{index}}.lambda1", f"{ours}.scale{{index}}"),
        *(
            Rename(f"{place}.mlp.{name}.{{parameter}}", f"{ours}.mlp.linear{index}.{{parameter}}")
            for index, name in enumerate(mlp, start=1)
        ),
    )


_DINOV3_BLOCKS = separate_blocks("blocks.{block}", key_bias=False, output="o_proj", mlp=("up_proj", "down_proj"))


TIMM_DINOV2: tuple[Entry, ...] = (
    Rename("cls_token", "cls_token"),
    Rename("reg_token", "register_tokens"),
    Rename("pos_embed", "pos_embed"),
    Rename("patch_embed.proj.{parameter}", "patch_embed.{parameter}"),
    *TIMM_BLOCKS,
    Rename("norm.{parameter}", "norm.{parameter}"),
)

# DINOv3 inside the checkpoints of EoMT, VidEoMT and PMT, which rename Hugging Face's attributes.
_RENAMED_DINOV3: tuple[Entry, ...] = (
    Rename("patch_embed.cls_token", "cls_token"),
    Rename("patch_embed.register_tokens", "register_tokens"),
    Rename("patch_embed.patch_embeddings.{parameter}", "patch_embed.{parameter}"),
    *_DINOV3_BLOCKS,
    Rename("norm.{parameter}", "norm.{parameter}"),
)


_HEADS: tuple[Entry, ...] = (
    Rename("class_head.{parameter}", "heads.class_head.{parameter}"),
    Rename("mask_head.{layer}.{parameter}", "heads.mask_head.{layer}.{parameter}"),
    Rename("upscale.{block}.conv1.{parameter}", "heads.upscale.{block}.enlarge.{parameter}"),
    Rename("upscale.{block}.conv2.{parameter}", "heads.upscale.{block}.depthwise.{parameter}"),
    Rename("upscale.{block}.norm.{parameter}", "heads.upscale.{block}.norm.{parameter}"),
    Rename("q.weight", "queries.weight"),
)
_UPDATERS: tuple[Entry, ...] = (
    Rename("query_updater.{parameter}", "query_updater.{parameter}"),
    *(
        Rename(f"query_gru.{kind}_{part}", f"query_updater.{kind}_{part}")
        for kind in ("weight", "bias")
        for part in ("ih", "hh")
    ),
)
_ANNEALING = Rename("attn_mask_probs", "annealing.probabilities")
_NO_ANNEALING = Ignored("attn_mask_probs", "masked attention is not used in videos")
_PIXELS = (
    Ignored("encoder.pixel_mean", _RECOMPUTED),
    Ignored("encoder.pixel_std", _RECOMPUTED),
)
_CRITERION = Ignored("criterion.empty_weight", _RECOMPUTED)


def _with_encoder(entries: Iterable[Entry], encoder: Iterable[Entry], prefix: str) -> KeyMap:
    own = [*prefixed(encoder, "encoder.backbone.", "backbone."), *entries, *_PIXELS]
    return KeyMap([*prefixed(own, prefix, ""), _CRITERION])


_EOMT = (*_HEADS, _ANNEALING)
EOMT_DINOV2 = _with_encoder(_EOMT, TIMM_DINOV2, "network.")
EOMT_DINOV3 = _with_encoder(_EOMT, _RENAMED_DINOV3, "network.")

_VIDEOMT = (*_HEADS, *_UPDATERS, _NO_ANNEALING)
VIDEOMT_DINOV2 = _with_encoder(_VIDEOMT, TIMM_DINOV2, "backbone.")
VIDEOMT_DINOV3 = _with_encoder(_VIDEOMT, _RENAMED_DINOV3, "backbone.")

_PMT_DECODER: tuple[Entry, ...] = (
    Rename("lateral_projections.{level}.{layer}.{parameter}", "laterals.networks.{level}.{layer}.{parameter}"),
    Rename("scalers.{level}", "laterals.scales.{level}"),
    *_DINOV3_BLOCKS,
    Rename("decoder_norm.{parameter}", "norm.{parameter}"),
    *_HEADS,
    *_UPDATERS,
)
_BATCH_NORMS: tuple[Entry, ...] = (
    Rename("bn.{level}.{statistic}", "laterals.batch_norms.{level}.{statistic}"),
    Rename("bn.{level}.num_batches_tracked", "laterals.batch_norms.{level}.num_batches_tracked"),
)
# Published videos have the probabilities of masked attention as well, which mean nothing there.
_PMT = (*prefixed([*_PMT_DECODER, _ANNEALING], "decoder.", ""), *_BATCH_NORMS)
PMT_DINOV2 = _with_encoder(_PMT, TIMM_DINOV2, "backbone.")
PMT_DINOV3 = _with_encoder(_PMT, _RENAMED_DINOV3, "backbone.")
PMT_IMAGE_DINOV3 = _with_encoder(_PMT, _RENAMED_DINOV3, "network.")
"""Published without the encoder, which is DINOv3 as it is."""

EOMT = _with_encoder(_EOMT, (*TIMM_DINOV2, *_RENAMED_DINOV3), "network.")
VIDEOMT = _with_encoder(_VIDEOMT, (*TIMM_DINOV2, *_RENAMED_DINOV3), "backbone.")
PMT = _with_encoder(_PMT, (*TIMM_DINOV2, *_RENAMED_DINOV3), "backbone.")
"""For reading, whichever encoder a checkpoint has."""


def is_delta(weights: Mapping[str, Tensor]) -> bool:
    """Whether a checkpoint of EoMT on DINOv3 holds differences from DINOv3 rather than weights.

    Of everything in the published file, buffers included, DINOv3's own value was subtracted; those of the pixels were
    never trained, and are 0 then.
    """
    deviation = weights.get("network.encoder.pixel_std")
    return deviation is not None and not bool(deviation.any())
