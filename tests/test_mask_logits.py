"""Deferred mask logits equal dense ones, values and gradients, whatever is asked of them."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from video_mask2former.mask_logits import MaskLogits


@pytest.fixture
def logits() -> MaskLogits:
    embeddings = torch.randn(2, 5, 8, dtype=torch.float64, requires_grad=True)
    features = torch.randn(2, 3, 8, 6, 7, dtype=torch.float64, requires_grad=True)
    return MaskLogits(embeddings, features)


def gradients(value: torch.Tensor, logits: MaskLogits) -> tuple[torch.Tensor, ...]:
    weights = torch.linspace(-1, 1, value.numel(), dtype=value.dtype).view_as(value)
    return torch.autograd.grad((value * weights).sum(), (logits.embeddings, logits.features))


def assert_same(value: torch.Tensor, expected: torch.Tensor, logits: MaskLogits) -> None:
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(gradients(value, logits), gradients(expected, logits))


def test_dense_is_the_product_written_out(logits):
    expected = torch.stack(
        [
            torch.stack([(embedding[None, :, None, None] * clip).sum(1) for embedding in embeddings])
            for embeddings, clip in zip(logits.embeddings, logits.features, strict=True)
        ]
    )
    assert tuple(expected.shape) == logits.shape
    assert_same(logits.dense(), expected, logits)


@pytest.mark.parametrize("size", [(3, 3), (6, 7), (6, 14), (13, 20), (1, 1), (2, 30)])
def test_resized_equals_resizing_the_dense_logits(logits, size):
    folded = logits.dense().flatten(0, 1)
    expected = F.interpolate(folded, size=size, mode="bilinear", align_corners=False).unflatten(0, (2, 5))
    assert_same(logits.resized(size), expected, logits)


def test_at_points_equals_sampling_the_dense_logits(logits):
    points = torch.rand(2, 40, 2, dtype=torch.float64) * 1.2 - 0.1
    grid = (2 * points - 1)[:, None]
    expected = F.grid_sample(logits.dense().flatten(1, 2), grid, align_corners=False).squeeze(2).unflatten(1, (5, 3))
    assert_same(logits.at_points(points), expected, logits)


def test_half_precision_is_sampled_at_precise_points():
    precise = MaskLogits(torch.randn(1, 5, 8), torch.randn(1, 2, 8, 6, 700))
    half = MaskLogits(precise.embeddings.bfloat16(), precise.features.bfloat16())
    exact = MaskLogits(half.embeddings.float(), half.features.float())
    points = torch.rand(1, 40, 2)
    assert half.at_points(points).dtype == torch.float32
    torch.testing.assert_close(half.at_points(points), exact.at_points(points))
    assert half.at_points(points.bfloat16()).dtype == torch.bfloat16


def test_select_takes_queries_of_all_clips_or_of_each(logits):
    shared = torch.tensor([4, 0, 4])
    assert_same(logits.select(shared).dense(), logits.dense()[:, shared], logits)
    own = torch.tensor([[1, 2], [0, 4]])
    expected = torch.stack([logits.dense()[clip, own[clip]] for clip in range(2)])
    assert_same(logits.select(own).dense(), expected, logits)


def test_clip_and_frames_cut_the_dense_logits(logits):
    torch.testing.assert_close(logits.clip(1).dense(), logits.dense()[1:])
    torch.testing.assert_close(logits.frames(1, 3).dense(), logits.dense()[:, :, 1:3])


def test_dense_logits_can_be_wrapped():
    dense = torch.randn(2, 4, 3, 5, 6)
    torch.testing.assert_close(MaskLogits.from_dense(dense).dense(), dense)
    torch.testing.assert_close(MaskLogits.from_dense(dense).select(torch.tensor([2])).dense(), dense[:, 2:3])


@pytest.mark.parametrize(
    ("embeddings", "features", "message"),
    [
        ((5, 8), (1, 3, 8, 6, 7), "embeddings must be"),
        ((1, 5, 8), (1, 3, 9, 6, 7), "features must be"),
        ((1, 5, 8), (2, 3, 8, 6, 7), "features must be"),
    ],
)
def test_shapes_are_checked(embeddings, features, message):
    with pytest.raises(ValueError, match=message):
        MaskLogits(torch.zeros(embeddings), torch.zeros(features))


def test_arguments_are_checked(logits):
    with pytest.raises(ValueError, match="query_indices"):
        logits.select(torch.zeros(3, 2, dtype=torch.int64))
    with pytest.raises(ValueError, match="points_xy"):
        logits.at_points(torch.zeros(1, 4, 2))
    with pytest.raises(ValueError, match="logits must be"):
        MaskLogits.from_dense(torch.zeros(3, 4))


@pytest.fixture
def per_frame() -> MaskLogits:
    embeddings = torch.randn(2, 3, 5, 8, dtype=torch.float64, requires_grad=True)
    features = torch.randn(2, 3, 8, 6, 7, dtype=torch.float64, requires_grad=True)
    return MaskLogits(embeddings, features)


def test_embeddings_per_frame_give_what_each_frame_gives_by_itself(per_frame):
    single = [MaskLogits(per_frame.embeddings[:, t], per_frame.features[:, t : t + 1]) for t in range(3)]
    points = torch.rand(2, 40, 2, dtype=torch.float64)
    own = torch.tensor([[1, 2], [0, 4]])
    for ask in (
        lambda logits: logits.dense(),
        lambda logits: logits.resized((13, 20)),
        lambda logits: logits.resized((3, 3)),
        lambda logits: logits.at_points(points),
        lambda logits: logits.select(torch.tensor([4, 0])).dense(),
        lambda logits: logits.select(own).dense(),
        lambda logits: logits.clip(1).dense(),
    ):
        assert_same(ask(per_frame), torch.cat([ask(part) for part in single], dim=2), per_frame)
    torch.testing.assert_close(per_frame.frames(1, 3).dense(), per_frame.dense()[:, :, 1:3])
    assert per_frame.shape == (2, 5, 3, 6, 7)


def test_embeddings_per_frame_need_the_frames_of_the_features():
    with pytest.raises(ValueError, match="the T = 2 of the features"):
        MaskLogits(torch.randn(1, 3, 5, 8), torch.randn(1, 2, 8, 6, 7))
