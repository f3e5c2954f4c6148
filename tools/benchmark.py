"""Measure the project against physical limits taken in the same run, and against the published form of the model.

Runs on a quiet machine take about ten minutes on two cores; ``--only`` picks parts. ``--device cuda`` runs everything
that a GPU can be asked: the tests that need one, the kernels, the model and the training step. Figures are printed as
tables and, with ``--output``, written as JSON beside the machine they come from.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import benchmark_inference
import benchmark_model
import benchmark_online
import benchmark_ops
import torch
from rich.console import Console
from rich.table import Table

from video_mask2former.atomic import atomic_path
from video_mask2former.ops import extension_status

CPU = torch.device("cpu")


def measure_ops(device: torch.device = CPU) -> dict[str, Any]:
    """Deformable attention in milliseconds per frame and layer, against plain torch and the copy bandwidth."""
    figures = {}
    for dtype in (torch.float32, torch.bfloat16):
        for with_backward in (False, True):
            timing = benchmark_ops.measure(dtype, with_backward, 15, device)
            figures[timing.name] = dataclasses.asdict(timing) | {"name": None}
    return {name: {key: value for key, value in row.items() if value is not None} for name, row in figures.items()}


def check_cuda() -> dict[str, Any]:
    """The tests that need a GPU: how many passed, failed and were skipped, and the last line of the run."""
    command = [sys.executable, "-m", "pytest", "--quiet", "-m", "cuda", str(Path(__file__).parents[1] / "tests")]
    run = subprocess.run(command, env=os.environ | {"REQUIRE_CUDA": "1"}, capture_output=True, text=True)
    last = run.stdout.strip().splitlines()[-1] if run.stdout.strip() else run.stderr.strip()[-200:]
    return {"all passed": run.returncode == 0, "run": last}


PARTS: dict[str, tuple[str, Callable[[], Mapping[str, Any]]]] = {
    "ops": ("Deformable attention, 384x640, milliseconds per frame and layer", measure_ops),
    "model": ("R50, 4 frames of 384x640, backbone to dense masks", benchmark_model.measure_inference),
    "training": ("One training step, R50, 2 frames of 360x640", benchmark_model.compare_training_steps),
    "clip-memory": ("Whole video as one clip, peak memory", benchmark_inference.measure_clip_memory),
    "online-memory": ("Online mode, peak memory by length", benchmark_inference.measure_online_memory),
    "online": ("One frame of 360x640 at a time", benchmark_online.measure_online),
    "speed": ("R50, 720p file to all files", lambda: benchmark_inference.measure_speed(score_threshold=0.05)),
}


# What is measured on a GPU as well; the rest is of the CPU, whatever the device
ON_DEVICE: dict[str, Callable[[torch.device], Mapping[str, Any]]] = {
    "ops": measure_ops,
    "model": lambda device: benchmark_model.measure_inference(device=device),
    "training": benchmark_model.compare_training_steps,
}


def machine(device: torch.device) -> dict[str, str]:
    """What the figures were measured on."""
    gpu = {"gpu": torch.cuda.get_device_name(device)} if device.type == "cuda" else {}
    return gpu | {
        "date": datetime.date.today().isoformat(),
        "processor": f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}",
        "threads": str(torch.get_num_threads()),
        "torch": torch.__version__,
        "kernels": str(extension_status()),
    }


def table_of(title: str, figures: Mapping[str, Any]) -> Table:
    """Figures as rows, or as a row for each form where they are nested."""
    nested = all(isinstance(row, Mapping) for row in figures.values())
    columns = list(next(iter(figures.values()))) if nested else ["value"]
    table = Table("", *columns, title=title, title_justify="left")
    for name, row in figures.items():
        values = [row[column] for column in columns] if nested else [row]
        table.add_row(name, *(f"{value:.3f}" if isinstance(value, float) else str(value) for value in values))
    return table


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--output", type=Path, help="JSON file to write")
    parser.add_argument("--device", type=torch.device, default=CPU, help="cuda: its tests and its parts")
    arguments = parser.parse_args()
    console = Console()
    device = arguments.device
    if device.type == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: torch finds no GPU here.")
    results: dict[str, Any] = {"machine": machine(device)}
    console.print(results["machine"])
    if device.type == "cuda":
        results["tests"] = check_cuda()
        console.print(table_of("Tests that need a GPU", results["tests"]))
    for part in arguments.only:
        if device.type == "cuda" and part not in ON_DEVICE:
            continue
        title, measure = PARTS[part]
        results[part] = dict(measure() if device.type == "cpu" else ON_DEVICE[part](device))
        console.print(table_of(title, results[part]))
    if arguments.output:
        with atomic_path(arguments.output) as path:
            path.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
