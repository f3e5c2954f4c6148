"""Measure exported models beside the model that they were made of: size, time a frame, and how much they agree.

Forms take turns in one process, one frame at a time; times are processor seconds, since runtimes differ in how they
spin. With ``--annotations`` and ``--images`` the average precision of each is measured, too. Run alone: ``--help``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

import video_mask2former as vm2f
from video_mask2former.inference import InferenceSettings
from video_mask2former.video_io import open_video


def measure(
    config: str = "demo",
    weights: str | None = None,
    *,
    video: Path,
    calibration: Path,
    num_frames: int = 12,
    dataset: tuple[Path, Path] | None = None,
    forms: tuple[str, ...] = ("onnx", "int8"),
) -> dict[str, dict[str, Any]]:
    """A row for torch and for each exported form.

    Args:
        config: The model; see ``video_mask2former.load``.
        weights: Its checkpoint.
        video: Frames to time with.
        calibration: Video or folder of images that int8 is scaled by.
        num_frames: How many frames are timed.
        dataset: Annotations and folder of images to measure AP on.
        forms: Of ``onnx``, ``int8`` and ``torch``, the last being files of ``torch.export``.
    """
    models: dict[str, Any] = {"model": vm2f.load(config, weights, device="cpu")}
    rows: dict[str, dict[str, Any]] = {"model": {}}
    with tempfile.TemporaryDirectory() as folder:
        for form in forms:
            path = Path(folder) / form
            models[form] = vm2f.export_model(
                config,
                weights,
                output=path,
                format="torch" if form == "torch" else "onnx",
                calibration=calibration if form == "int8" else None,
            )
            rows[form] = {"megabytes": sum(file.stat().st_size for file in path.iterdir()) / 1e6}
        for name, seconds in time_in_turns(models, video, num_frames).items():
            rows[name] |= {"processor_seconds": seconds}
        if dataset is not None:
            for name, model in models.items():
                settings = InferenceSettings.published()
                report = vm2f.evaluate_model(model, *dataset, settings=settings)
                rows[name] |= {key: report.summary[key] for key in ("AP", "AP50")}
    return rows


@torch.no_grad()
def time_in_turns(models: dict[str, Any], video: Path, num_frames: int) -> dict[str, float]:
    """Median processor seconds of a frame through each model, the first frame left out."""
    from video_mask2former.ops.resize import fit_short_side, resize_frames

    times: dict[str, list[float]] = {name: [] for name in models}
    sides = models["model"].input_sides
    with open_video(video, end=num_frames + 1) as reader:
        for frame in reader:
            pixels = torch.from_numpy(frame).permute(2, 0, 1)[None]
            clip = resize_frames(pixels, fit_short_side(frame.shape[:2], *sides))[None].contiguous()
            for name, model in models.items():
                start = time.process_time()
                model.decode(model.encode(clip))
                times[name].append(time.process_time() - start)
    return {name: statistics.median(each[1:]) for name, each in times.items()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--config", default="demo")
    parser.add_argument("--weights")
    parser.add_argument("--video", type=Path, required=True)
    parser.add_argument("--calibrate", type=Path, help="video or folder of images (default: the video)")
    parser.add_argument("--num-frames", type=int, default=12)
    parser.add_argument("--annotations", type=Path)
    parser.add_argument("--images", type=Path)
    parser.add_argument("--forms", nargs="+", choices=("onnx", "int8", "torch"), default=["onnx", "int8"])
    arguments = parser.parse_args()
    dataset = None if arguments.annotations is None else (arguments.annotations, arguments.images)
    rows = measure(
        arguments.config,
        arguments.weights,
        video=arguments.video,
        calibration=arguments.calibrate or arguments.video,
        num_frames=arguments.num_frames,
        dataset=dataset,
        forms=tuple(arguments.forms),
    )
    print(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
