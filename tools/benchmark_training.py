"""Processor time and memory of a training step of some configurations, each in a fresh process; one thread. ``--help``.

The clip is noise with moving squares on it; weights are random.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import torch
from benchmark_inference import peak_mib

from video_mask2former.recipes.model import build_criterion, build_model
from video_mask2former.recipes.source import read_config
from video_mask2former.recipes.training import build_optimizer, freeze
from video_mask2former.structures import ClipTarget


def moving_squares(num_frames: int, size: tuple[int, int], num_objects: int = 3) -> tuple[torch.Tensor, ClipTarget]:
    """Frames ``(T, 3, H, W)`` uint8 and their objects."""
    height, width = size
    frames = torch.randint(0, 60, (num_frames, 3, height, width), dtype=torch.uint8)
    masks = torch.zeros(num_objects, num_frames, height, width, dtype=torch.bool)
    side = height // 4
    for index in range(num_objects):
        for time_step in range(num_frames):
            top = (index * side + 2 * time_step) % (height - side)
            left = (index * 2 * side + 3 * time_step) % (width - side)
            masks[index, time_step, top : top + side, left : left + side] = True
            frames[time_step, :, top : top + side, left : left + side] = 100 + 40 * index
    return frames, ClipTarget(torch.zeros(num_objects, dtype=torch.int64), masks)


def measure(
    source: str, num_frames: int, size: tuple[int, int], num_steps: int, overrides: list[str]
) -> dict[str, float]:
    """CPU seconds of a step in this process (the fastest one after the first), and its peak of memory."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    config = read_config(source, overrides)
    model = build_model(config)
    if config.training.freeze:
        freeze(model, config.training.freeze)
    model.train()
    criterion, optimizer = build_criterion(config), build_optimizer(config.training, model)
    frames, target = moving_squares(num_frames, size)
    before = peak_mib()
    seconds = []
    for step in range(num_steps + 1):
        started = time.process_time()
        criterion.begin_step(step / (num_steps + 1))
        losses = criterion(model(frames[None]), [target])
        torch.stack(list(losses.values())).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
        seconds.append(time.process_time() - started)
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    return {
        "cpu_seconds": min(seconds[1:]),
        "peak_mib": peak_mib(),
        "above_model_mib": peak_mib() - before,
        "trained_parameters": trained / 1e6,
    }


def main() -> None:
    """Measure configurations one by one, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("configs", nargs="+", help="shipped names or files")
    parser.add_argument("--num-frames", type=int, default=6)
    parser.add_argument("--size", type=int, nargs=2, default=(120, 160), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--steps", type=int, default=2, help="measured, after one that is not")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="option of all configurations")
    parser.add_argument("--here", action="store_true", help="measure in this process, print JSON")
    args = parser.parse_args()
    if args.here:
        figures = measure(args.configs[0], args.num_frames, tuple(args.size), args.steps, args.set)
        print(json.dumps(figures))
        return
    print("| configuration | CPU seconds a step | peak memory | above the model | trained parameters |")
    print("| --- | --- | --- | --- | --- |")
    for config in args.configs:
        options = ["--num-frames", str(args.num_frames), "--size", *map(str, args.size), "--steps", str(args.steps)]
        options += [word for override in args.set for word in ("--set", override)]
        command = [sys.executable, str(Path(__file__)), "--here", config, *options]
        shown = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        got: dict[str, float] = json.loads(shown.splitlines()[-1])
        print(
            f"| {config} | {got['cpu_seconds']:.2f} | {got['peak_mib']:.0f} MiB | {got['above_model_mib']:.0f} MiB | "
            f"{got['trained_parameters']:.2f} M |",
            flush=True,
        )


if __name__ == "__main__":
    main()
