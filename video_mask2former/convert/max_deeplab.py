"""Names and layouts of the published MaX-DeepLab checkpoints, which are TensorFlow's.

Their arrays are read from an ``.npz`` file that has them under the names of the checkpoint, with or without
``/.ATTRIBUTES/VARIABLE_VALUE``; ``tools/export_tensorflow_checkpoint.py`` writes one where TensorFlow is installed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from video_mask2former.convert.key_map import Entry, Ignored, KeyMap, Rename

SUFFIX = "/.ATTRIBUTES/VARIABLE_VALUE"
_NORM = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}
# Their prefix and ours of everything that has blocks
_STAGES = (
    ("encoder/_stage{stage}/", "encoder.stage{stage}."),
    ("encoder/_stage{stage}_extra/", "encoder.stage{stage}_extra."),
    ("encoder/_decoder_stage{stage}/", "encoder.decoder_stage{stage}."),
    ("encoder/_decoder_stage{stage}_extra/", "encoder.decoder_stage{stage}_extra."),
)
_TRANSFORMER = {
    "_memory_conv1_bn_act": "memory_conv1",
    "_pixel_conv1_bn_act": "pixel_conv1",
    "_memory_qkv_conv_bn": "memory_qkv",
    "_pixel_qkv_conv_bn": "pixel_qkv",
    "_memory_conv3_bn": "memory_conv3",
    "_pixel_conv3_bn": "pixel_conv3",
    "_memory_ffn_conv1_bn_act": "feedforward1",
    "_memory_ffn_conv2_bn": "feedforward2",
}
_BLOCK = {
    "_conv1_bn_act": "conv1",
    "_conv2_bn_act": "conv2",
    "_conv3_bn": "conv3",
    "_conv2_bn": "output",
    "_shortcut": "shortcut",
}


def _norm(theirs: str, ours: str) -> list[Entry]:
    return [Rename(f"{theirs}/{their_name}", f"{ours}.{our_name}") for their_name, our_name in _NORM.items()]


def _conv_norm(theirs: str, ours: str) -> list[Entry]:
    return [Rename(f"{theirs}/_conv/kernel", f"{ours}.conv.weight"), *_norm(f"{theirs}/_batch_norm", f"{ours}.norm")]


def _separable(theirs: str, ours: str) -> list[Entry]:
    return [
        Rename(f"{theirs}/_conv1_bn_act/_depthwise/_depthwise_conv/depthwise_kernel", f"{ours}.depthwise.conv.weight"),
        *_norm(f"{theirs}/_conv1_bn_act/_depthwise/_batch_norm", f"{ours}.depthwise.norm"),
        *_conv_norm(f"{theirs}/_conv1_bn_act/_pointwise", f"{ours}.pointwise"),
    ]


def _axis(theirs: str, ours: str) -> list[Entry]:
    return [
        Rename(f"{theirs}/qkv_kernel", f"{ours}.qkv.weight"),
        *_norm(f"{theirs}/_batch_norm_qkv", f"{ours}.qkv_norm"),
        *_norm(f"{theirs}/_batch_norm_similarity", f"{ours}.similarity_norm"),
        *_norm(f"{theirs}/_batch_norm_retrieved_output", f"{ours}.value_norm"),
        *(
            Rename(f"{theirs}/_{name}_rpe/embeddings", f"{ours}.{name}_positions.weight")
            for name in ("query", "key", "value")
        ),
    ]


def _stage(theirs: str, ours: str) -> list[Entry]:
    block, our_block = f"{theirs}_block{{block}}", f"{ours}block{{block}}"
    layer, our_layer = f"{block}_transformer", f"{ours}transformer{{block}}"
    entries: list[Entry] = []
    for their_name, our_name in _BLOCK.items():
        entries += _conv_norm(f"{block}/{their_name}", f"{our_block}.{our_name}")
    for axis in ("height", "width"):
        entries += _axis(f"{block}/_attention/_{axis}_axis", f"{our_block}.{axis}_attention")
    for their_name, our_name in _TRANSFORMER.items():
        entries += _conv_norm(f"{layer}/{their_name}", f"{our_layer}.{our_name}")
    for name in ("memory", "pixel"):
        attention, our_attention = f"{layer}/_{name}_attention", f"{our_layer}.{name}_attention"
        entries += _norm(f"{attention}/_batch_norm_similarity", f"{our_attention}.similarity_norm")
        entries += _norm(f"{attention}/_batch_norm_retrieved_value", f"{our_attention}.value_norm")
    return entries


def _fuse(theirs: str, ours: str) -> list[Entry]:
    return [
        *_conv_norm(f"{theirs}_resized_fuse/_resized_conv_bn{{index}}", f"{ours}_fuse.resized{{index}}"),
        *_conv_norm(f"{theirs}_resized_fuse/_strided_conv_bn{{index}}", f"{ours}_fuse.strided{{index}}"),
    ]


def _encoder() -> Iterable[Entry]:
    yield Rename("encoder/memory_feature", "encoder.memory")
    yield from _conv_norm("encoder/_stem", "encoder.stem")
    for index, name in enumerate(("_conv1_bn_act", "_conv2_bn_act", "_conv3_bn"), start=1):
        yield from _conv_norm(f"encoder/_stem/{name}", f"encoder.stem.conv{index}")
    for theirs, ours in _STAGES:
        yield from _stage(theirs, ours)
        yield from _fuse(theirs.rstrip("/"), ours.rstrip("."))
    for name in ("mask", "class"):
        yield from _conv_norm(f"encoder/_{name}_feature_extra", f"encoder.{name}_slots")


def _heads() -> Iterable[Entry]:
    yield from _separable("pixel_space_head/conv_block", "head.pixel_head.conv")
    for their_name, our_name in (("kernel", "weight"), ("bias", "bias")):
        yield Rename(f"pixel_space_head/final_conv/{their_name}", f"head.pixel_head.output.{our_name}")
        yield Rename(f"transformer_class_head/_conv/{their_name}", f"head.class_embed.{our_name}")
        yield Rename(f"semantic_last_layer/{their_name}", f"semantic_head.output.{our_name}")
    yield from _norm("pixel_space_feature_batch_norm", "head.pixel_norm")
    yield from _norm("pixel_space_mask_batch_norm", "head.mask_norm")
    yield from _conv_norm("transformer_mask_head", "head.mask_embed")
    yield from _separable("semantic_head_without_last_layer", "semantic_head.conv")
    aspp, decoder = "semantic_decoder/_aspp", "semantic_decoder"
    yield from _conv_norm(f"{aspp}/_conv_bn_act", f"{decoder}.pointwise")
    for index in range(3):
        yield from _conv_norm(f"{aspp}/_aspp_conv{index + 1}/_conv_bn_act", f"{decoder}.dilated.{index}")
    yield from _conv_norm(f"{aspp}/_aspp_pool/_conv_bn_act", f"{decoder}.pooled")
    yield from _conv_norm(f"{aspp}/_proj_conv_bn_act", f"{decoder}.joined")
    for index in range(2):
        yield from _conv_norm(f"{decoder}/_low_level_conv{index + 1}", f"{decoder}.laterals.{index}")
        yield from _separable(f"{decoder}/_fusion_conv{index + 1}", f"{decoder}.fusions.{index}")


MAX_DEEPLAB = KeyMap(
    [
        *_encoder(),
        *_heads(),
        Ignored("save_counter", "counts saved checkpoints"),
        Ignored("global_step", "counts steps of training"),
    ],
    aliases=[Rename(f"{{rest}}{SUFFIX}", "{rest}")],
)


def from_tensorflow(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Arrays under our names in TensorFlow's layout, in torch's."""
    converted = {}
    for name, tensor in weights.items():
        if name == "encoder.memory":
            tensor = tensor[0]
        elif "norm." in name:
            tensor = tensor.flatten()
        elif ".depthwise.conv." in name:
            tensor = tensor.permute(2, 3, 0, 1)
        elif name.endswith(".weight") and not name.endswith("_positions.weight"):
            # (height, width, in, out), (width, in, out) or (in, out)
            tensor = tensor.movedim((-1, -2), (0, 1))
        converted[name] = tensor
        if name.endswith(".running_mean"):
            converted[name.replace("running_mean", "num_batches_tracked")] = torch.tensor(0)
    return converted


def to_tensorflow(weights: Mapping[str, Tensor], num_heads: int = 8) -> dict[str, Tensor]:
    """Weights of ours under the names, and in the layout, of the published checkpoints."""
    arrays = {}
    for name, tensor in weights.items():
        if name.endswith(".num_batches_tracked"):
            continue
        if name == "encoder.memory":
            tensor = tensor[None]
        elif re.search(r"(height|width)_attention\.(similarity|value)_norm\.", name):
            terms = 3 if "similarity" in name else 2
            tensor = tensor.reshape(terms, 1, num_heads, 1, -1)
        elif "_attention.value_norm." in name:
            tensor = tensor.reshape(1, num_heads, 1, -1)
        elif ".depthwise.conv." in name:
            tensor = tensor.permute(2, 3, 0, 1)
        elif name.endswith(".weight") and "norm." not in name and not name.endswith("_positions.weight"):
            tensor = tensor.movedim((0, 1), (-1, -2))
        arrays[name] = tensor
    return MAX_DEEPLAB.to_theirs(arrays)
