"""Layers of MaX-DeepLab in float64 against figures of the published TensorFlow code."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import nn

from video_mask2former.convert.max_deeplab import MAX_DEEPLAB, from_tensorflow
from video_mask2former.models.max_deeplab.attention import AxialAttention, AxialBlock, DualPathLayer
from video_mask2former.models.max_deeplab.encoder import ResizedFuse, _make_stem
from video_mask2former.models.max_deeplab.heads import MaskHead, PixelHead
from video_mask2former.models.max_deeplab.layers import BasicBlock, BatchNorm


@pytest.fixture(scope="module")
def figures(golden_file):
    return golden_file("maxdeeplab_layers")


@pytest.fixture(scope="module")
def sizes(figures):
    names = ("seed", "batch", "h", "w", "pixel", "memory", "slots", "filters", "ke", "ve", "ffn")
    return dict(zip(names, figures["meta"].tolist(), strict=True))


def inputs(seed: int, *shape: int) -> torch.Tensor:
    """Channels first, as torch has them, of an array that the recorded run drew with channels last."""
    x = np.random.Generator(np.random.PCG64(seed)).standard_normal(shape)
    return torch.from_numpy(x).movedim(-1, 1)


def load(module: nn.Module, names: dict[str, list[int]], prefix: str, theirs: str, ours: str, recorded) -> nn.Module:
    """Give a module the recorded weights; ``prefix`` of the recorded names stands for ``theirs`` of a whole model."""
    weights = {
        name.replace(prefix, theirs, 1): recorded.tensorflow_weight(name, shape) for name, shape in names.items()
    }
    converted = MAX_DEEPLAB.to_ours(weights)
    assert not converted.unknown
    state = {name.removeprefix(ours): value for name, value in from_tensorflow(converted.weights).items()}
    module.double().load_state_dict(state)
    for part in module.modules():
        if isinstance(part, BatchNorm):
            part.eps = 1e-3
    return module


def last(x: torch.Tensor) -> torch.Tensor:
    return x.detach().movedim(1, -1)


BLOCK = ("encoder/_stage1/_block1", "encoder.stage1.block1.")


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_dual_path_layer(mode, figures, sizes, recorded):
    variables = json.loads(str(figures["variables"]))["dual_path"]
    module = DualPathLayer(sizes["pixel"], sizes["memory"], sizes["filters"], feedforward_dim=sizes["ffn"], num_heads=4)
    names = ("dual_path", "encoder/_stage1/_block1_transformer", "encoder.stage1.transformer1.")
    load(module, variables, *names, recorded).train(mode == "train")
    pixels = inputs(sizes["seed"] + 1, sizes["batch"], sizes["h"], sizes["w"], sizes["pixel"])
    memory = inputs(sizes["seed"] + 2, sizes["batch"], sizes["slots"], sizes["memory"])
    pixels, memory = module(pixels, memory)
    recorded.close(last(pixels), figures[f"dual_path/{mode}/pixel"])
    recorded.close(last(memory), figures[f"dual_path/{mode}/memory"])


@pytest.mark.parametrize("mode", ["eval", "train"])
@pytest.mark.parametrize("stride", [1, 2])
def test_axial_attention(stride, mode, figures, sizes, recorded):
    variables = json.loads(str(figures["variables"]))["axial_attention"]
    filters = sizes["filters"]

    class Both(AxialBlock):
        """An axial block's attention alone."""

        def __init__(self) -> None:
            nn.Module.__init__(self)
            self.stride = stride
            self.height_attention = AxialAttention(sizes["pixel"], filters, 2 * filters, num_heads=4)
            self.width_attention = AxialAttention(2 * filters, filters, 2 * filters, num_heads=4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self._attend(x)

    names = ("axial_attention", "encoder/_stage1/_block1/_attention", "encoder.stage1.block1.")
    module = load(Both(), variables, *names, recorded).train(mode == "train")
    x = inputs(sizes["seed"] + 3, sizes["batch"], sizes["h"], sizes["w"], sizes["pixel"])
    recorded.close(last(module(x)), figures[f"axial_attention_s{stride}/{mode}"])


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_axial_block(mode, figures, sizes, recorded):
    variables = json.loads(str(figures["variables"]))["axial_block"]
    module = load(
        AxialBlock(sizes["pixel"], sizes["filters"], 2, num_heads=4), variables, "axial_block", *BLOCK, recorded
    )
    x = inputs(sizes["seed"] + 4, sizes["batch"], sizes["h"], sizes["w"], sizes["pixel"])
    recorded.close(last(module.train(mode == "train")(x)), figures[f"axial_block/{mode}"])


def test_basic_block(figures, sizes, recorded):
    variables = json.loads(str(figures["variables"]))["basic_block"]
    module = BasicBlock(sizes["pixel"], 4 * sizes["filters"], dilations=(1, 2))
    load(module, variables, "basic_block", *BLOCK, recorded)
    x = inputs(sizes["seed"] + 4, sizes["batch"], sizes["h"], sizes["w"], sizes["pixel"])
    recorded.close(last(module(x)), figures["basic_block/train"])


def test_fusion(figures, sizes, recorded):
    variables = json.loads(str(figures["variables"]))["fuse"]
    height, width = sizes["h"], sizes["w"]
    half = ((height + 1) // 2, (width + 1) // 2)
    shapes = ((*half, 24), (2 * height - 1, 2 * width - 1, 10), (*half, 14), (height, width, 6))
    strides = (16, 4, 16, 8)
    module = ResizedFuse([(shape[2], stride) for shape, stride in zip(shapes, strides, strict=True)], 24, stride=8)
    names = ("fuse", "encoder/_decoder_stage1_resized_fuse", "encoder.decoder_stage1_fuse.")
    load(module, variables, *names, recorded)
    maps = [inputs(sizes["seed"] + 5 + index, sizes["batch"], *shape) for index, shape in enumerate(shapes)]
    recorded.close(last(module(maps, (height, width))), figures["fuse/train"])
    # the recorded run goes on from the statistics that this left
    recorded.close(last(module.eval()(maps, (height, width))), figures["fuse/eval"])


def test_stem(figures, sizes, recorded):
    variables = json.loads(str(figures["variables"]))["stem"]
    module = load(_make_stem((16, 16, 32)), variables, "stem", "encoder/_stem", "encoder.stem.", recorded)
    x = inputs(sizes["seed"] + 9, sizes["batch"], 2 * sizes["h"] - 1, 2 * sizes["w"] - 1, 3)
    recorded.close(last(module(x)), figures["stem/train"])


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_heads(mode, figures, sizes, recorded):
    variables = json.loads(str(figures["variables"]))["head"]
    head = MaskHead(7, 18, 14, hidden_channels=12, mask_channels=16)
    module = nn.ModuleDict({"head": head, "semantic_head": PixelHead(20, 10, 8)})
    load(module, variables, "head/", "", "", recorded).train(mode == "train")
    batch, height, width, slots = (sizes[name] for name in ("batch", "h", "w", "slots"))
    semantic, panoptic = (
        inputs(sizes["seed"] + 10 + index, batch, height, width, channels) for index, channels in enumerate((20, 18))
    )
    class_slots, mask_slots = (inputs(sizes["seed"] + 12 + index, batch, slots, 14) for index in range(2))
    recorded.close(last(module["semantic_head"](semantic)), figures[f"head/{mode}/semantic_logits"])
    masks = head.masks(mask_slots.transpose(1, 2), head.features(panoptic))
    recorded.close(head.classes(class_slots.transpose(1, 2)), figures[f"head/{mode}/transformer_class_logits"])
    recorded.close(last(masks.features[:, 0, :-1]), figures[f"head/{mode}/pixel_space_normalized_feature"])
    recorded.close(last(masks.dense()[:, :, 0]), figures[f"head/{mode}/pixel_space_mask_logits"])
