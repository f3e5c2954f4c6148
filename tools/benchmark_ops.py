"""Time deformable attention against its plain-torch form and against the memory traffic it cannot avoid.

One frame of 384x640 through one encoder layer of the R50 model, in pairs: kernel and plain form take turns, and the
ratio is the median over the pairs, so that a busy machine slows both alike.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from video_mask2former.ops import extension_status, ms_deform_attn
from video_mask2former.ops.ms_deform_attn_arguments import flat_shapes
from video_mask2former.ops.ms_deform_attn_reference import ms_deform_attn_forward

SHAPES = ((12, 20), (24, 40), (48, 80))
NUM_HEADS, HEAD_CHANNELS, NUM_POINTS = 8, 32, 4
OFFSET_PIXELS = 2.5  # standard deviation; trained models look a few pixels around each query


@dataclass(frozen=True)
class Timing:
    """One line of the result, in milliseconds.

    Attributes:
        name: What was timed.
        kernel: Median of the operator.
        plain: Median of the grid_sample form.
        speedup: Median of the ratios within pairs.
        limit: Time to move each input and output once, at the copy bandwidth of the same run.
    """

    name: str
    kernel: float
    plain: float
    speedup: float
    limit: float


def encoder_problem(dtype: torch.dtype, device: torch.device) -> list[Tensor]:
    """Value, locations around each pixel's own position, and weights."""
    generator = torch.Generator().manual_seed(0)
    centres, sizes = [], []
    for h, w in SHAPES:
        y, x = torch.meshgrid((torch.arange(h) + 0.5) / h, (torch.arange(w) + 0.5) / w, indexing="ij")
        centres.append(torch.stack([x, y], dim=-1).flatten(0, 1))
        sizes.append(torch.tensor([w, h]))
    reference = torch.cat(centres)[None, :, None, None, None]  # (1, Lq, 1, 1, 1, 2)
    S, L = reference.shape[1], len(SHAPES)
    value = torch.randn(1, S, NUM_HEADS, HEAD_CHANNELS, generator=generator)
    offsets = torch.randn(1, S, NUM_HEADS, L, NUM_POINTS, 2, generator=generator) * OFFSET_PIXELS
    weights = torch.rand(1, S, NUM_HEADS, L * NUM_POINTS, generator=generator).softmax(dim=3).unflatten(3, (L, -1))
    locations = reference + offsets / torch.stack(sizes)[:, None]
    return [tensor.to(device).requires_grad_() for tensor in (value.to(dtype), locations, weights)]


def plain_form(value: Tensor, locations: Tensor, weights: Tensor) -> Tensor:
    """The form that runs where the operator is not compiled, differentiated by autograd."""
    return ms_deform_attn_forward(value, flat_shapes(SHAPES), locations, weights)


def kernel_form(value: Tensor, locations: Tensor, weights: Tensor) -> Tensor:
    """The operator."""
    return ms_deform_attn(value, SHAPES, locations, weights)


def milliseconds(function: Callable[[], object], device: torch.device) -> float:
    """Wall time of one call."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    function()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return 1e3 * (time.perf_counter() - start)


def copy_bandwidth(device: torch.device) -> float:
    """Bytes per millisecond of a large copy, reads and writes counted."""
    source = torch.ones(64 * 2**20, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    times = [milliseconds(lambda: target.copy_(source), device) for _ in range(9)]
    return 2 * source.numel() / statistics.median(times)


def measure(dtype: torch.dtype, with_backward: bool, num_pairs: int, device: torch.device) -> Timing:
    """Time one precision and direction in pairs."""
    inputs = encoder_problem(dtype, device)

    def step(form: Callable[..., Tensor]) -> object:
        if with_backward:
            return torch.autograd.grad(form(*inputs).sum(), inputs)
        with torch.no_grad():
            return form(*inputs)

    runs = [functools.partial(step, form) for form in (kernel_form, plain_form)]
    pairs = [[milliseconds(run, device) for run in runs] for _ in range(1 + num_pairs)][1:]  # the first warms up
    kernel, plain = (statistics.median(times) for times in zip(*pairs, strict=True))
    speedup = statistics.median(slow / fast for fast, slow in pairs)
    moved = sum(tensor.nbytes for tensor in inputs) + inputs[0].nbytes  # the output is as large as the value
    moved *= 2 if with_backward else 1
    name = f"{str(dtype).removeprefix('torch.')} forward{' and backward' if with_backward else ''}"
    return Timing(name, kernel, plain, speedup, moved / copy_bandwidth(device))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--pairs", type=int, default=15, help="pairs of runs per line")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="threads of torch")
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    table = Table("ms per frame and layer", "kernel", "plain torch", "times faster", "memory limit")
    for dtype in (torch.float32, torch.bfloat16):
        for with_backward in (False, True):
            timing = measure(dtype, with_backward, arguments.pairs, arguments.device)
            numbers = (timing.kernel, timing.plain, timing.speedup, timing.limit)
            table.add_row(timing.name, *(f"{number:.2f}" for number in numbers))
    console = Console()
    console.print(f"{extension_status()}; {arguments.threads} threads on {arguments.device}")
    console.print(table)


if __name__ == "__main__":
    main()
