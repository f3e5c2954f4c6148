"""The temporal module against the published one, and what is ours about it: bounded memory, the same numbers."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from video_mask2former.convert.key_map import KeyMap, prefixed
from video_mask2former.convert.vita import OBJECT_AGGREGATOR
from video_mask2former.models import object_decoder, token_encoder
from video_mask2former.models.object_aggregator import ObjectAggregator

CASES = [(6, 5), (6, 6), (6, 8), (6, 16), (3, 8), (6, 12), (0, 5)]  # window, frames
FOLDER = Path(__file__).parents[1] / "data" / "golden"


@pytest.fixture(scope="module")
def weights(weights_of) -> dict[str, torch.Tensor]:
    shapes = json.loads(gzip.decompress((FOLDER / "vita_shapes.json.gz").read_bytes()))["vita_r50"]
    published = weights_of({name: shape for name, shape in shapes.items() if name.startswith("vita_module.")})
    converted = KeyMap(prefixed(OBJECT_AGGREGATOR, "vita_module.", "")).to_ours(published)
    assert not converted.unknown
    return converted.weights


def build(weights: dict[str, torch.Tensor], window: int) -> ObjectAggregator:
    module = ObjectAggregator(40, num_video_queries=12, num_queries=20, window=window).double().eval()
    module.load_state_dict(weights)
    return module


@pytest.mark.parametrize(("window", "num_frames"), CASES)
@torch.no_grad()
def test_module_equals_the_published_one(window, num_frames, weights, golden, random_tokens):
    figures = golden("vita_module")
    seed = next(int(row[2]) for row in figures["cases"] if tuple(row[:2]) == (window, num_frames))
    module = build(weights, window)
    encoded = module.encoder(random_tokens(seed, num_frames))
    (prediction,) = module.decoder(encoded)
    values = {
        "enc_out_c64": encoded[0, ..., ::64],
        "pred_fq_embed_c64": module.token_similarity(encoded)[0, ..., ::64],
        "pred_logits": prediction.class_logits[0],
        "pred_mask_embed_c8": prediction.mask_embeddings[0, :, ::8],
        "pred_cq_embed_c16": module.query_similarity(prediction.embeddings)[0, :, ::16],
    }
    for name, value in values.items():
        np.testing.assert_allclose(value, figures[f"w{window}_t{num_frames}_{name}"], atol=1e-6, err_msg=name)


@pytest.mark.parametrize(("window", "num_frames"), [(3, 14), (0, 14)])
def test_long_videos_are_computed_in_chunks_with_the_same_result(
    window, num_frames, weights, random_tokens, monkeypatch
):
    module, tokens = build(weights, window), random_tokens(1, num_frames)
    whole = module.decoder(module.encoder(tokens))[-1]
    monkeypatch.setattr(object_decoder, "FRAMES_PER_CHUNK", 4)
    monkeypatch.setattr(token_encoder, "WINDOWS_PER_CHUNK", 2)
    monkeypatch.setattr(token_encoder, "FRAMES_PER_CHUNK", 4)
    before = tokens.clone()
    with torch.no_grad():
        chunked = module.decoder(module.encoder(tokens))[-1]
        half = module.bfloat16().decoder(module.encoder(tokens.bfloat16()))[-1]
    torch.testing.assert_close(chunked.class_logits, whole.class_logits, atol=1e-10, rtol=0)
    assert torch.equal(tokens, before)
    assert half.class_logits.dtype == torch.bfloat16 and half.class_logits.isfinite().all()


def test_training_shifts_no_window(weights, random_tokens):
    module, tokens = build(weights, 6), random_tokens(2, 5)
    alone = build(weights, 0).encoder(tokens)
    assert not torch.allclose(module.encoder(tokens), alone)
    torch.testing.assert_close(module.train().encoder(tokens), alone)
    assert len(module.decoder(alone)) == 3  # the prediction of every layer


def test_tokens_must_be_as_many_as_the_decoder_knows():
    module = ObjectAggregator(3, hidden_dim=16, num_video_queries=2, num_queries=4, num_heads=2, feedforward_dim=8)
    with pytest.raises(ValueError, match="expected 4 tokens on each frame, got 5"):
        module.decoder(torch.zeros(1, 2, 5, 16))
    with pytest.raises(ValueError, match="window must not be negative"):
        ObjectAggregator(3, window=-1)
