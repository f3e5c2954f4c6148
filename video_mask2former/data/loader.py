"""Endless batches of training clips: the same for one seed, whatever the number of workers or ranks."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler, get_worker_info

from video_mask2former.data.clip_dataset import ClipRequest
from video_mask2former.data.mixed import SampleOrder
from video_mask2former.data.samples import ClipBatch, ClipSample, collate_clips

MOST_OPEN_FILES = 65536


class BatchSampler(Sampler[list[ClipRequest]]):
    """This rank's part of every batch, from one on, without end.

    Batch b of the whole training holds samples ``b * batch_size`` up to ``(b + 1) * batch_size`` of the order; each
    rank takes an equal part of them, so that more ranks change neither the batches nor their samples.

    Args:
        order: The order over all samples.
        batch_size: Clips of a batch, all ranks together.
        rank: This process.
        world_size: Number of processes.
        first_batch: Batches that are left out at the start.
    """

    def __init__(
        self, order: SampleOrder, batch_size: int, rank: int = 0, world_size: int = 1, first_batch: int = 0
    ) -> None:
        if batch_size < 1 or batch_size % world_size:
            raise ValueError(
                f"batch_size must be a multiple of the number of ranks, got {batch_size = } and {world_size = }."
            )
        if not 0 <= rank < world_size:
            raise ValueError(f"rank must be in [0, {world_size}), got {rank}.")
        self.order = order
        self.batch_size = batch_size
        self.rank = rank
        self.world_size = world_size
        self.first_batch = first_batch

    def __iter__(self) -> Iterator[list[ClipRequest]]:
        share = self.batch_size // self.world_size
        start = self.first_batch * self.batch_size + self.rank * share
        while True:
            yield [self.order[number] for number in range(start, start + share)]
            start += self.batch_size


class TrainingLoader:
    """Iterates over this rank's training batches without end, and knows how many were taken.

    Args:
        dataset: Indexed by requests of ``order``.
        order: The order over all samples.
        batch_size: Clips of a batch, all ranks together.
        rank: This process.
        world_size: Number of processes.
        num_workers: Processes that read and transform; 0 does it in this one.
        pin_memory: Put batches into page-locked memory, for copies to a GPU.
        prefetch_factor: Batches that each worker prepares ahead.
    """

    def __init__(
        self,
        dataset: Dataset[ClipSample],
        order: SampleOrder,
        batch_size: int,
        *,
        rank: int = 0,
        world_size: int = 1,
        num_workers: int = 0,
        pin_memory: bool = False,
        prefetch_factor: int = 2,
    ) -> None:
        self.dataset = dataset
        self.num_workers = num_workers
        self.pin_memory = pin_memory
        self.prefetch_factor = prefetch_factor
        self.sampler = BatchSampler(order, batch_size, rank, world_size)

    def __iter__(self) -> Iterator[ClipBatch]:
        """Batches from the one after the last that was taken. The workers live as long as the iterator does."""
        loader: DataLoader[ClipSample] = DataLoader(
            self.dataset,
            batch_sampler=self.sampler,
            num_workers=self.num_workers,
            collate_fn=collate_clips,
            pin_memory=self.pin_memory,
            prefetch_factor=self.prefetch_factor if self.num_workers else None,
            worker_init_fn=initialize_worker,
            # its own, since DataLoader would draw from the global one, and a resumed run would differ
            generator=torch.Generator().manual_seed(self.sampler.order.seed),
        )
        if self.num_workers:
            allow_many_open_files()
        batches = iter(loader)
        try:
            for batch in batches:
                self.sampler.first_batch += 1
                yield batch
        finally:
            _end_workers(batches)

    @property
    def num_batches_taken(self) -> int:
        """Batches taken from the start of the training."""
        return self.sampler.first_batch

    def state_dict(self) -> dict[str, Any]:
        """The position, which is the same on every rank."""
        sampler = self.sampler
        return {"num_batches": sampler.first_batch, "batch_size": sampler.batch_size, "seed": sampler.order.seed}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on after the samples that were taken when ``state`` was made, with any number of ranks and workers.

        The size of batches may differ: the same samples come in other portions.

        Raises:
            ValueError: If the seed is another, or the samples so far do not fill a number of batches.
        """
        if state["seed"] != self.sampler.order.seed:
            raise ValueError(
                f"to resume, the seed must be that of the first run, {state['seed']}, got {self.sampler.order.seed}."
            )
        num_samples = int(state["num_batches"]) * int(state["batch_size"])
        if num_samples % self.sampler.batch_size:
            raise ValueError(
                f"the run that is resumed has taken {num_samples} samples, which do not fill a number of batches of "
                f"{self.sampler.batch_size}. Choose a batch size that divides {num_samples}, such as that of the run."
            )
        self.sampler.first_batch = num_samples // self.sampler.batch_size


def allow_many_open_files() -> None:
    """Raise the limit of open files as far as the system lets a process do it.

    Every tensor that a worker hands over is an open file until it is freed, a few for each clip of each batch that is
    ready. The usual limit of 1024 is soon reached, and torch then fails with "received 0 items of ancdata".
    """
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _end_workers(batches: Any) -> None:
    """End the worker processes of a DataLoader's iterator now, even if it is still referenced.

    An error keeps the iterator alive through its traceback. Python would then wait at its end for workers which wait
    for work: they may have been started with SIGTERM blocked, which is how Python asks them to go.
    """
    shut_down = getattr(batches, "_shutdown_workers", None)  # there is none without workers
    if shut_down is not None:
        shut_down()


def initialize_worker(worker_id: int) -> None:
    """Set up a worker process: one thread, and seeds for code that draws from the global generators."""
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    info = get_worker_info()
    seed = worker_id if info is None else info.seed
    random.seed(seed)
    np.random.seed(seed % 2**32)
