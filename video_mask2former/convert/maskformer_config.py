"""Configurations of MaskFormer (arXiv:2107.06278) in detectron2's YAML: where they differ from Mask2Former's.

They are told apart by what the decoder attends to. Mask2Former's code runs MaskFormer's models under the same keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from video_mask2former.convert.config_rules import Built, Combined, Option, Rule, Unused

_MEMORY = "MODEL.MASK_FORMER.TRANSFORMER_IN_FEATURE"
_PIXEL_DECODER = "MODEL.SEM_SEG_HEAD.PIXEL_DECODER_NAME"
_ENCODER_LAYERS = "MODEL.SEM_SEG_HEAD.TRANSFORMER_ENC_LAYERS"
_RESIZED_FIRST = "MODEL.MASK_FORMER.TEST.SEM_SEG_POSTPROCESSING_BEFORE_INFERENCE"

# What the decoder attends to, with each pixel decoder
_MEMORIES = {"BasePixelDecoder": "res5", "TransformerEncoderPixelDecoder": "transformer_encoder"}
_OF_MASK2FORMER = Unused("belongs to another pixel decoder")
_POINTS = Unused("losses are taken on whole masks")

# Rules that take the place of Mask2Former's
MASKFORMER_KEYS: dict[str, Rule] = {
    _MEMORY: Combined(("model.pixel_decoder.num_encoder_layers",)),
    _PIXEL_DECODER: Combined(("model.pixel_decoder.num_encoder_layers",)),
    _ENCODER_LAYERS: Combined(("model.pixel_decoder.num_encoder_layers",)),
    "MODEL.SEM_SEG_HEAD.DEFORMABLE_TRANSFORMER_ENCODER_IN_FEATURES": _OF_MASK2FORMER,
    "MODEL.SEM_SEG_HEAD.DEFORMABLE_TRANSFORMER_ENCODER_N_POINTS": _OF_MASK2FORMER,
    "MODEL.SEM_SEG_HEAD.DEFORMABLE_TRANSFORMER_ENCODER_N_HEADS": _OF_MASK2FORMER,
    "MODEL.MASK_FORMER.TRANSFORMER_DECODER_NAME": Built(("StandardTransformerDecoder",), "the decoder is DETR's"),
    "MODEL.MASK_FORMER.DROPOUT": Combined(("model.decoder.dropout", "model.pixel_decoder.dropout")),
    "MODEL.MASK_FORMER.DIM_FEEDFORWARD": Combined(
        ("model.decoder.feedforward_dim", "model.pixel_decoder.feedforward_dim")
    ),
    "MODEL.MASK_FORMER.NHEADS": Option("model.num_heads"),
    "MODEL.MASK_FORMER.DEC_LAYERS": Option("model.decoder.num_layers"),
    "MODEL.MASK_FORMER.TRAIN_NUM_POINTS": _POINTS,
    "MODEL.MASK_FORMER.OVERSAMPLE_RATIO": _POINTS,
    "MODEL.MASK_FORMER.IMPORTANCE_SAMPLE_RATIO": _POINTS,
    "MODEL.MASK_FORMER.TEST.SEMANTIC_INFERENCE_METHOD": Built(
        ("probabilistic",), "the class of a pixel is that of the greatest sum over queries"
    ),
    _RESIZED_FIRST: Combined(("task",)),
}

MASKFORMER_DEFAULTS: dict[str, Any] = {
    _MEMORY: "res5",
    _PIXEL_DECODER: "BasePixelDecoder",
    "MODEL.MASK_FORMER.TRANSFORMER_DECODER_NAME": "StandardTransformerDecoder",
    "MODEL.MASK_FORMER.DROPOUT": 0.1,
    _RESIZED_FIRST: False,
}


def is_maskformer(given: Mapping[str, Any]) -> bool:
    """Whether a flat configuration is of MaskFormer: its decoder attends to one level."""
    return given.get(_MEMORY) in _MEMORIES.values()


def maskformer_options(flat: Mapping[str, Any], origin: str) -> dict[str, Any]:
    """The options of MaskFormer's parts, its loss and its order of post-processing.

    Raises:
        ValueError: If the pixel decoder is another one, or does not go with what the decoder attends to.
    """
    if not is_maskformer(flat):
        return {}
    pixel_decoder, memory, num_layers = flat[_PIXEL_DECODER], flat[_MEMORY], flat[_ENCODER_LAYERS]
    if pixel_decoder not in _MEMORIES:
        raise ValueError(f"{_PIXEL_DECODER} must be {' or '.join(_MEMORIES)}, got {pixel_decoder!r} in {origin}.")
    if _MEMORIES[pixel_decoder] != memory or (memory == "transformer_encoder") != (num_layers > 0):
        raise ValueError(
            f"{_MEMORY} must be {_MEMORIES[pixel_decoder]!r} with {pixel_decoder}, whose {_ENCODER_LAYERS} are "
            f"{'more than 0' if pixel_decoder.startswith('Transformer') else '0'}, got {memory!r} and {num_layers} in "
            f"{origin}."
        )
    dropout, feedforward_dim = float(flat["MODEL.MASK_FORMER.DROPOUT"]), flat["MODEL.MASK_FORMER.DIM_FEEDFORWARD"]
    options: dict[str, Any] = {
        "model.pixel_decoder.name": "fpn",
        "model.pixel_decoder.num_encoder_layers": num_layers,
        "model.decoder.name": "detr",
        "loss.name": "whole_mask",
    }
    for part in ("decoder", "pixel_decoder") if num_layers else ("decoder",):
        options |= {f"model.{part}.dropout": dropout, f"model.{part}.feedforward_dim": feedforward_dim}
    if flat["MODEL.MASK_FORMER.TEST.PANOPTIC_ON"]:
        return options | {"task.fill": True}
    return options | {"task.resize_scores": not flat[_RESIZED_FIRST]}
