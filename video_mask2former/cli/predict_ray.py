"""``video-mask2former predict --ray``: the videos of one command on all machines of a Ray cluster.

One worker for each GPU, or each core, holds the model and takes one video after the other. What runs on a machine that
goes away is done again on another one. Results appear as they do on one machine: complete or not at all.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import os
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from video_mask2former.cli import describe_error
from video_mask2former.cli.predict_inputs import PredictInput
from video_mask2former.cli.predict_jobs import EXPECTED_ERRORS, Outcome, predict_input
from video_mask2former.progress import ProgressBar
from video_mask2former.remote_files import is_address

MAX_ATTEMPTS = 3
"""Of a video that a worker dies with: it may be the video that kills them."""

_SECONDS_BETWEEN_NOTES = 60

_LEVELS = {"done": logging.INFO, "skipped": logging.INFO, "failed": logging.ERROR}

logger = logging.getLogger(__name__)


def run_on_ray(args: argparse.Namespace, overrides: Sequence[str], inputs: Sequence[PredictInput]) -> int:
    """Predict all inputs that are not done yet.

    Args:
        args: The command line.
        overrides: Options of the configuration.
        inputs: The videos; all machines must reach them, and the folder of the results, under the same names.

    Returns:
        The number of inputs that failed.

    Raises:
        ImportError: If Ray is not installed.
        ConnectionError: If there is no cluster at the address.
        ValueError: If the workers cannot run what the command line says.
    """
    try:
        ray = importlib.import_module("ray")
    except ModuleNotFoundError as error:
        raise ImportError("--ray needs the package ray: pip install 'video-mask2former[ray]'") from error
    is_ours = not ray.is_initialized()
    if is_ours:
        ray.init(address=args.ray, log_to_driver=False, logging_level=logging.WARNING, include_dashboard=None)
    try:
        return _Pool(ray, _absolute(args), list(overrides), len(inputs)).run(
            [_absolute_input(entry) for entry in inputs]
        )
    finally:
        if is_ours:
            ray.shutdown()


class VideoWorker:
    """The model on one GPU or core of a machine; Ray makes an actor of it."""

    def __init__(self, args: argparse.Namespace, overrides: list[str]) -> None:
        self._args = args
        self._overrides = overrides

    def prepare(self) -> str | None:
        """Load the model; return what is wrong, if something is."""
        import torch

        from video_mask2former.cli.predict import prepare

        logging.basicConfig(level=logging.INFO)
        if not torch.cuda.is_available():
            torch.set_num_threads(1)
        try:
            self._task, self._predictor = prepare(self._args, self._overrides)
        except EXPECTED_ERRORS as error:
            return describe_error(error)
        return None

    def predict(self, entry: PredictInput) -> Outcome:
        """Predict one video, unless it is done already."""
        return predict_input(self._task, entry, self._predictor, entry.name)


@dataclass(frozen=True)
class _Running:
    worker: Any
    entry: PredictInput | None  # None while it loads the model


class _Pool:
    """The workers of a cluster, and what each is doing."""

    def __init__(self, ray: Any, args: argparse.Namespace, overrides: list[str], num_inputs: int) -> None:
        self._ray = ray
        self._running: dict[Any, _Running] = {}
        self._idle: list[Any] = []
        self._attempts: Counter[str] = Counter()
        resources = ray.cluster_resources()
        num_gpus, num_cpus = int(resources.get("GPU", 0)), int(resources.get("CPU", 1))
        needs_gpu = num_gpus > 0 and not (args.device or "cuda").startswith("cpu")
        options = {"num_gpus": 1} if needs_gpu else {"num_cpus": 1}
        self._make = ray.remote(**options, max_restarts=0)(VideoWorker).remote
        self._arguments = ray.put(args), ray.put(overrides)
        count = args.ray_workers or (num_gpus if needs_gpu else num_cpus)
        self._num_workers = max(1, min(count, num_inputs))
        self._early_deaths = 0
        for _ in range(self._num_workers):
            self._add_worker()

    def run(self, inputs: Sequence[PredictInput]) -> int:
        """The number of inputs that failed."""
        waiting = deque(inputs)
        outcomes: Counter[str] = Counter()
        with ProgressBar("predict", len(inputs), "video") as bar:
            while waiting or self._has_work():
                for job, answer in self._finished():
                    if isinstance(answer, _Died):
                        self._check_deaths(job, answer)
                        self._add_worker()
                        answer = self._outcome_of_death(job, answer, waiting)
                    elif isinstance(answer, str):
                        raise ValueError(answer)
                    elif waiting:
                        self._early_deaths = 0
                        self._give(job.worker, waiting.popleft())
                    else:
                        self._idle.append(job.worker)
                    if answer is not None:
                        outcomes[answer.status] += 1
                        logger.log(_LEVELS[answer.status], "%s", answer.message)
                        bar.update()
                while waiting and self._idle:
                    self._give(self._idle.pop(), waiting.popleft())
        return outcomes["failed"]

    def _check_deaths(self, job: _Running, death: _Died) -> None:
        """Give up where one worker after the other dies before it has loaded the model."""
        self._early_deaths += job.entry is None
        if self._early_deaths > MAX_ATTEMPTS * self._num_workers:
            raise ValueError(f"the workers die before they have loaded the model. {death.reason}")

    def _outcome_of_death(self, job: _Running, death: _Died, waiting: deque[PredictInput]) -> Outcome | None:
        """None if what the worker had in hand is done again, by another one."""
        if job.entry is None:
            return None
        self._attempts[job.entry.name] += 1
        if self._attempts[job.entry.name] < MAX_ATTEMPTS:
            logger.warning("%s: its machine or process went away; it is done again", job.entry.name)
            waiting.appendleft(job.entry)
            return None
        return Outcome("failed", f"{job.entry.source}: {MAX_ATTEMPTS} workers died with it. {death.reason}")

    def _add_worker(self) -> None:
        worker = self._make(*self._arguments)
        self._running[worker.prepare.remote()] = _Running(worker, None)

    def _give(self, worker: Any, entry: PredictInput) -> None:
        self._running[worker.predict.remote(entry)] = _Running(worker, entry)

    def _has_work(self) -> bool:
        return any(job.entry is not None for job in self._running.values())

    def _finished(self) -> list[tuple[_Running, Outcome | _Died | str | None]]:
        """What has ended since, with its answer; waits for something to end."""
        ray, errors = self._ray, self._ray.exceptions
        ended, _ = ray.wait(list(self._running), num_returns=1, timeout=_SECONDS_BETWEEN_NOTES)
        if not ended and not self._has_work():
            logger.warning("no worker runs yet: waiting for the cluster to have a free GPU or core")
        answers: list[tuple[_Running, Outcome | _Died | str | None]] = []
        for reference in ended:
            job = self._running.pop(reference)
            try:
                answer = ray.get(reference)
            except errors.RayTaskError:
                raise  # an error of ours
            except errors.RayError as error:
                answer = _Died(" ".join(str(error).split())[:300])
            answers.append((job, answer))
        return answers


@dataclass(frozen=True)
class _Died:
    reason: str


def _absolute(args: argparse.Namespace) -> argparse.Namespace:
    """The command line with paths that other processes understand."""
    changed = {
        name: os.path.abspath(value)
        for name in ("output", "config", "weights")
        if (value := getattr(args, name)) is not None
        and not is_address(value)
        and (name == "output" or os.path.exists(value))
    }
    return argparse.Namespace(**{**vars(args), **changed, "run": None})


def _absolute_input(entry: PredictInput) -> PredictInput:
    """The input with a path that other processes understand."""
    if isinstance(entry.source, int) or is_address(entry.source):
        return entry
    return PredictInput(os.path.abspath(entry.source), entry.name)
