"""Measure models frame by frame on the CPU: frames a second, against the time of their FLOPs at the measured GEMM rate.

What is not the model (resizing, tracking, masks) is given in milliseconds of one processor a frame. Alone: ``--help``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable

import torch
from benchmark_model import GEMM_SIZE, seconds, smooth_frames
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from video_mask2former.inference import InferenceSettings, VideoPredictor
from video_mask2former.inference.predictor import frames_from
from video_mask2former.recipes.model import build_model
from video_mask2former.recipes.source import read_config

MODELS = {
    "VidEoMT ViT-S": "videomt/ytvis_2019/vit_small_dinov2",
    "Mask2Former R50, frame by frame": "ytvis_2019/minvis_r50",
}


def measure_online(
    num_frames: int = 6, size: tuple[int, int] = (360, 640), repeats: int = 5
) -> dict[str, dict[str, float]]:
    """Each model on single frames.

    The ratio and the time of what is not the model are processor time of one thread, which other work on the machine
    changes little; every run of a model is paired with a run of the GEMM.

    The weights are random and every query is an object, so that tracking and masks have as much to do as there can be;
    the ten best are shown.
    """
    figures = {}
    for name, config in MODELS.items():
        torch.manual_seed(0)
        model = build_model(read_config(config)).eval().requires_grad_(False)
        frame = smooth_frames(1, size)[None]

        def run(model: torch.nn.Module = model, frame: torch.Tensor = frame) -> object:
            return model(frame)

        with torch.no_grad():
            # the counter knows nothing of fused attention on the CPU
            with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
                run()
            flops = counter.get_total_flops()
            run()
            times = [seconds(run) for _ in range(repeats)]
            ratios = _processor_time_over_limit(run, flops, repeats)
        figures[name] = {
            "gflops": flops / 1e9,
            "seconds": statistics.median(times),
            "frames_per_second": 1 / statistics.median(times),
            "one_thread_over_gemm_limit": statistics.median(ratios),
            **_other_milliseconds(model, num_frames, size),
        }
    return figures


def _other_milliseconds(model: torch.nn.Module, num_frames: int, size: tuple[int, int]) -> dict[str, float]:
    """Processor time of each stage of a stream that is not the model, in milliseconds a frame."""
    settings = InferenceSettings(short_side=min(size), score_threshold=0.0, top_k=10, chunk_size=1)
    predictor = VideoPredictor(model, settings)
    images = smooth_frames(num_frames + 1, size).permute(0, 2, 3, 1).contiguous().numpy()
    predictor.clock.now = time.process_time
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    stream = iter(predictor.stream(frames_from(images, 0)))
    next(stream)  # whatever is done once
    start = predictor.clock.copy()
    list(stream)
    torch.set_num_threads(threads)
    seconds_of = {stage: spent for stage, spent in predictor.clock.since(start).seconds.items() if stage != "model"}
    milliseconds = {f"{stage}_milliseconds": 1000 * spent / num_frames for stage, spent in seconds_of.items() if spent}
    return {"other_milliseconds": sum(milliseconds.values())} | milliseconds


def _processor_time_over_limit(run: Callable[[], object], flops: float, repeats: int) -> list[float]:
    """Processor time of runs on one thread, over the time of their FLOPs at the rate of a matrix product."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    a, b = torch.randn(2, GEMM_SIZE, GEMM_SIZE)
    ratios = []
    for _ in range(repeats):
        product = min(_processor_seconds(lambda: torch.mm(a, b)) for _ in range(3))
        ratios.append(_processor_seconds(run) * 2 * GEMM_SIZE**3 / product / flops)
    torch.set_num_threads(threads)
    return ratios


def _processor_seconds(function: Callable[[], object]) -> float:
    start = time.process_time()
    function()
    return time.process_time() - start


def main() -> None:
    """Measure and print as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--num-frames", type=int, default=6)
    parser.add_argument("--size", type=int, nargs=2, default=(360, 640), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--threads", type=int)
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    print(json.dumps(measure_online(arguments.num_frames, tuple(arguments.size)), indent=1))


if __name__ == "__main__":
    main()
