"""The place in the frame, as mask features and levels can carry it."""

from __future__ import annotations

import math

import pytest
import torch

from video_mask2former.models.backbones.base import FeatureInfo
from video_mask2former.models.pixel_decoders.deformable import MSDeformAttnPixelDecoder, PositionProjection


def test_projection_equals_slow_sums() -> None:
    layer = PositionProjection(3, 5).double()
    torch.nn.init.normal_(layer.weight)
    maps = torch.randn(2, 5, 4, 7).double()
    projected = layer(maps)
    for channel, row, column in ((0, 0, 0), (2, 3, 1), (4, 1, 6)):
        y, x = (row + 0.5) / 4, (column + 0.5) / 7
        angles = [[math.pi * 2**octave * place for octave in range(3)] for place in (y, x)]
        waves = [function(angle) for axis in angles for function in (math.sin, math.cos) for angle in axis]
        expected = sum(w * wave for w, wave in zip(layer.weight[channel].tolist(), waves, strict=True))
        difference = (projected - maps)[:, channel, row, column]
        torch.testing.assert_close(difference, torch.full_like(difference, expected))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_maps_keep_their_type(dtype) -> None:
    layer = PositionProjection(4, 6)
    layer.weight.data.normal_()
    assert layer.to(dtype)(torch.zeros(1, 6, 8, 8, dtype=dtype)).dtype == dtype


def test_a_query_can_say_where_its_object_is() -> None:
    """Two discs that look alike: without positions one embedding gives both the same logit."""
    y, x = torch.meshgrid(torch.arange(32), torch.arange(48), indexing="ij")
    left, right = ((y - 16) ** 2 + (x - centre) ** 2 < 36 for centre in (12, 30))
    looks = torch.stack([left | right, torch.ones_like(left)]).double()[None]
    layer = PositionProjection(6, 26).double()
    layer.weight.data[2:] = torch.eye(24)
    maps = layer(torch.cat([looks, torch.zeros(1, 24, 32, 48).double()], dim=1))[0].flatten(1).detach()
    embedding = torch.zeros(26, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([embedding], max_iter=60, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        value = torch.nn.functional.binary_cross_entropy_with_logits(embedding @ maps, left.flatten().double())
        value.backward()
        return value

    optimizer.step(loss)
    mask = (embedding.detach() @ maps).view(32, 48) > 0
    assert (mask & left).sum() / (mask | left).sum() > 0.9


def test_positions_change_nothing_at_first_and_train() -> None:
    info = {f"res{level}": FeatureInfo(8, 2**level) for level in (2, 3, 4, 5)}
    features = {name: torch.randn(1, 8, 128 // of.stride, 192 // of.stride) for name, of in info.items()}
    options = {"hidden_dim": 32, "mask_dim": 16, "num_layers": 1, "num_heads": 4, "feedforward_dim": 16}
    plain = MSDeformAttnPixelDecoder(info, **options)
    positioned = MSDeformAttnPixelDecoder(info, **options, position_octaves=4)
    missing, unexpected = positioned.load_state_dict(plain.state_dict(), strict=False)
    assert len(missing) == 4 and not unexpected
    (expected, expected_levels), (mask_features, levels) = plain(features), positioned(features)
    assert torch.equal(mask_features, expected)
    assert all(torch.equal(level, other) for level, other in zip(levels, expected_levels, strict=True))
    (mask_features.square().sum() + sum(level.square().sum() for level in levels)).backward()
    assert all(positioned.get_parameter(name).grad.abs().max() > 0 for name in missing)
