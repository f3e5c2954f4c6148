"""Training of small models: the loss falls, and what is frozen stays as it is."""

from __future__ import annotations

import pytest
import torch

from video_mask2former.config import apply_overrides
from video_mask2former.engine import freeze
from video_mask2former.losses import HungarianMatcher
from video_mask2former.losses.object_criterion import ObjectCriterion
from video_mask2former.recipes.model import build_criterion, build_model

SMALL_PART = "num_video_queries: 5, num_encoder_layers: 2, num_decoder_layers: 2, feedforward_dim: 16, num_heads: 2"
PARTS = {
    "vita": f"refiner={{name: vita, window: 3, num_token_layers: 2, hidden_dim: 16, {SMALL_PART}}}",
    "genvis": f"tracker={{name: genvis, clip_length: 2, num_token_layers: 2, hidden_dim: 16, {SMALL_PART}}}",
}


@pytest.mark.parametrize("family", PARTS)
def test_loss_falls(family, small_config, clip_maker):
    config = apply_overrides(small_config, ["model.decoder.temporal_position_encoding=false", PARTS[family]])
    model = build_model(config)
    is_frozen = family == "genvis"
    if is_frozen:
        freeze(model, ["segmenter"])
    model.train()
    criterion = ObjectCriterion(3, HungarianMatcher(), num_points=64)
    clips = [clip_maker(num_frames=4, size=(32, 64)) for _ in range(2)]
    frames, targets = torch.stack([clip[0] for clip in clips]), [clip[1] for clip in clips]
    before = {name: value.clone() for name, value in model.segmenter.state_dict().items()}
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=3e-3)
    totals = []
    for _ in range(12):
        torch.manual_seed(0)  # the same points in every step
        loss = torch.stack(list(criterion(model(frames), targets).values())).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        totals.append(float(loss.detach()))
    assert totals[-1] < 0.8 * totals[0]
    is_same = all(torch.equal(value, before[name]) for name, value in model.segmenter.state_dict().items())
    assert is_same == is_frozen


@pytest.mark.parametrize("first_frame", [2, 4])
def test_clips_without_an_object_have_a_loss(first_frame, small_config, clip_maker):
    config = apply_overrides(small_config, ["model.decoder.temporal_position_encoding=false", PARTS["genvis"]])
    model = build_model(config).train()
    frames, target = clip_maker(num_frames=4, size=(32, 64))
    target.masks[:, :first_frame] = False
    losses = build_criterion(apply_overrides(config, ["loss.num_points=64"]))(model(frames[None]), [target])
    total = torch.stack(list(losses.values())).sum()
    total.backward()
    assert total.isfinite()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_tokens_of_more_layers_than_there_are_is_an_error(small_config, clip_maker):
    part = PARTS["vita"].replace("num_token_layers: 2", "num_token_layers: 7")
    config = apply_overrides(small_config, ["model.decoder.temporal_position_encoding=false", part])
    frames, _ = clip_maker(size=(32, 32))
    with pytest.raises(ValueError, match="expected the queries of each frame after 7 layers"):
        build_model(config).train()(frames[None])
