"""Masked attention and the decoder, against torch's own attention and against their own rules."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from video_mask2former.models.decoders.masked_attention import Attention, attention_mask
from video_mask2former.structures import ClipFeatures


def test_attention_equals_torchs_multi_head_attention():
    attention = Attention(32, 4).double()
    reference = nn.MultiheadAttention(32, 4, batch_first=True).double()
    reference.load_state_dict(attention.state_dict())
    query, memory = torch.randn(2, 5, 32).double(), torch.randn(2, 11, 32).double()
    may_attend = torch.rand(2, 5, 11) > 0.5
    may_attend[..., 0] = True
    expected, _ = reference(query, memory, memory, attn_mask=~may_attend.repeat_interleave(4, dim=0))
    torch.testing.assert_close(attention(query, memory, memory, may_attend[:, None]), expected)


def test_attention_mask_is_the_resized_foreground():
    embeddings, features = torch.randn(2, 6, 8), torch.randn(2, 3, 8, 16, 24)
    small = F.interpolate(features.flatten(0, 1), (4, 6), mode="bilinear", align_corners=False)
    small = small.unflatten(0, (2, 3)).transpose(1, 2).flatten(2)
    logits = torch.einsum("bqc,btchw->bqthw", embeddings, features)
    resized = F.interpolate(logits.flatten(1, 2), (4, 6), mode="bilinear", align_corners=False)
    forbidden = resized.unflatten(1, (6, 3)).flatten(2).sigmoid() < 0.5
    assert torch.equal(attention_mask(embeddings, small), ~forbidden)


def test_a_query_without_foreground_attends_everywhere():
    embeddings = torch.tensor([[[1.0, 0.0], [-1.0, 0.0]]])
    features = torch.ones(1, 2, 5)
    assert attention_mask(embeddings, features).all()
    features[0, 0, 2] = -1
    assert attention_mask(embeddings, features).tolist() == [
        [[True, True, False, True, True], [False, False, True, False, False]]
    ]


def test_no_gradient_flows_through_the_attention_mask():
    embeddings = torch.randn(1, 3, 4, requires_grad=True)
    assert not attention_mask(embeddings, torch.randn(1, 4, 5, requires_grad=True)).requires_grad


@pytest.fixture
def features(tiny_model):
    return tiny_model().encode(torch.rand(2, 3, 3, 64, 96) * 255)


def test_there_is_a_prediction_for_the_queries_and_for_each_layer(tiny_model, features):
    model = tiny_model()
    output = model.decode(features)
    assert len(output.auxiliary) == len(model.decoder.layers)
    assert all(earlier.auxiliary == () for earlier in output.auxiliary)
    torch.testing.assert_close(output.auxiliary[0].queries[0], model.decoder.query_feat.weight)


def test_decoding_can_start_from_given_queries(tiny_model, features):
    model = tiny_model()
    learned = model.decoder.query_feat.weight.expand(2, -1, -1)
    same = model.decode(features, learned)
    torch.testing.assert_close(same.class_logits, model.decode(features).class_logits)
    other = model.decode(features, model.decode(features).queries)
    assert not torch.allclose(other.class_logits, same.class_logits)


@pytest.mark.parametrize("shape", [(2, 5, 32), (1, 6, 32), (2, 6, 7)])
def test_queries_to_start_from_are_checked(tiny_model, features, shape):
    with pytest.raises(ValueError, match=r"initial_queries must be \(B, Q, C\) = \(2, 6, 32\), got"):
        tiny_model().decode(features, torch.zeros(shape))


@pytest.fixture
def published_form():
    """The benchmark's baseline: the decoder as published code writes it, everything made and kept."""
    path = Path(__file__).parents[2] / "tools" / "published_form.py"
    spec = importlib.util.spec_from_file_location("published_form", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["published_form"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["published_form"]


@pytest.mark.parametrize("temporal", [False, True])
def test_equals_the_published_form_in_values_and_gradients(tiny_model, published_form, temporal):
    model = tiny_model(temporal=temporal, dtype=torch.float64)
    frames = torch.rand(2, 3, 3, 50, 70, dtype=torch.float64) * 255
    output = model(frames)
    expected = published_form.DenseModel(model)(frames)
    assert len(expected) == len(output.auxiliary) + 1
    for ours, theirs in zip((*output.auxiliary, output), expected, strict=True):
        torch.testing.assert_close(ours.class_logits, theirs.class_logits)
        torch.testing.assert_close(ours.mask_logits.dense(), theirs.mask_logits)

    def gradients(class_logits: torch.Tensor, masks: torch.Tensor) -> list[torch.Tensor | None]:
        total = class_logits.square().mean() + masks.square().mean()
        return list(torch.autograd.grad(total, list(model.parameters()), allow_unused=True))

    ours = gradients(output.class_logits, output.mask_logits.dense())
    torch.testing.assert_close(ours, gradients(expected[-1].class_logits, expected[-1].mask_logits))


@torch.no_grad()
def test_the_temporal_encoding_tells_frames_apart(tiny_model):
    """Of two equal frames, what is attended to is equal without a t encoding and differs with it."""
    frames = (torch.rand(1, 1, 3, 64, 64) * 255).expand(-1, 2, -1, -1, -1)
    for temporal in (False, True):
        model = tiny_model(temporal=temporal)
        memory = model.decoder._memory(model.encode(frames))[0]
        weight, bias = torch.randn(32, 32), torch.randn(32)
        first, second = memory.keys(weight, bias)[0]
        assert torch.allclose(first, second) is not temporal


def test_features_can_be_decoded_in_another_precision(tiny_model, features):
    model = tiny_model()
    halved = features.to(dtype=torch.bfloat16).to(dtype=torch.float32)
    assert isinstance(halved, ClipFeatures)
    assert model.decode(halved).class_logits.shape == (2, 6, 4)
