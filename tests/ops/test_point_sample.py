from __future__ import annotations

import pytest
import torch

from video_mask2former.ops import point_sample, select_uncertain_points


def test_pixel_centres_return_the_pixels() -> None:
    maps = torch.arange(24.0).reshape(1, 2, 3, 4)
    y, x = torch.meshgrid(torch.arange(3) + 0.5, torch.arange(4) + 0.5, indexing="ij")
    points = torch.stack([x / 4, y / 3], dim=-1).reshape(1, 12, 2)
    torch.testing.assert_close(point_sample(maps, points), maps.flatten(2))


def test_values_between_pixels_are_hand_computed() -> None:
    maps = torch.tensor([[[[0.0, 4.0], [8.0, 12.0]]]])
    points = torch.tensor([[[0.5, 0.5], [0.375, 0.25], [0.0, 0.25], [-1.0, 0.5]]])  # middle, quarter way, edge, outside
    torch.testing.assert_close(point_sample(maps, points), torch.tensor([[[6.0, 1.0, 0.0, 0.0]]]))


def test_gradients_flow_to_maps_and_points() -> None:
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(2, 3, 4, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    points = torch.rand(2, 6, 2, generator=generator, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(point_sample, (maps, points))


def test_half_precision_maps_are_read_at_exact_points() -> None:
    maps = torch.arange(1024.0).reshape(1, 1, 1, 1024) % 2
    points = torch.tensor([[[1000.5 / 1024, 0.5], [1001.5 / 1024, 0.5]]])
    sampled = point_sample(maps.bfloat16(), points)
    assert sampled.dtype == torch.float32
    torch.testing.assert_close(sampled, torch.tensor([[[0.0, 1.0]]]))


@pytest.mark.parametrize(("num_rows", "num_points"), [(0, 5), (2, 0)])
def test_nothing_to_sample(num_rows: int, num_points: int) -> None:
    assert point_sample(torch.ones(num_rows, 3, 4, 4), torch.ones(num_rows, num_points, 2)).shape == (
        num_rows,
        3,
        num_points,
    )


def test_shape_mismatch_is_named() -> None:
    with pytest.raises(ValueError, match=r"points_xy must be \(N, P, 2\) with N = 2"):
        point_sample(torch.ones(2, 1, 4, 4), torch.ones(3, 5, 2))
    with pytest.raises(ValueError, match="at least one pixel"):
        point_sample(torch.ones(2, 1, 0, 4), torch.ones(2, 5, 2))
    with pytest.raises(ValueError, match="of floats"):
        point_sample(torch.ones(2, 1, 4, 4, dtype=torch.bool), torch.ones(2, 5, 2))


def test_chosen_points_gather_on_the_contour() -> None:
    x = torch.linspace(-10, 10, 64)
    logits = x.expand(64, 64)[None, None].repeat(3, 1, 1, 1)  # zero along the middle column
    generator = torch.Generator().manual_seed(0)
    points = select_uncertain_points(logits, 1000, generator=generator)
    assert points.shape == (3, 1000, 2)
    assert points.dtype == torch.float32
    assert (points >= 0).all() and (points <= 1).all()
    distance = (points[..., 0] - 0.5).abs()
    near = (distance < 0.13).float().mean(dim=1)  # a quarter of 3000 candidates fills the 750 uncertain places
    assert torch.all(near > 0.78) and torch.all(near < 0.9)
    assert (distance > 0.4).any()  # the random quarter reaches everywhere


@pytest.mark.parametrize(("share", "near"), [(0.0, False), (1.0, True)])
def test_share_of_uncertain_points(share: float, near: bool) -> None:
    logits = torch.linspace(-10, 10, 64).expand(1, 1, 64, 64)
    generator = torch.Generator().manual_seed(0)
    points = select_uncertain_points(logits, 500, importance_sample_ratio=share, generator=generator)
    assert points.shape == (1, 500, 2)
    assert bool(((points[..., 0] - 0.5).abs() < 0.36).all()) == near


def test_choice_repeats_with_the_generator_and_takes_no_gradient() -> None:
    logits = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(1)).requires_grad_()
    first = select_uncertain_points(logits, 10, generator=torch.Generator().manual_seed(2))
    second = select_uncertain_points(logits, 10, generator=torch.Generator().manual_seed(2))
    assert torch.equal(first, second)
    assert not first.requires_grad


def test_no_rows() -> None:
    assert select_uncertain_points(torch.ones(0, 1, 8, 8), 10).shape == (0, 10, 2)


def test_bad_choice_arguments_are_named() -> None:
    with pytest.raises(ValueError, match=r"logits must be \(N, 1, H, W\)"):
        select_uncertain_points(torch.ones(2, 8, 8), 10)
    with pytest.raises(ValueError, match=r"oversample_ratio = 0\.5"):
        select_uncertain_points(torch.ones(2, 1, 8, 8), 10, oversample_ratio=0.5)
