"""Matching costs against obvious loops, and the assignment on costs that are not numbers."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from video_mask2former.losses import HungarianMatcher
from video_mask2former.losses.mask_losses import dice, pairwise_dice, pairwise_sigmoid_cross_entropy
from video_mask2former.losses.matcher import assign


@pytest.fixture
def points():
    return torch.randn(5, 30, dtype=torch.float64), torch.rand(3, 30, dtype=torch.float64)


def test_pairwise_cross_entropy_equals_torchs_pair_by_pair(points):
    logits, targets = points
    expected = torch.tensor(
        [[float(F.binary_cross_entropy_with_logits(x, t)) for t in targets] for x in logits], dtype=torch.float64
    )
    torch.testing.assert_close(pairwise_sigmoid_cross_entropy(logits, targets), expected)


def test_pairwise_dice_equals_dice_row_by_row(points):
    logits, targets = points
    expected = torch.stack([dice(x.expand(3, -1), targets) for x in logits])
    torch.testing.assert_close(pairwise_dice(logits, targets), expected)


def test_cost_is_the_weighted_sum_of_its_parts(points):
    logits, targets = points
    class_logits = torch.randn(5, 4, dtype=torch.float64)
    labels = torch.tensor([2, 0, 2])
    cost = HungarianMatcher(2.0, 3.0, 4.0).cost(class_logits, logits, labels, targets)
    expected = (
        -2.0 * class_logits.softmax(1)[:, labels]
        + 3.0 * pairwise_sigmoid_cross_entropy(logits, targets)
        + 4.0 * pairwise_dice(logits, targets)
    )
    torch.testing.assert_close(cost, expected)


def test_assignment_takes_the_cheapest_pairs():
    rows, columns = assign(torch.tensor([[5.0, 1.0], [1.0, 5.0], [0.5, 0.5]]))
    assert list(zip(rows.tolist(), columns.tolist(), strict=True)) in ([(0, 1), (2, 0)], [(1, 0), (2, 1)])


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_a_query_with_costs_that_are_not_finite_is_chosen_last(bad):
    cost = torch.rand(4, 3)
    cost[1] = bad
    rows, columns = assign(cost)
    assert rows.tolist() == [0, 2, 3]
    assert sorted(columns.tolist()) == [0, 1, 2]


def test_no_instances_match_nothing():
    rows, columns = assign(torch.zeros(4, 0))
    assert rows.numel() == columns.numel() == 0


def test_weights_are_checked():
    with pytest.raises(ValueError, match="cost weights"):
        HungarianMatcher(0, 0, 0)
