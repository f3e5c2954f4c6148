"""Measure what long clips and videos cost models whose queries propagate: peak memory of a process for each length.

Training goes through a clip in chunks, as ``training.propagation_frames`` asks; a stream goes frame by frame. Each
length has a process of its own; what torch, the model and the frames take is in the figures.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import resource
import subprocess
import sys

import torch

from video_mask2former.engine.truncated import chunk_losses
from video_mask2former.inference import InferenceSettings, stream_video
from video_mask2former.recipes.model import build_criterion, build_model
from video_mask2former.recipes.source import read_config
from video_mask2former.structures import ClipTarget

CONFIG = "lvmt/ovis/vit_small_dinov3"
CHUNK = 5
NUM_OBJECTS = 3


def train_on(num_frames: int, size: tuple[int, int], chunk: int) -> None:
    """One step on one clip, chunk by chunk."""
    config = read_config(CONFIG, ["model.num_queries=50"])
    model, criterion = build_model(config).train(), build_criterion(config)
    masks = torch.zeros(NUM_OBJECTS, num_frames, *size, dtype=torch.bool)
    for index in range(NUM_OBJECTS):
        masks[index, :, 20 * index : 20 * index + 40, 30 * index : 30 * index + 60] = True
    targets = [ClipTarget(torch.arange(NUM_OBJECTS), masks)]
    frames = [torch.randint(0, 256, (num_frames, 3, *size), dtype=torch.uint8)]
    losses = chunk_losses(
        model,
        criterion,
        frames,
        targets,
        criterion.normalizer(targets, 50),
        chunk=chunk,
        autocast=contextlib.nullcontext,
        without_reduction=contextlib.nullcontext,
        reduces=True,
    )
    for parts in losses:
        torch.stack(list(parts.values())).sum().backward()


def stream_over(num_frames: int, size: tuple[int, int]) -> None:
    """A stream over a video, whose results are not kept."""
    model = build_model(read_config(CONFIG, ["model.num_queries=50"])).eval()
    frames = torch.randint(0, 256, (num_frames, *size, 3), dtype=torch.uint8).numpy()
    for _ in stream_video(model, frames, settings=InferenceSettings(short_side=min(size), score_threshold=0.0)):
        pass


def peak_mib() -> float:
    """Most memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Measure every length, or one in this process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--train", type=int, nargs="*", default=[5, 15, 30], metavar="FRAMES")
    parser.add_argument("--stream", type=int, nargs="*", default=[20, 200], metavar="FRAMES")
    parser.add_argument("--size", type=int, nargs=2, default=(160, 256), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--one", choices=("train", "whole", "stream"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    size = tuple(arguments.size)
    if arguments.one == "stream":
        stream_over(arguments.stream[0], size)
        print(peak_mib())
    elif arguments.one:
        num_frames = arguments.train[0]
        train_on(num_frames, size, CHUNK if arguments.one == "train" else num_frames)
        print(peak_mib())
    else:
        for kind, lengths in (("train", arguments.train), ("whole", arguments.train), ("stream", arguments.stream)):
            option = "--stream" if kind == "stream" else "--train"
            for length in lengths:
                command = [sys.executable, __file__, "--one", kind, option, str(length), "--size", *map(str, size)]
                answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
                print(json.dumps({"kind": kind, "frames": length, "peak_mib": round(float(answer))}), flush=True)


if __name__ == "__main__":
    main()
