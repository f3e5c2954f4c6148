"""Measure bfloat16 and torch.compile against float32 and against the published form of the model, in turns.

R50, 4 frames of 384x640, backbone to the dense masks of all queries, random weights. Every form runs in a process of
its own, one after the other in each round, so that what else the machine does meets all of them alike; processor time
is that of the form's own process. Run alone: ``--help``.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import subprocess
import sys
import time

import torch
from benchmark_model import CONFIG, smooth_frames
from published_form import DenseModel, use_published_operations

from video_mask2former.config import load_config
from video_mask2former.recipes.model import build_model

FORMS = ("published", "float32", "bfloat16", "compiled float32", "compiled bfloat16")


def measure(rounds: int = 3, num_frames: int = 4, forms: tuple[str, ...] = FORMS) -> dict[str, dict[str, float]]:
    """Medians of each form: seconds, processor seconds, and its processor time by that of the published form.

    Also the share of mask pixels on which a form agrees with our float32.
    """
    workers = {form: _start(form, num_frames) for form in forms}
    times: dict[str, list[dict[str, float]]] = {form: [] for form in forms}
    for _ in range(rounds):
        for form, worker in workers.items():
            times[form].append(_ask(worker))
    for worker in workers.values():
        worker.communicate("\n", timeout=60)
    rows = {}
    for form in forms:
        ratios = [own["cpu"] / other["cpu"] for own, other in zip(times[form], times[forms[0]], strict=True)]
        rows[form] = {
            "seconds": statistics.median(run["wall"] for run in times[form]),
            "processor_seconds": statistics.median(run["cpu"] for run in times[form]),
            f"by_{forms[0]}": statistics.median(ratios),
            "mask_agreement": times[form][0]["agreement"],
        }
    return rows


def work(form: str, num_frames: int) -> None:
    """Run the form once for each line of standard input, and print how long it took."""
    torch.manual_seed(0)
    model = build_model(load_config(CONFIG)).eval().requires_grad_(False)
    frames = smooth_frames(num_frames, (384, 640))[None]
    with torch.no_grad():
        reference = model(frames).mask_logits.dense() > 0
    if form == "published":
        use_published_operations()
        dense = DenseModel(model)

        def run() -> torch.Tensor:
            return dense(frames)[-1].mask_logits
    else:
        encode = torch.compile(model.encode) if form.startswith("compiled") else model.encode

        def run() -> torch.Tensor:
            return model.decode(encode(frames)).mask_logits.dense()

    is_half = form.endswith("bfloat16")
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16) if is_half else contextlib.nullcontext():
        agreement = ((run() > 0) == reference).float().mean().item()
        run()  # a second time for compiled code, which may compile again
        print(json.dumps("ready"), flush=True)
        for line in sys.stdin:
            if not line.strip():
                return
            wall, cpu = time.perf_counter(), time.process_time()
            run()
            figures = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu, "agreement": agreement}
            print(json.dumps(figures), flush=True)


def _start(form: str, num_frames: int) -> subprocess.Popen[str]:
    command = [sys.executable, __file__, "--work", form, "--num-frames", str(num_frames)]
    worker = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert worker.stdout is not None
    if worker.stdout.readline().strip() != '"ready"':
        raise RuntimeError(f"the form {form} failed, see above.")
    return worker


def _ask(worker: subprocess.Popen[str]) -> dict[str, float]:
    assert worker.stdin is not None and worker.stdout is not None
    worker.stdin.write("run\n")
    worker.stdin.flush()
    figures: dict[str, float] = json.loads(worker.stdout.readline())
    return figures


def main() -> None:
    """Measure and print, or work for a process that measures."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--work", choices=FORMS, help=argparse.SUPPRESS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--num-frames", type=int, default=4)
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=list(FORMS), help="the first is compared with")
    arguments = parser.parse_args()
    if arguments.work:
        work(arguments.work, arguments.num_frames)
    else:
        rows = measure(arguments.rounds, arguments.num_frames, tuple(arguments.forms))
        print(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
