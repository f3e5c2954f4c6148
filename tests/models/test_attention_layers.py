"""The shared layers compute what torch's own multi-head attention computes with the same weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from video_mask2former.models.attention_layers import (
    Attention,
    CrossAttentionLayer,
    FeedForwardLayer,
    SelfAttentionLayer,
)


def reference(attention: Attention) -> nn.MultiheadAttention:
    expected = nn.MultiheadAttention(16, 4, batch_first=True).double()
    expected.load_state_dict(attention.state_dict())
    return expected


def test_self_attention_with_positions_and_a_mask():
    layer = SelfAttentionLayer(16, 4).double()
    x, positions = torch.randn(2, 5, 16).double(), torch.randn(5, 16).double()
    may_attend = torch.rand(5, 5) > 0.4
    may_attend.fill_diagonal_(True)
    placed = x + positions
    expected, _ = reference(layer.attention)(placed, placed, x, attn_mask=~may_attend)
    torch.testing.assert_close(layer(x, positions=positions, may_attend=may_attend), layer.norm(x + expected))


def test_cross_attention_adds_to_its_identity():
    layer = CrossAttentionLayer(16, 4).double()
    x, memory, identity = (torch.randn(2, count, 16).double() for count in (5, 7, 5))
    place, memory_place = torch.randn(5, 16).double(), torch.randn(7, 16).double()
    expected, _ = reference(layer.attention)(x + place, memory + memory_place, memory)
    asked = {"query_positions": place, "memory_positions": memory_place}
    torch.testing.assert_close(layer(x, memory, **asked), layer.norm(x + expected))
    torch.testing.assert_close(layer(x, memory, identity=identity, **asked), layer.norm(identity + expected))


def test_feed_forward_is_two_linear_layers():
    layer = FeedForwardLayer(16, 32).double()
    x = torch.randn(2, 5, 16).double()
    torch.testing.assert_close(layer(x), layer.norm(x + layer.linear2(torch.relu(layer.linear1(x)))))


def test_heads_must_divide_the_features():
    with pytest.raises(ValueError, match="multiple of num_heads"):
        Attention(10, 4)
