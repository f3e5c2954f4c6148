"""Similarity and assignment."""

from __future__ import annotations

import pytest
import torch

from video_mask2former.tracking.association import assign_by_gain, cosine_similarity, match_queries


def test_a_known_permutation_is_found() -> None:
    previous = torch.randn(20, 16)
    order = torch.randperm(20)
    current = 3.0 * previous[order] + 0.05 * torch.randn(20, 16)
    assert torch.equal(order[match_queries(previous, current)], torch.arange(20))


def test_cosine_ignores_length_and_zero_vectors() -> None:
    similarity = cosine_similarity(torch.tensor([[2.0, 0.0], [0.0, 0.0]]), torch.tensor([[5.0, 0.0], [0.0, -1.0]]))
    assert similarity.tolist() == [[1.0, 0.0], [0.0, 0.0]]


def test_embeddings_that_are_not_finite_do_not_crash_the_assignment() -> None:
    previous = torch.randn(4, 8)
    current = previous.clone()
    current[2] = float("nan")
    assert sorted(match_queries(previous, current).tolist()) == [0, 1, 2, 3]
    assert match_queries(previous, current)[[0, 1, 3]].tolist() == [0, 1, 3]


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match="one shape"):
        match_queries(torch.zeros(3, 4), torch.zeros(2, 4))
    with pytest.raises(ValueError, match=r"\(N, C\) and \(M, C\)"):
        cosine_similarity(torch.zeros(3, 4), torch.zeros(2, 5))


def test_one_good_pair_is_preferred_to_two_poor_ones() -> None:
    gain = torch.tensor([[0.6, 0.1], [0.1, -1.0]])
    assert assign_by_gain(gain) == [(0, 0)]
    assert assign_by_gain(torch.tensor([[0.3, 0.2], [0.2, -1.0]])) == [(0, 1), (1, 0)]


def test_pairs_without_gain_are_not_made() -> None:
    assert assign_by_gain(torch.tensor([[0.0, -0.5], [float("nan"), float("-inf")]])) == []
    assert assign_by_gain(torch.zeros(0, 3)) == []
    assert assign_by_gain(torch.zeros(3, 0)) == []
    assert assign_by_gain(torch.tensor([[0.2, 0.9, float("nan")]])) == [(0, 1)]
