"""Training on chunks of frames with detached queries, and mask transformers on ViT that learn."""

from __future__ import annotations

import contextlib
import dataclasses

import pytest
import torch

from video_mask2former.engine import LearningRateSchedule, layerwise_parameter_groups
from video_mask2former.engine.truncated import chunk_losses
from video_mask2former.losses import HungarianMatcher, SetCriterion
from video_mask2former.losses.first_appearance import FirstAppearanceCriterion
from video_mask2former.models import LVMT, PMT, VidEoMT
from video_mask2former.models.backbones import Dinov2, Dinov3

SIZE = (24, 3, 2)


def make_lvmt() -> LVMT:
    return LVMT(Dinov3(*SIZE), 3, 6, (0, 2), num_decoder_blocks=2).double().train()


def make_criterion() -> FirstAppearanceCriterion:
    return FirstAppearanceCriterion(3, HungarianMatcher(), num_points=64)


def losses_of(model, clips, targets, chunk: int, *, criterion=None):
    criterion = criterion or make_criterion()
    return chunk_losses(
        model,
        criterion,
        clips,
        targets,
        criterion.normalizer(targets, 6),
        chunk=chunk,
        autocast=contextlib.nullcontext,
        without_reduction=contextlib.nullcontext,
        reduces=True,
    )


def total(losses: dict[str, torch.Tensor]) -> torch.Tensor:
    return torch.stack(list(losses.values())).sum()


def gradients(model) -> dict[str, torch.Tensor]:
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.fixture
def clip(clip_maker):
    frames, target = clip_maker(num_frames=4, size=(32, 48))
    return frames, dataclasses.replace(target, point_seed=5)


def test_one_chunk_is_the_whole_clip(clip):
    model, (frames, target) = make_lvmt(), clip
    model.laterals.batch_norms.eval()
    criterion = make_criterion()
    whole = criterion(model([frames]), [target])
    (chunk,) = losses_of(model, [frames], [target], 4)
    for name, value in whole.items():
        torch.testing.assert_close(chunk[name], value)


def test_queries_go_on_and_gradients_do_not(clip):
    model, (frames, target) = make_lvmt(), clip
    model.laterals.batch_norms.eval()
    for losses in losses_of(model, [frames], [target], 2):
        total(losses).backward()
    truncated = gradients(model)

    model.zero_grad()
    criterion = make_criterion()
    normalizer = criterion.normalizer([target], 6)
    assignments, queries = None, None
    for start in (0, 2):
        part = dataclasses.replace(target, masks=target.masks[:, start : start + 2], point_seed=5 + start)
        output = model([frames[start : start + 2]], queries)
        assignments = criterion.assign(output, [part], assignments)
        total(criterion(output, [part], normalizer, assignments)).backward()
        queries = output.queries.detach()
    for name, gradient in gradients(model).items():
        torch.testing.assert_close(truncated[name], gradient)

    model.zero_grad()
    total(make_criterion()(model([frames]), [target])).backward()
    whole = gradients(model)
    assert (whole["query_updater.weight_hh"] - truncated["query_updater.weight_hh"]).abs().max() > 1e-9
    assert not any(name.startswith("backbone.") for name in truncated)


def test_what_is_kept_for_the_backward_pass_depends_on_the_chunk_and_not_on_the_clip(clip_maker):
    model, kept = make_lvmt(), []

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        kept[-1] += tensor.numel()
        return tensor

    def most_kept(num_frames: int, chunk: int) -> int:
        frames, target = clip_maker(num_frames=num_frames, size=(32, 48))
        kept.clear()
        kept.append(0)
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            for losses in losses_of(model, [frames], [target], chunk):
                total(losses).backward()
                kept.append(0)
        return max(kept)

    short, long, whole = most_kept(4, 2), most_kept(10, 2), most_kept(10, 10)
    assert long < 1.05 * short
    assert whole > 3 * short


def test_a_frozen_encoder_keeps_nothing():
    model, kept = PMT(Dinov3(*SIZE), 3, 6, (0, 2), num_decoder_blocks=1).train(), []
    assert not model.backbone.training and model.laterals.training
    frames = torch.rand(1, 1, 3, 32, 32) * 255
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        normalised, _ = model.normalise_and_pad(frames)
        with torch.no_grad():
            taps = model._taps(normalised[0], (2, 2))
        assert not kept
        features = model.encode(frames)
    assert features.tokens.requires_grad and kept
    assert not any(tap.requires_grad for tap in taps)


def test_only_losses_of_propagated_queries_take_chunks(clip):
    model, (frames, target) = make_lvmt(), clip
    with pytest.raises(ValueError, match=r"training\.propagation_frames is for models whose queries propagate"):
        next(losses_of(model, [frames], [target], 2, criterion=SetCriterion(3, HungarianMatcher())))


def test_a_small_vit_learns_a_clip(clip_maker):
    """A matter of a minute for the whole of two objects; here, of the first steps: the loss falls by half."""
    torch.manual_seed(0)
    frames, target = clip_maker(num_frames=3, size=(64, 96))
    model = VidEoMT(Dinov2(48, 3, 3, image_size=64), 3, 6, 2).train()
    with torch.no_grad():  # a ViT from scratch: factors of 1e-5 are for weights that know something already
        for block in model.backbone.blocks:
            block.scale1.fill_(0.1)
            block.scale2.fill_(0.1)
    criterion = FirstAppearanceCriterion(3, HungarianMatcher(), num_points=256)
    groups = layerwise_parameter_groups(model, learning_rate=2e-3, weight_decay=0.05, layer_decay=0.9)
    optimizer = torch.optim.AdamW([dict(group) for group in groups])
    schedule = LearningRateSchedule("two_part", 60, warmup_steps=3, backbone_warmup_steps=3)
    course = []
    for step in range(40):
        schedule.apply(optimizer, step)
        optimizer.zero_grad()
        loss = total(criterion(model([frames]), [target]))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        course.append(loss.item())
    assert sum(course[-3:]) < 0.5 * sum(course[:3]), course
