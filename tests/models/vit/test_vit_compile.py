"""Compiled models give what eager ones give, each part as one graph."""

from __future__ import annotations

import pytest
import torch

from video_mask2former.models import LVMT, PMT, EoMT, VidEoMT
from video_mask2former.models.backbones import Dinov2, Dinov3

SIZE = (24, 2, 2)


@pytest.mark.parametrize(
    "make",
    [
        lambda: EoMT(Dinov3(*SIZE), 3, 4, 1, size_divisibility=16),
        lambda: VidEoMT(Dinov2(*SIZE, image_size=32), 3, 4, 1),
        lambda: PMT(Dinov2(*SIZE, image_size=32), 3, 4, (0, 1), num_decoder_blocks=1),
        lambda: LVMT(Dinov3(*SIZE), 3, 4, (0, 1), num_decoder_blocks=1),
    ],
    ids=["eomt-dinov3", "videomt-dinov2", "pmt-dinov2", "lvmt-dinov3"],
)
@pytest.mark.filterwarnings("ignore")
@torch.no_grad()
def test_a_compiled_model_equals_the_eager_one_without_graph_breaks(make):
    torch._dynamo.reset()
    model = make().eval()
    frames = torch.rand(1, 2, 3, 64, 32) * 255
    encode, decode = (
        torch.compile(function, fullgraph=True, backend="aot_eager") for function in (model.encode, model.decode)
    )
    features = encode(frames)
    torch.testing.assert_close(features.tokens, model.encode(frames).tokens, rtol=1e-4, atol=1e-5)
    first, second = features.frames(0, 1), features.frames(1, 2)
    output = decode(second, decode(first).queries)
    expected = model.decode(second, model.decode(first).queries)
    torch.testing.assert_close(output.class_logits, expected.class_logits, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(output.mask_logits.dense(), expected.mask_logits.dense(), rtol=1e-4, atol=1e-4)
