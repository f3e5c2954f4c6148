"""A training small enough to be repeated many times: model, criterion, loader, and functions that processes run."""

from __future__ import annotations

import argparse
import dataclasses
import os
import random
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from video_mask2former import distributed
from video_mask2former.engine import (
    CheckpointFolder,
    ExponentialMovingAverage,
    LearningRateSchedule,
    Trainer,
    TrainingLog,
    TrainingPlan,
    parameter_groups,
    shard,
)
from video_mask2former.structures import ClipTarget

NUM_CLIPS = 12


class ToyModel(nn.Module):
    """Clips to a number for each; dropout draws from the global generator as point sampling does."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.GroupNorm(2, 4), nn.ReLU())
        self.register_buffer("shift", torch.zeros(1), persistent=False)
        self.head = nn.Linear(4, 1)
        self.dropout = nn.Dropout(dropout)

    def forward(self, frames: Sequence[Tensor]) -> dict[str, Tensor]:
        features = self.backbone(torch.stack(list(frames)).flatten(0, 1).float() / 255).mean((2, 3))
        return {"mean": self.head(self.dropout(features)).unflatten(0, (len(frames), -1)).mean(1).squeeze(1)}


class ToyCriterion(nn.Module):
    """Squared error to the label, once per instance, over the instances of the whole batch."""

    def __init__(self, bad_calls: Sequence[int] = ()) -> None:
        super().__init__()
        self.bad_calls = bad_calls
        self.calls = 0

    def forward(
        self, output: Mapping[str, Tensor], targets: Sequence[ClipTarget], normalizer: float
    ) -> dict[str, Tensor]:
        assert output["mean"].dtype == torch.float32
        errors = [(value - target.labels).square().sum() for value, target in zip(output["mean"], targets, strict=True)]
        factor = float("nan") if self.calls in self.bad_calls else 1.0
        self.calls += 1
        return {"loss_ce": factor * torch.stack(errors).sum() / normalizer, "loss_dice": output["mean"].mean() * 0.01}

    def normalizer(self, targets: Sequence[ClipTarget], num_queries: int) -> float:
        return float(sum(len(target) for target in targets))


@dataclasses.dataclass
class ToyBatch:
    frames: list[Tensor]
    targets: list[ClipTarget]
    sources: Sequence[str] = ("a clip",)


class ToyLoader:
    """Epochs in shuffled order, split over ranks; the number of instances differs from clip to clip."""

    def __init__(self, batch_size: int, rank: int = 0, world_size: int = 1) -> None:
        self.batch_size, self.rank, self.world_size = batch_size, rank, world_size
        self.epoch, self.position = 0, 0

    def __iter__(self) -> Iterator[ToyBatch]:
        torch.rand(3)  # as torch's DataLoader draws the seed of its workers
        order = torch.randperm(NUM_CLIPS, generator=torch.Generator().manual_seed(self.epoch)).tolist()
        size = self.batch_size * self.world_size
        while self.position + size <= NUM_CLIPS:
            start = self.position + self.rank * self.batch_size
            self.position += size
            yield self._batch(order[start : start + self.batch_size])
        self.epoch, self.position = self.epoch + 1, 0

    def _batch(self, indices: Sequence[int]) -> ToyBatch:
        batch = ToyBatch([], [])
        for index in indices:
            generator = torch.Generator().manual_seed(index)
            count = 1 + index % 3
            batch.frames.append(torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8, generator=generator))
            labels = torch.randint(0, 5, (count,), generator=generator)
            batch.targets.append(ClipTarget(labels, torch.ones(count, 2, 8, 8, dtype=torch.bool)))
        return batch

    def state_dict(self) -> dict[str, Any]:
        return {"epoch": self.epoch, "position": self.position}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.epoch, self.position = state["epoch"], state["position"]


def make_trainer(
    folder: str | os.PathLike[str],
    *,
    batch_size: int = 2,
    dropout: float = 0.5,
    ema: bool = True,
    evaluate: Any = None,
    bad_calls: Sequence[int] = (),
    learning_rate: float = 1e-2,
    loader: Any = None,
    sharded: bool = False,
    **plan: Any,
) -> Trainer:
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    model = ToyModel(dropout)
    outline = shard(model) if sharded else None
    torch.manual_seed(100 + distributed.rank())
    groups = parameter_groups(model, learning_rate=learning_rate, weight_decay=0.05, backbone_multiplier=0.1)
    max_steps = plan.get("max_steps", 8)
    schedule = LearningRateSchedule("multistep", max_steps, decay_steps=(5,), warmup_steps=2, warmup_factor=0.1)
    defaults = {"max_steps": max_steps, "schedule": schedule, "num_queries": 3, "clip_norm": 0.0}
    options = TrainingPlan(**(defaults | {"checkpoint_period": 3} | plan))
    return Trainer(
        model,
        ToyCriterion(bad_calls),
        torch.optim.AdamW(groups),
        loader or ToyLoader(batch_size, distributed.rank(), distributed.world_size()),
        plan=options,
        device=torch.device("cpu"),
        checkpoints=CheckpointFolder(folder),
        log=TrainingLog(
            folder,
            max_steps=options.max_steps,
            period=2,
            use_tensorboard=False,
            is_main=distributed.is_main_process(),
        ),
        ema=ExponentialMovingAverage(model, 0.9) if ema else None,
        evaluate=evaluate,
        metadata={"config": {"model": {"name": "toy"}}},
        outline=outline,
    )


def train_on_ranks(runs: Sequence[tuple[str, dict[str, Any], bool]]) -> int:
    """What each rank does: some trainings one after the other, given as folder, options and whether to resume."""
    for folder, options, resume in runs:
        trainer = make_trainer(folder, **options)
        if resume:
            state = trainer.checkpoints.load_latest()
            assert state is not None
            trainer.load_state_dict(state)
        trainer.train()
        torch.save(trainer.model.state_dict(), f"{folder}_rank{distributed.rank()}.pth")
        distributed.barrier()
    return 0


def train_from_configuration(runs: Sequence[tuple[str, Mapping[str, Any], str]]) -> int:
    """What each rank does: trainings from a configuration, given as its name, options and folder."""
    import video_mask2former as vm2f

    for name, options, folder in runs:
        vm2f.train(name, overrides=options, output=folder, device="cpu")
        distributed.barrier()
    return 0


def save_weights(path: str, model: nn.Module, step: int) -> dict[str, float]:
    """An evaluation that only one rank has the time for."""
    if distributed.is_main_process():
        with torch.no_grad():
            model([torch.zeros(2, 3, 8, 8, dtype=torch.uint8)])
        torch.save(dict(model.state_dict()), path)
    return {"AP": float(step)}


def report_collectives(folder: str) -> int:
    rank = distributed.rank()
    tensor = torch.tensor([1.0 + rank, 10.0])
    values = {
        "world_size": distributed.world_size(),
        "local_rank": distributed.local_rank(),
        "sum": distributed.all_reduce_sum(1.5 + rank),
        "mean": distributed.all_reduce_mean(1.0 + rank),
        "max": distributed.all_reduce_max(float(-rank)),
        "tensor_sum": distributed.all_reduce_sum(tensor).tolist(),
        "tensor": tensor.tolist(),
        "objects": distributed.gather_objects({"rank": rank}),
        "broadcast": distributed.broadcast_object(f"from {rank}"),
        "main": distributed.is_main_process(),
    }
    distributed.barrier()
    torch.save(values, f"{folder}/{rank}.pth")
    return 7


def fail_on_the_second_rank(is_mistake_of_the_user: bool) -> int:
    if distributed.rank() == 1:
        raise (KeyError if is_mistake_of_the_user else TypeError)("a rank that fails")
    return 0


def wait_for_sigterm() -> int:
    received: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: received.append(number))
    distributed.barrier()
    if distributed.is_main_process():
        os.kill(os.getppid(), signal.SIGTERM)
    deadline = time.monotonic() + 20
    while not received and time.monotonic() < deadline:
        time.sleep(0.01)
    return 128 + received[0] if received else 1


class WorkerLoader(ToyLoader):
    """Batches come from a worker process, slowly, and each is announced."""

    def __iter__(self) -> Iterator[ToyBatch]:
        loader = DataLoader(range(self.position, 10**6), batch_size=None, num_workers=1)
        for position in loader:
            self.position = int(position) + 1
            print("step", flush=True)
            time.sleep(0.03)
            yield self._batch([self.position % NUM_CLIPS])


def main() -> int:
    """Train in a process of its own, that tests send signals to."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("--hang-in-save", type=int, default=0, help="stop for ever in the middle of this save")
    args = parser.parse_args()
    if args.hang_in_save:
        _hang_in_save(args.hang_in_save)
    trainer = make_trainer(args.folder, loader=WorkerLoader(2), max_steps=20, checkpoint_period=4)
    result = trainer.train()
    return 128 + result.signal_number if result.signal_number else 0


def _hang_in_save(number: int) -> None:
    """Write half of the ``number``-th checkpoint and wait to be killed."""
    save, calls = torch.save, [0]

    def half_save(state: Any, path: Path) -> None:
        calls[0] += 1
        save(state, path)
        if calls[0] == number:
            os.truncate(path, path.stat().st_size // 2)
            print("saving", flush=True)
            time.sleep(60)

    torch.save = half_save


if __name__ == "__main__":
    raise SystemExit(main())
