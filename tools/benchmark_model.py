"""Measure the model: inference against the time of its FLOPs at the measured GEMM rate, and one training step.

Peaks of memory are taken in a fresh process each: of the process, and of what is in use in it (on a GPU, by tensors).
Run alone: ``--help``.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import resource
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from published_form import DenseCriterion, DenseModel, use_published_operations
from torch.utils.flop_counter import FlopCounterMode

from video_mask2former.config import load_config
from video_mask2former.recipes.model import build_criterion, build_model
from video_mask2former.structures import ClipTarget

CONFIG = Path(__file__).parents[1] / "configs" / "ytvis_2019" / "r50.yaml"
GEMM_SIZE = 2048
TRAINING_FORMS = ("ours", "bfloat16", "dense", "published")


CPU = torch.device("cpu")


def seconds(function: Callable[[], object], device: torch.device = CPU) -> float:
    """Wall time of one call, its work on a GPU included."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    function()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def gemm_rate(device: torch.device = CPU, repeats: int = 5) -> float:
    """Median FLOP/s of a square float32 matrix product."""
    a, b = torch.randn(2, GEMM_SIZE, GEMM_SIZE, device=device)
    torch.mm(a, b)
    return 2 * GEMM_SIZE**3 / statistics.median(seconds(lambda: torch.mm(a, b), device) for _ in range(repeats))


def measure_inference(
    repeats: int = 5, num_frames: int = 4, size: tuple[int, int] = (384, 640), device: torch.device = CPU
) -> dict[str, float]:
    """R50, backbone to all dense masks, float32 and bfloat16; every run paired with a run of the GEMM."""
    torch.manual_seed(0)
    model = build_model(load_config(CONFIG)).eval().requires_grad_(False).to(device)
    frames = smooth_frames(num_frames, size)[None].to(device)

    def run() -> torch.Tensor:
        return model(frames).mask_logits.dense()

    with torch.no_grad():
        with FlopCounterMode(display=False) as counter:
            full = run()
        flops = counter.get_total_flops()
        with torch.autocast(device.type, torch.bfloat16):
            half = run()
        ratios, speedups, full_times, half_times = [], [], [], []
        for _ in range(repeats):
            limit = flops / gemm_rate(device)
            full_times.append(seconds(run, device))
            with torch.autocast(device.type, torch.bfloat16):
                half_times.append(seconds(run, device))
            ratios.append(full_times[-1] / limit)
            speedups.append(full_times[-1] / half_times[-1])
    return {
        "gflops": flops / 1e9,
        "gemm_gflops_per_second": gemm_rate(device) / 1e9,
        "float32_seconds": statistics.median(full_times),
        "bfloat16_seconds": statistics.median(half_times),
        "float32_over_gemm_limit": statistics.median(ratios),
        "bfloat16_speedup": statistics.median(speedups),
        "bfloat16_mask_agreement": ((full > 0) == (half > 0)).float().mean().item(),
    }


def smooth_frames(num_frames: int, size: tuple[int, int]) -> torch.Tensor:
    """Frames with structure at every scale, ``(T, 3, H, W)`` uint8; white noise is nothing a network ever sees."""
    frames = torch.zeros(num_frames, 3, *size)
    for scale in (1, 4, 16, 64):
        noise = torch.randn(num_frames, 3, size[0] // scale, size[1] // scale)
        frames += scale**0.5 * torch.nn.functional.interpolate(noise, size=size, mode="bilinear")
    return (frames / frames.std() * 50 + 118).clamp(0, 255).to(torch.uint8)


def measure_training_step(form: str, repeats: int = 3, device: torch.device = CPU) -> dict[str, float]:
    """One step (forward, loss, backward): R50, one clip of 2 frames of 360x640, 3 instances.

    ``form``: "ours"; "bfloat16", ours under autocast; "dense", mask logits of all queries and layers multiplied out,
    as published code holds them; "published", that and the published form of the other operations (see
    ``published_form``).
    """
    torch.manual_seed(0)
    config = load_config(CONFIG)
    model, criterion = build_model(config).train().to(device), build_criterion(config).to(device)
    frames = smooth_frames(2, (360, 640))[None].to(device)
    masks = torch.zeros(3, 2, 360, 640, dtype=torch.bool)
    for index in range(3):
        masks[index, :, 60 + 60 * index : 160 + 60 * index, 100 + 120 * index : 250 + 120 * index] = True
    target = ClipTarget(torch.tensor([0, 5, 5]), masks).to(device)
    is_ours = form in ("ours", "bfloat16")
    if not is_ours:
        model = DenseModel(model)
    if form == "published":
        use_published_operations()

    def total_loss() -> torch.Tensor:
        if is_ours:
            with torch.autocast(device.type, torch.bfloat16, enabled=form == "bfloat16"):
                return torch.stack(list(criterion(model(frames), [target]).values())).sum()
        return DenseCriterion(criterion)(model(frames), [target])

    def step() -> None:
        total_loss().backward()
        model.zero_grad(set_to_none=True)

    with watch_allocations() as peaks:
        step()
    times = [seconds(step, device) for _ in range(repeats)]
    process = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 2**10
    allocated = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else max(peaks)
    return {"seconds": statistics.median(times), "process_gib": process / 2**30, "allocated_gib": allocated / 2**30}


class _MallocInfo(ctypes.Structure):
    """``struct mallinfo2`` of glibc, ten numbers."""

    _fields_ = (("numbers", ctypes.c_size_t * 10),)

    def bytes_in_use(self) -> int:
        """In mappings of their own, and in the heap: ``hblkhd + uordblks``."""
        return self.numbers[4] + self.numbers[7]


@contextlib.contextmanager
def watch_allocations() -> Iterator[list[float]]:
    """Yield a list that fills with the bytes in use, seen every few milliseconds; NaN where there is no glibc.

    The process itself holds more: memory that was freed and that the allocator keeps for later, in pieces.
    """
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mallinfo2"):
        yield [float("nan")]
        return
    seen, is_over = [0.0], threading.Event()
    libc.mallinfo2.restype = _MallocInfo

    def watch() -> None:
        while not is_over.wait(0.005):
            seen.append(libc.mallinfo2().bytes_in_use())

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        is_over.set()
        thread.join()


def compare_training_steps(device: torch.device = CPU) -> dict[str, dict[str, float]]:
    """Each form in a process of its own, whose peak memory is then its own."""
    forms = {}
    for form in TRAINING_FORMS:
        command = [sys.executable, __file__, "--training-step", form, "--device", str(device)]
        forms[form] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return forms


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--training-step", choices=TRAINING_FORMS, help="measure one form, print JSON")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", type=torch.device, default=CPU)
    arguments = parser.parse_args()
    device = arguments.device
    if arguments.training_step:
        print(json.dumps(measure_training_step(arguments.training_step, arguments.repeats, device)))
    else:
        figures = {"inference": measure_inference(device=device), "training step": compare_training_steps(device)}
        print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
