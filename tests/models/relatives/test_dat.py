"""DAT and DAT++ in float64 against figures of the published implementation, and at sizes it does not run at."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from video_mask2former.convert.dat import IMAGENET_DAT
from video_mask2former.models.backbones.dat import DAT, DATPlusPlus
from video_mask2former.models.backbones.dat_attention import DeformableAttention, NeighbourhoodAttention

MEAN = torch.tensor([123.675, 116.28, 103.53]).view(3, 1, 1).double()
STD = torch.tensor([58.395, 57.12, 57.375]).view(3, 1, 1).double()


def load(backbone, shapes, recorded) -> dict[str, torch.Tensor]:
    """Give a backbone the recorded weights; returns those under the published names."""
    theirs = {}
    for name, shape in shapes.items():
        if name.endswith(("relative_position_index", "attn_mask")):
            theirs[name] = torch.empty(0)
            continue
        x = recorded.weight(name, shape)
        if name.endswith(("rpe_table", "rpb")):
            scale = np.sqrt(np.prod(shape[1:]))
            x = x * scale * 0.5
        theirs[name] = x.float().double()
    converted = IMAGENET_DAT.to_ours(theirs)
    assert not converted.unknown
    weights = {name.removeprefix("backbone."): value for name, value in converted.weights.items()}
    report = backbone.load_state_dict(weights, strict=False)
    assert not report.unexpected_keys and all(name.startswith("output_norms.") for name in report.missing_keys)
    return theirs


def record_positions(backbone) -> dict[str, torch.Tensor]:
    """Where each deformable attention looks, filled while the backbone runs."""
    positions: dict[str, torch.Tensor] = {}
    for stage, blocks in enumerate(backbone.stages):
        for index, block in enumerate(blocks):
            if isinstance(block.attention, DeformableAttention):

                def keep(module, inputs, name=f"pos/stage{stage}_block{index}"):
                    found = module.positions(module.query(inputs[0]))
                    positions[name] = found.unflatten(0, (-1, module.num_groups)).detach()

                block.attention.register_forward_pre_hook(keep)
    return positions


def gradient_norms(backbone, maps: list[torch.Tensor], seed: int, figures, recorded) -> None:
    rng = np.random.Generator(np.random.PCG64(seed + 5))
    loss = sum((x * torch.from_numpy(rng.standard_normal(x.shape))).mean() for x in maps)
    names = [
        next(iter(IMAGENET_DAT.to_ours({str(name): torch.empty(0)}).weights)).removeprefix("backbone.")
        for name in figures["grad_names"]
    ]
    gradients = torch.autograd.grad(loss, [backbone.get_parameter(name) for name in names])
    recorded.close(torch.stack([gradient.norm() for gradient in gradients]), figures["grad_norm"])


def test_dat_plus_plus_equals_the_published_one(golden_file, published_shapes, recorded):
    figures = golden_file("datpp_tiny")
    backbone = DATPlusPlus().double().eval()
    load(backbone, published_shapes["datpp_tiny_backbone"], recorded)
    images = recorded.image(902, 2, 64, 96)
    assert images.sum(axis=(1, 2, 3)).tolist() == figures["image_sums"].tolist()
    positions = record_positions(backbone)
    frames = (torch.from_numpy(images).double() - MEAN) / STD
    recorded.close(backbone.patch_embed(frames)[:, ::16], figures["inter/stem"])
    features = list(backbone(frames).values())
    for index, (maps, step) in enumerate(zip(features, (4, 8, 8, 16), strict=True)):
        recorded.close(maps[:, ::step], figures[f"stage{index}"])
        recorded.close(maps.abs().mean((2, 3)), figures[f"stage{index}_abs_mean"])
    assert positions.keys() == {name for name in figures if name.startswith("pos/")}
    for name, found in positions.items():
        recorded.close(found, figures[name])
    gradient_norms(backbone, features, 902, figures, recorded)


def test_dat_equals_the_published_one(golden_file, published_shapes, recorded):
    figures = golden_file("dat_tiny_v1")
    backbone = DAT().double().eval()
    theirs = load(backbone, published_shapes["dat_tiny_v1_cls"], recorded)
    positions = record_positions(backbone)
    raw: list[torch.Tensor] = []
    for norm in backbone.output_norms.values():
        norm.register_forward_pre_hook(lambda _, inputs: raw.append(inputs[0]))
    images = recorded.image(901, 1, 224, 224)
    assert images.sum() == figures["image_sums"]
    backbone((torch.from_numpy(images).double() - MEAN) / STD)
    for index, (maps, (channels, pixels)) in enumerate(zip(raw, ((8, 8), (16, 4), (16, 2), (32, 1)), strict=True)):
        recorded.close(maps[:, ::channels, ::pixels, ::pixels], figures[f"stage{index}"])
        recorded.close(maps.abs().mean((2, 3)), figures[f"stage{index}_abs_mean"])
    for name, found in positions.items():
        recorded.close(found, figures[name])
    pooled = F.layer_norm(
        raw[-1].permute(0, 2, 3, 1), (768,), theirs["cls_norm.norm.weight"], theirs["cls_norm.norm.bias"]
    )
    logits = F.linear(pooled.mean((1, 2)), theirs["cls_head.weight"], theirs["cls_head.bias"])
    recorded.close(logits[:, ::50], figures["cls_logits"])


@pytest.mark.parametrize(
    ("make", "name", "millions"),
    [
        (DATPlusPlus, "datpp_tiny_backbone", None),
        (lambda: DATPlusPlus(96, num_heads=(3, 6, 12, 24), num_groups=(1, 2, 3, 6)), "datpp_small", 52.35971),
        (lambda: DATPlusPlus(128, num_heads=(4, 8, 16, 32), num_groups=(2, 4, 8, 16)), "datpp_base", 92.667432),
        (DAT, "dat_tiny_v1_cls", None),
    ],
)
def test_parameters_are_those_of_the_published_models(make, name, millions, published_shapes):
    with torch.device("meta"):
        ours = {f"backbone.{key}": value for key, value in make().state_dict().items()}
    if millions is not None:
        assert sum(value.numel() for value in ours.values()) / 1e6 == pytest.approx(millions, abs=1e-6)
        return
    if name == "dat_tiny_v1_cls":
        ours = {key: value for key, value in ours.items() if ".output_norms." not in key}
    theirs = {key: list(value.shape) for key, value in IMAGENET_DAT.to_theirs(ours).items()}
    not_ours = ("relative_position_index", "attn_mask", "cls_norm.norm.weight", "cls_norm.norm.bias")
    expected = {
        key: shape
        for key, shape in published_shapes[name].items()
        if not key.endswith(not_ours) and not key.startswith("cls_head")
    }
    assert theirs == expected


@torch.no_grad()
def obvious_neighbourhood_attention(module: NeighbourhoodAttention, x: torch.Tensor) -> torch.Tensor:
    """Query by query, as defined."""
    kernel = module.kernel_size
    height, width = x.shape[2:]
    x = F.pad(x, (0, max(kernel - width, 0), 0, max(kernel - height, 0)))[0].permute(1, 2, 0)
    query, key, value = module.input_projection(x).unflatten(-1, (3, module.num_heads, -1)).unbind(2)
    result = torch.empty(height, width, x.shape[2], dtype=x.dtype)
    for row in range(height):
        for column in range(width):
            top, left = (
                min(max(at - kernel // 2, 0), side - kernel)
                for at, side in zip((row, column), x.shape[:2], strict=True)
            )
            keys, values = (
                part[top : top + kernel, left : left + kernel].flatten(0, 1).transpose(0, 1) for part in (key, value)
            )
            bias = module.neighbour_bias_table[
                :,
                top - row + kernel - 1 : top - row + 2 * kernel - 1,
                left - column + kernel - 1 : left - column + 2 * kernel - 1,
            ].flatten(1)
            logits = (keys * query[row, column, :, None]).sum(-1) / keys.shape[-1] ** 0.5 + bias
            result[row, column] = (logits.softmax(-1)[..., None] * values).sum(1).flatten()
    return module.output_projection(result).permute(2, 0, 1)[None]


@pytest.mark.parametrize("size", [(7, 7), (5, 9), (8, 19), (17, 23)])
def test_neighbourhood_attention_is_what_its_definition_says(size):
    module = NeighbourhoodAttention(8, num_heads=2).double()
    torch.nn.init.normal_(module.neighbour_bias_table)
    x = torch.randn(1, 8, *size).double()
    torch.testing.assert_close(module(x).detach(), obvious_neighbourhood_attention(module, x))


@pytest.mark.parametrize("make", [DAT, DATPlusPlus])
def test_frames_may_have_any_size_and_train(make):
    backbone = make(16, depths=(2, 2, 2, 2), num_heads=(1, 1, 2, 4), num_groups=(1, 2) if make is DAT else (1, 1, 2, 4))
    frames = torch.randn(2, 3, 70, 101)
    features = backbone(frames)
    for name, info in backbone.feature_info.items():
        height, width = features[name].shape[2:]
        assert features[name].shape[:2] == (2, info.channels)
        assert abs(height - 70 / info.stride) <= 1 and abs(width - 101 / info.stride) <= 1
    sum(level.square().mean() for level in features.values()).backward()
    assert all(parameter.grad is not None for parameter in backbone.parameters())
    one_row = backbone.eval()(torch.randn(1, 3, 32, 64))
    assert one_row["res5"].shape[2:] == (1, 2) and one_row["res5"].isfinite().all()


def test_wrong_numbers_of_stages_are_refused():
    with pytest.raises(ValueError, match="an entry for each of 4 stages"):
        DAT(depths=(2, 2, 6))
