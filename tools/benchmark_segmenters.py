"""Parameters, FLOPs, CPU time beside its floor and training memory: a row of docs/segmenters.md for each configuration.

Time is processor time of one thread, so that other programs on the machine count little; its floor is the FLOPs at the
rate of a large matrix product, measured just before and after. Training memory is the peak of a process that takes one
step (forward, loss, backward) with eight objects. With ``--without-running`` models have no weights, and memory is
predicted: parameters, gradients, and what the forward pass keeps for the backward one.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import subprocess
import sys
import time
from collections.abc import Callable

import torch
from torch.utils.flop_counter import FlopCounterMode

from video_mask2former.recipes.model import build_criterion, build_model
from video_mask2former.recipes.source import read_config
from video_mask2former.structures import ClipTarget

GEMM_SIZE = 1536
NUM_OBJECTS = 8
GIB = 2**30


def processor_seconds(function: Callable[[], object]) -> float:
    """Processor time of one call, all threads of this process."""
    start = time.process_time()
    function()
    return time.process_time() - start


def matrix_rate() -> float:
    """FLOP/s of a square float32 matrix product."""
    a, b = torch.randn(2, GEMM_SIZE, GEMM_SIZE)
    torch.mm(a, b)
    return 2 * GEMM_SIZE**3 / processor_seconds(lambda: torch.mm(a, b))


def measure_inference(name: str, overrides: list[str], side: int, repeats: int) -> dict[str, float]:
    """One image to the mask logits of all queries."""
    model = build_model(read_config(name, overrides)).eval().requires_grad_(False)
    frames = torch.randint(0, 256, (1, 1, 3, side, side), dtype=torch.uint8)

    def run() -> torch.Tensor:
        return model(frames).mask_logits.dense()

    with torch.no_grad():
        with FlopCounterMode(display=False) as counter:
            run()
        flops = counter.get_total_flops()
        pairs = []
        rates = [matrix_rate()]
        for _ in range(repeats):
            taken = processor_seconds(run)
            rates.append(matrix_rate())
            pairs.append((taken, flops / ((rates[-2] + rates[-1]) / 2)))
    taken, floor = min(pairs)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return {"million_parameters": parameters / 1e6, "gflops": flops / 1e9, "seconds": taken, "floor_seconds": floor}


def measure_training(name: str, overrides: list[str], side: int, batch: int) -> dict[str, float]:
    """Peak memory of this process after one step."""
    config = read_config(name, overrides)
    model, criterion = build_model(config).train(), build_criterion(config)
    frames = torch.randint(0, 256, (batch, 1, 3, side, side), dtype=torch.uint8)
    masks = torch.zeros(NUM_OBJECTS, 1, side, side, dtype=torch.bool)
    for index, mask in enumerate(masks):
        mask[0, index * side // NUM_OBJECTS : (index + 1) * side // NUM_OBJECTS, side // 4 : -side // 4] = True
    target = ClipTarget(torch.arange(NUM_OBJECTS) % config.model.num_classes, masks)
    losses = criterion(model(frames), [target] * batch)
    torch.stack(list(losses.values())).sum().backward()
    return {"training_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 2**10 / GIB}


def predict(name: str, overrides: list[str], side: int, batch: int) -> dict[str, float]:
    """The same without running anything: tensors have shapes only, and memory is what has to be kept."""
    config = read_config(name, overrides)
    with torch.device("meta"):
        model = build_model(config)
        frames = torch.zeros(batch, 1, 3, side, side, dtype=torch.uint8)
    kept: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage._cdata] = storage.nbytes()
        alive.append(storage)
        return tensor

    alive: list[torch.UntypedStorage] = []
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        output = model.train()(frames)
    del output
    own = {parameter.untyped_storage()._cdata for parameter in model.parameters()}
    parameters = sum(parameter.numel() for parameter in model.parameters())
    activations = sum(size for key, size in kept.items() if key not in own)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model.eval().requires_grad_(False)(frames[:1]).mask_logits.dense()
    return {
        "million_parameters": parameters / 1e6,
        "gflops": counter.get_total_flops() / 1e9,
        "predicted_training_gib": (8 * parameters + activations) / GIB,
    }


def row(name: str, figures: dict[str, float]) -> str:
    """One row of the table, in Markdown."""
    missing = math.nan
    seconds, floor = (figures.get(key, missing) for key in ("seconds", "floor_seconds"))
    memory = f"{figures['training_gib']:.1f} GiB" if "training_gib" in figures else ""
    if "predicted_training_gib" in figures:
        memory = f"predicted: {figures['predicted_training_gib']:.1f} GiB"
    times = "not run" if math.isnan(seconds) else f"{seconds:.1f} s ({floor:.1f} s)"
    return f"| `{name}` | {figures['million_parameters']:.1f} M | {figures['gflops']:.0f} | {times} | {memory} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("names", nargs="+", metavar="CONFIG", help="a shipped configuration, or a file")
    parser.add_argument("--side", type=int, default=640, help="of the image (default: 640)")
    parser.add_argument("--repeats", type=int, default=2, help="the quickest run counts (default: 2)")
    parser.add_argument("--batch", type=int, default=1, help="images of the training step (default: 1)")
    parser.add_argument("--without-running", action="store_true", help="predict memory; nothing is timed")
    parser.add_argument(
        "--set", action="append", default=[], metavar="OPTION=VALUE", help="changes of the configuration"
    )
    parser.add_argument("--part", choices=("inference", "training", "predicted"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    if arguments.part == "inference":
        print(json.dumps(measure_inference(arguments.names[0], arguments.set, arguments.side, arguments.repeats)))
    elif arguments.part == "training":
        print(json.dumps(measure_training(arguments.names[0], arguments.set, arguments.side, arguments.batch)))
    elif arguments.part == "predicted":
        print(json.dumps(predict(arguments.names[0], arguments.set, arguments.side, arguments.batch)))
    else:
        for name in arguments.names:
            figures: dict[str, float] = {}
            for part in ("predicted",) if arguments.without_running else ("inference", "training"):
                options = [word for change in arguments.set for word in ("--set", change)]
                command = [sys.executable, __file__, name, "--part", part, "--side", str(arguments.side), *options]
                command += ["--repeats", str(arguments.repeats), "--batch", str(arguments.batch)]
                figures |= json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
            print(row(name, figures), flush=True)


if __name__ == "__main__":
    main()
