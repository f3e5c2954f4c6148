"""The loop with the real model and the real losses."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from toy_training import ToyBatch

from video_mask2former.engine import (
    CheckpointFolder,
    LearningRateSchedule,
    Trainer,
    TrainingLog,
    TrainingPlan,
    parameter_groups,
    read_records,
)
from video_mask2former.losses import HungarianMatcher, SetCriterion


class Loader:
    """The same batches again and again."""

    def __init__(self, batches: list[ToyBatch]) -> None:
        self.batches = batches
        self.position = 0

    def __iter__(self):
        while True:
            self.position += 1
            yield self.batches[(self.position - 1) % len(self.batches)]

    def state_dict(self):
        return {"position": self.position}

    def load_state_dict(self, state) -> None:
        self.position = state["position"]


def make_video_trainer(folder, model, batches, **plan) -> Trainer:
    schedule = LearningRateSchedule("constant", plan.get("max_steps", 4))
    options = TrainingPlan(**({"max_steps": 4, "schedule": schedule, "num_queries": 6, "clip_norm": 1.0} | plan))
    groups = parameter_groups(model, learning_rate=3e-3, weight_decay=0.05, backbone_multiplier=0.1)
    torch.manual_seed(1)
    return Trainer(
        model.train(),
        SetCriterion(3, HungarianMatcher(), num_points=256),
        torch.optim.AdamW(groups),
        Loader(batches),
        plan=options,
        device=torch.device("cpu"),
        checkpoints=CheckpointFolder(folder),
        log=TrainingLog(folder, max_steps=options.max_steps, period=1, use_tensorboard=False, is_main=True),
    )


def batch_of(clip_maker, *instances: int, **options) -> ToyBatch:
    clips = [clip_maker(count, **options) for count in instances]
    return ToyBatch([frames for frames, _ in clips], [target for _, target in clips])


@pytest.mark.parametrize("num_frames", [1, 2])
def test_loss_falls_on_one_clip(tmp_path, tiny_model, clip_maker, num_frames: int) -> None:
    batch = batch_of(clip_maker, 2, num_frames=num_frames)
    make_video_trainer(tmp_path, tiny_model(), [batch], max_steps=30).train()
    records = read_records(tmp_path / "metrics.jsonl")
    assert records[-1]["loss"] < 0.6 * records[0]["loss"]
    assert {"loss_ce", "loss_mask_0", "loss_dice_2", "gradient_norm", "learning_rate"} <= records[0].keys()


def test_resuming_the_real_model_is_bit_equal(tmp_path, tiny_model, clip_maker) -> None:
    batches = [batch_of(clip_maker, 2, 1), batch_of(clip_maker, 0, 3), batch_of(clip_maker, 1, 1, size=(40, 72))]
    whole = make_video_trainer(tmp_path / "whole", tiny_model(), batches)
    weights = {name: tensor.clone() for name, tensor in whole.model.state_dict().items()}
    whole.train()

    first = tiny_model()
    first.load_state_dict(weights)
    make_video_trainer(tmp_path / "parts", first, batches, max_steps=2).train()
    second = make_video_trainer(tmp_path / "parts", tiny_model(), batches)
    second.load_state_dict(second.checkpoints.load_latest())
    second.train()
    for name, value in whole.model.state_dict().items():
        assert torch.equal(second.model.state_dict()[name], value), name


def test_clips_without_instances_train(tmp_path, tiny_model, clip_maker) -> None:
    trainer = make_video_trainer(tmp_path, tiny_model(), [batch_of(clip_maker, 0, 0)])
    trainer.train()
    assert trainer.skipped_steps == 0
    assert all(parameter.grad is not None for parameter in trainer.model.parameters()), "DDP waits for every gradient"


@pytest.mark.parametrize("counts", [(1, 4, 0, 2), (0, 0, 1, 0)])
def test_parts_of_a_batch_add_up_to_it(tmp_path, tiny_model, clip_maker, counts: tuple[int, ...]) -> None:
    """All losses and all gradients: the points of a clip follow from its own seed, whatever part it is in."""
    frames, targets = zip(*(clip_maker(count) for count in counts), strict=True)
    targets = [replace(target, point_seed=7 + index) for index, target in enumerate(targets)]
    whole = [ToyBatch(list(frames), targets)]
    clips = [ToyBatch([clip], [target]) for clip, target in zip(frames, targets, strict=True)]
    losses, gradients = [], []
    for parts in (whole, clips):
        torch.manual_seed(5)
        trainer = make_video_trainer(tmp_path, tiny_model(), parts)
        losses.append(trainer._backward(parts))
        gradients.append({name: parameter.grad for name, parameter in trainer.model.named_parameters()})
    assert len(losses[0]) == 3 * 4
    for name, loss in losses[0].items():
        torch.testing.assert_close(losses[1][name], loss, rtol=2e-6, atol=0, msg=name)
    largest = max(gradient.abs().max().item() for gradient in gradients[0].values())
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, rtol=1e-3, atol=1e-6 * largest, msg=name)


def test_mixed_precision_trains_the_real_model(tmp_path, tiny_model, clip_maker) -> None:
    batch = batch_of(clip_maker, 2)
    trainer = make_video_trainer(tmp_path, tiny_model(), [batch], max_steps=8, dtype="bfloat16")
    trainer.train()
    records = read_records(tmp_path / "metrics.jsonl")
    assert trainer.skipped_steps == 0
    assert records[-1]["loss"] < records[0]["loss"]
