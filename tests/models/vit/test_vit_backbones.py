"""Plain vision transformers: shapes, grids, positions. Their numbers are tested where models use them."""

from __future__ import annotations

import pytest
import torch

from video_mask2former.models.backbones.vit import Dinov2, Dinov3
from video_mask2former.models.vit_layers import rotary_table


@pytest.mark.parametrize("backbone", [Dinov2(24, 2, 2, image_size=64), Dinov3(24, 2, 2)], ids=["dinov2", "dinov3"])
@torch.no_grad()
def test_any_grid_gives_features_at_stride_16(backbone):
    backbone.eval()
    frames = torch.randn(2, 3, 48, 80)
    features = backbone(frames)["res4"]
    assert features.shape == (2, 24, 3, 5)
    assert backbone.feature_info["res4"].channels == 24
    torch.testing.assert_close(backbone(frames[1:])["res4"], features[1:])  # frames do not see each other
    with pytest.raises(ValueError, match="multiple of 16 pixels high and wide, got 40 x 80"):
        backbone(frames[:, :, :40])


def test_the_giant_has_the_published_width():
    with torch.device("meta"):
        backbone = Dinov2(1536, 1, 24, has_gate=True)
    assert backbone.blocks[0].mlp.linear1.weight.shape == (8192, 1536)
    assert backbone.blocks[0].mlp.linear2.weight.shape == (1536, 4096)


def test_rotary_positions_turn_once_along_each_axis():
    cosine, sine = rotary_table((4, 6), 8)
    assert cosine.shape == sine.shape == (24, 8)
    # The fastest frequency of y is column 0, of x column 2; patch centres are symmetric about the middle.
    torch.testing.assert_close(cosine[:6, 0], cosine[0, 0].expand(6))
    torch.testing.assert_close(sine[:6, 2], -sine[:6, 2].flip(0))
    torch.testing.assert_close(cosine[:, :4], cosine[:, 4:])


def test_positions_are_jittered_in_training_only():
    backbone = Dinov3(24, 1, 2)
    assert backbone.eval().draw_scale() == 1.0
    drawn = torch.stack([torch.as_tensor(backbone.train().draw_scale()) for _ in range(200)])
    assert 0.5 <= drawn.min() < 0.6 and 1.7 < drawn.max() <= 2.0
    assert Dinov3(24, 1, 2, position_jitter=1).train().draw_scale() == 1.0
    with pytest.raises(ValueError, match="at least 1, got"):
        Dinov3(24, 1, 2, position_jitter=0.5)


def test_recomputing_activations_changes_no_gradient():
    backbone = Dinov2(24, 2, 2, image_size=32).double()
    frames = torch.randn(1, 3, 32, 32, dtype=torch.float64)
    gradients = []
    for backbone.recompute in (False, True):
        backbone.zero_grad()
        backbone(frames)["res4"].square().sum().backward()
        gradients.append([parameter.grad.clone() for parameter in backbone.parameters()])
    for kept, recomputed in zip(*gradients, strict=True):
        torch.testing.assert_close(kept, recomputed)
