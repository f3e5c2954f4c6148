"""Several processes that work as one: rank, collectives, start-up. All of it is a no-op in a single process."""

from __future__ import annotations

import contextlib
import datetime
import os
import signal
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar, cast, overload

import torch
import torch.distributed as dist
from torch import Tensor
from torch.multiprocessing.spawn import ProcessContext, ProcessException, start_processes

T = TypeVar("T")

GRACE_SECONDS = 30.0  # what the other processes have to end once one has failed
# What a process waits for the others: in an evaluation one may have hours of video more than another.
COLLECTIVE_TIMEOUT = datetime.timedelta(hours=6)
# Mistakes of a user rather than of the program: reported in one line, without a traceback.
USER_ERRORS = (OSError, ValueError, KeyError, ImportError)


def is_distributed() -> bool:
    """Whether this process belongs to a group of more than one."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def rank() -> int:
    """Number of this process in the group, from 0."""
    return dist.get_rank() if is_distributed() else 0


def world_size() -> int:
    """Processes in the group."""
    return dist.get_world_size() if is_distributed() else 1


def local_rank() -> int:
    """Number of this process on its machine, from 0, as torchrun tells it; the index of its GPU."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def is_main_process() -> bool:
    """Whether this process writes the files and draws the progress bar."""
    return rank() == 0


def choose_device(choice: str | torch.device | None = None, name: str = "device") -> torch.device:
    """The device that was asked for, once it is known to be there.

    Args:
        choice: ``cpu``, ``cuda:1`` or whatever torch knows. ``cuda`` is the GPU of this process: under torchrun each
            has its own. None and ``auto`` are that GPU if there is one, else the CPU.
        name: What the choice is called, for the error.

    Raises:
        ValueError: If torch cannot use it here.
    """
    num_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if choice is None or choice == "auto":
        choice = "cuda" if num_gpus else "cpu"
    reason = None
    try:
        device = torch.device(choice)
        if device.type == "cuda":
            device = torch.device("cuda", local_rank() if device.index is None else device.index)
            if device.index >= num_gpus:
                reason = f"torch sees GPUs 0 to {num_gpus - 1}." if num_gpus else "torch sees no GPU."
            elif "LOCAL_RANK" in os.environ and device.index != local_rank():
                reason = f"each process has a GPU of its own, this one number {local_rank()}. Say cuda."
        else:
            torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
    if reason is not None:
        raise ValueError(
            f"{name} must be cpu, cuda, cuda:1 or another that torch can use here, got {str(choice)!r}: {reason}"
        )
    return device


def barrier() -> None:
    """Wait until every process gets here."""
    if is_distributed():
        dist.barrier()


@overload
def all_reduce_sum(value: float) -> float: ...
@overload
def all_reduce_sum(value: Tensor) -> Tensor: ...
def all_reduce_sum(value: float | Tensor) -> float | Tensor:
    """The sum of every process's value, the same on all of them; a tensor that is passed in is not changed."""
    return _all_reduce(value, dist.ReduceOp.SUM)


@overload
def all_reduce_max(value: float) -> float: ...
@overload
def all_reduce_max(value: Tensor) -> Tensor: ...
def all_reduce_max(value: float | Tensor) -> float | Tensor:
    """The largest of every process's value, elementwise for tensors."""
    return _all_reduce(value, dist.ReduceOp.MAX)


@overload
def all_reduce_mean(value: float) -> float: ...
@overload
def all_reduce_mean(value: Tensor) -> Tensor: ...
def all_reduce_mean(value: float | Tensor) -> float | Tensor:
    """The mean of every process's value; a tensor must be floating."""
    return all_reduce_sum(value) / world_size()


def sum_with_gradient(value: Tensor) -> Tensor:
    """The sum of every process's tensor, through which gradients go back to all of them."""
    if not is_distributed():
        return value
    return cast(Tensor, _SumOfAll.apply(value))  # type: ignore[no-untyped-call]


class _SumOfAll(torch.autograd.Function):
    """Every process's loss depends on every process's value, so that gradients are summed too."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        return all_reduce_sum(value)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return all_reduce_sum(gradients[0])


def gather_objects(value: T) -> list[T]:
    """Every process's value, in the order of ranks, on all of them. The values are pickled."""
    if not is_distributed():
        return [value]
    values: list[Any] = [None] * world_size()
    dist.all_gather_object(values, value)
    return values


def broadcast_object(value: T) -> T:
    """The value of rank 0, on every process."""
    if not is_distributed():
        return value
    values = [value]
    dist.broadcast_object_list(values, src=0)
    return values[0]


@contextlib.contextmanager
def process_group(device_type: str) -> Iterator[None]:
    """Join the group that torchrun describes in the environment, and leave it at the end.

    Nothing happens where the environment has no group, or this process is in one already.

    Args:
        device_type: "cuda" talks by NCCL and takes the GPU of this process's local rank, anything else by gloo.
    """
    if dist.is_initialized() or int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield
        return
    missing = [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]
    if missing:
        raise ValueError(
            f"WORLD_SIZE={os.environ['WORLD_SIZE']} announces several processes, but {', '.join(missing)} is not set. "
            "Start them with torchrun, or unset WORLD_SIZE."
        )
    with _joined(device_type, "env://", int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])):
        yield


def launch(num_processes: int, function: Callable[..., int], arguments: Sequence[Any], device_type: str) -> int:
    """Run ``function(*arguments)`` in several processes of this machine that form one group.

    SIGINT and SIGTERM are passed on to the processes, which decide how to stop.

    Args:
        num_processes: How many; with 1 the function is called right here.
        function: Defined at the top level of a module; returns an exit code.
        arguments: Picklable.
        device_type: "cuda" or "cpu", as in :func:`process_group`.

    Returns:
        The exit code of rank 0.

    Raises:
        ValueError: If ``num_processes`` is below 1 or above the number of GPUs, or a process failed with one of
            ``USER_ERRORS``.
        RuntimeError: If a process failed with another error; the message has its traceback.
        KeyboardInterrupt: If the processes were interrupted.
    """
    if num_processes < 1:
        raise ValueError(f"the number of processes must be at least 1, got {num_processes}.")
    if device_type == "cuda" and num_processes > torch.cuda.device_count():
        raise ValueError(
            f"{num_processes} GPUs were asked for, but {torch.cuda.device_count()} are visible. "
            "Lower --num-gpus, or check CUDA_VISIBLE_DEVICES."
        )
    if num_processes == 1:
        return function(*arguments)
    with tempfile.TemporaryDirectory(prefix="video_mask2former_") as folder:
        context: ProcessContext = start_processes(
            _run_rank,
            args=(num_processes, folder, function, tuple(arguments), device_type),
            nprocs=num_processes,
            join=False,
            start_method="spawn",
        )
        with _passing_signals_to(context):
            try:
                while not context.join(grace_period=GRACE_SECONDS):
                    pass
            except ProcessException as error:
                reported = sorted(Path(folder).glob("error_*"))
                if reported:
                    text = reported[0].read_text(encoding="utf-8")
                    raise ValueError(f"{text} (in one of {num_processes} processes)") from error
                raise RuntimeError(f"one of {num_processes} processes failed: {error}") from None
        exit_code = Path(folder) / "exit_code"
        if not exit_code.is_file():  # spawned processes end quietly on KeyboardInterrupt
            raise KeyboardInterrupt
        return int(exit_code.read_text())


def _run_rank(
    index: int, num_processes: int, folder: str, function: Callable[..., int], arguments: tuple[Any, ...], device: str
) -> None:
    # A process group of its own, so that Ctrl-C in a terminal reaches only the parent, which passes it on once.
    if hasattr(os, "setpgid"):
        os.setpgid(0, 0)
    os.environ |= {"RANK": str(index), "LOCAL_RANK": str(index), "WORLD_SIZE": str(num_processes)}
    # A file rather than a port: another process could take a port between choosing and using it.
    with _joined(device, f"file://{folder}/rendezvous", index, num_processes):
        try:
            exit_code = function(*arguments)
        except USER_ERRORS as error:
            text = error.args[0] if isinstance(error, KeyError) and error.args else error
            (Path(folder) / f"error_{index}").write_text(str(text), encoding="utf-8")
            raise
        if index == 0:
            (Path(folder) / "exit_code").write_text(str(exit_code))


@contextlib.contextmanager
def _joined(device_type: str, init_method: str, rank: int, world_size: int) -> Iterator[None]:
    device_id = None
    if device_type == "cuda":
        device_id = torch.device("cuda", local_rank())
        torch.cuda.set_device(device_id)
    backend = "nccl" if device_type == "cuda" else "gloo"
    dist.init_process_group(
        backend,
        init_method=init_method,
        rank=rank,
        world_size=world_size,
        device_id=device_id,
        timeout=COLLECTIVE_TIMEOUT,
    )
    try:
        yield
    finally:
        dist.destroy_process_group()


@contextlib.contextmanager
def _passing_signals_to(context: ProcessContext) -> Iterator[None]:
    def pass_on(signal_number: int, frame: FrameType | None) -> None:
        for process in context.processes:
            if process.is_alive() and process.pid is not None:
                os.kill(process.pid, signal_number)

    previous = {number: signal.signal(number, pass_on) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _all_reduce(value: float | Tensor, operation: Any) -> float | Tensor:
    if not is_distributed():
        return value
    if isinstance(value, Tensor):
        reduced = value.detach().clone()
        dist.all_reduce(reduced, operation)
        return reduced
    device = "cuda" if dist.get_backend() == "nccl" else "cpu"
    reduced = torch.tensor(value, dtype=torch.float64, device=device)
    dist.all_reduce(reduced, operation)
    return reduced.item()
