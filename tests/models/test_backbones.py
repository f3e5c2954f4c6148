"""Backbones: shapes, and their fast forms against obvious ones."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from video_mask2former.models import EfficientNetLite0
from video_mask2former.models.backbones.resnet import ResNet
from video_mask2former.models.backbones.swin import (
    SwinTransformer,
    join_windows,
    relative_position_index,
    shifted_window_bias,
    split_windows,
)
from video_mask2former.models.layers import DropPath, FrozenBatchNorm2d, conv_frozen_norm

BACKBONES = {
    "resnet50": lambda: ResNet(50),
    "resnet101": lambda: ResNet(101),
    "swin_tiny": SwinTransformer,
    "swin_large": lambda: SwinTransformer(192, (2, 2, 18, 2), (6, 12, 24, 48), window_size=12),
    "efficientnet_lite0": EfficientNetLite0,
}


@pytest.mark.parametrize("name", BACKBONES)
def test_feature_info_tells_the_shapes(name):
    with torch.device("meta"):
        backbone = BACKBONES[name]()
        features = backbone(torch.zeros(2, 3, 64, 96))
    assert set(features) == {"res2", "res3", "res4", "res5"}
    for level, info in backbone.feature_info.items():
        assert features[level].shape == (2, info.channels, 64 // info.stride, 96 // info.stride)


def test_folded_normalisation_equals_batch_norm():
    conv = nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False).double()
    norm = FrozenBatchNorm2d(8).double()
    for buffer in norm.buffers():
        buffer.copy_(torch.rand(8) + 0.5)
    reference = nn.BatchNorm2d(8).double().eval()
    reference.load_state_dict(norm.state_dict(), strict=False)
    x = torch.randn(2, 3, 9, 10).double()
    folded, expected = conv_frozen_norm(x, conv, norm), reference(conv(x))
    torch.testing.assert_close(folded, expected)
    for ours, theirs in zip(
        torch.autograd.grad(folded.square().sum(), conv.weight),
        torch.autograd.grad(expected.square().sum(), conv.weight),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs)


def test_windows_split_and_join():
    x = torch.randn(2, 6, 9, 4)
    windows = split_windows(x, 3)
    assert windows.shape == (2, 6, 9, 4)
    torch.testing.assert_close(windows[1, 4].unflatten(0, (3, 3)), x[1, 3:6, 3:6])
    torch.testing.assert_close(join_windows(windows, 3, (6, 9)), x)


def test_shifted_windows_keep_strangers_apart():
    """Pixels may see each other exactly if they were neighbours before the cyclic shift."""
    height, width, side, shift = 6, 9, 3, 1
    bias = shifted_window_bias((height, width), side, shift, torch.zeros(1))
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    where = torch.stack((y, x), dim=2).roll((-shift, -shift), (0, 1))
    places = split_windows(where[None], side)[0]
    distance = (places[:, :, None] - places[:, None]).abs().amax(-1)
    assert torch.equal(bias == 0, distance < side)


def test_relative_positions_share_an_index():
    index = relative_position_index(3)
    y, x = torch.meshgrid(torch.arange(3), torch.arange(3), indexing="ij")
    offset = torch.stack(((y.flatten()[:, None] - y.flatten()), (x.flatten()[:, None] - x.flatten())), dim=2)
    by_index: dict[int, set[tuple[int, int]]] = {}
    for number, pair in zip(index.flatten().tolist(), offset.flatten(0, 1).tolist(), strict=True):
        by_index.setdefault(number, set()).add(tuple(pair))
    assert len(by_index) == 25 and all(len(pairs) == 1 for pairs in by_index.values())


def test_swin_takes_sizes_that_windows_do_not_divide():
    backbone = SwinTransformer(embed_dim=8, depths=(2, 2, 2, 2), num_heads=(1, 1, 2, 2), drop_path_rate=0.1).eval()
    features = backbone(torch.randn(1, 3, 70, 101))
    assert features["res2"].shape[-2:] == (18, 26) and features["res5"].shape[-2:] == (3, 4)


@pytest.mark.parametrize("make", [lambda: ResNet(50), lambda: SwinTransformer(16, (2, 2, 2, 2), (1, 1, 2, 2))])
def test_recomputing_activations_changes_no_gradient(make):
    backbone = make().eval()
    frames = torch.randn(1, 3, 32, 32)

    def gradients(recompute: bool) -> list[torch.Tensor]:
        backbone.recompute = recompute
        total = sum(level.square().mean() for level in backbone(frames).values())
        return list(torch.autograd.grad(total, list(backbone.parameters()), allow_unused=True))

    torch.testing.assert_close(gradients(True), gradients(False))


def test_drop_path_drops_samples_and_keeps_the_mean():
    x = torch.ones(4000, 2)
    drop = DropPath(0.25)
    kept = drop(x)
    torch.testing.assert_close(kept.unique(), torch.tensor([0.0, 4 / 3]))
    assert torch.equal(kept[:, 0], kept[:, 1])
    assert float(kept.mean()) == pytest.approx(1, abs=0.05)
    assert torch.equal(drop.eval()(x), x)
    with pytest.raises(ValueError, match="probability"):
        DropPath(1.0)


def test_unknown_depth_is_refused():
    with pytest.raises(ValueError, match="depth must be one of"):
        ResNet(34)
