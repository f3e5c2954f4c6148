#!/usr/bin/env python
"""What surrounds the model: wall and processor time a frame beside decoding and H.264 encoding alone.

    python tools/benchmark_overlap.py                  # 300 frames of 720p, 6 objects
    python tools/benchmark_overlap.py --frames 100 --runs 5

The model returns at once what it knows before. All ways take turns in one process.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import torch
from known_objects import COLOURS, STRIDE, TOLERANCE, moving_blobs
from torch import Tensor, nn

from video_mask2former.inference import InferenceSettings, VideoPredictor
from video_mask2former.inference.outputs import OutputChoice
from video_mask2former.inference.video_job import VideoJob
from video_mask2former.mask_logits import MaskLogits
from video_mask2former.structures import ClipFeatures, ClipOutput
from video_mask2former.video_io import VideoWriter, open_video

SIZE = (720, 1280)
SHORT_SIDE = 360


class InstantModel(nn.Module):
    """Knows the mask features of each frame of a video beforehand, and gives them in order.

    Args:
        maps: ``(6, h, w)`` for each frame.
    """

    input_sides = (SHORT_SIDE, 640)

    def __init__(self, maps: Sequence[Tensor]) -> None:
        super().__init__()
        self.class_names = ("blob",)
        self.num_classes = 1
        self._maps = maps
        self._position = 0

    def encode(self, frames: Tensor) -> ClipFeatures:
        """The features of the next frame."""
        features = self._maps[self._position % len(self._maps)][None, None]
        self._position += 1
        size = (frames.shape[-2], frames.shape[-1])
        padded = (features.shape[-2] * STRIDE, features.shape[-1] * STRIDE)
        return ClipFeatures(features, (features[..., :1, :1],), size, padded)

    def decode(self, features: ClipFeatures, initial_queries: Tensor | None = None) -> ClipOutput:
        """One sure query for each blob."""
        assert features.mask_features is not None
        eye = torch.eye(len(COLOURS))[None]
        logits = torch.tensor([6.0, 0.0]).expand(1, len(COLOURS), -1)
        masks = MaskLogits(eye, features.mask_features)
        return ClipOutput(logits, masks, 10 * eye, 10 * eye, features.frame_size, features.padded_size)


def known_maps(num_frames: int) -> list[Tensor]:
    """What :class:`InstantModel` knows of :func:`moving_blobs`."""
    colours = torch.tensor(COLOURS, dtype=torch.float32)[:, :, None, None]
    maps = []
    for frame in moving_blobs(num_frames, SIZE):
        small = torch.from_numpy(frame).permute(2, 0, 1)[None].float()
        cells = nn.functional.interpolate(small, size=(-(-SHORT_SIDE // 32) * 32 // STRIDE, 640 // STRIDE), mode="area")
        maps.append(8.0 * (1.0 - (cells - colours).abs().amax(1) / TOLERANCE))
    return maps


def decode_only(video: Path, folder: Path) -> None:
    """Every frame decoded."""
    with open_video(video) as reader:
        for _ in reader:
            pass


def decode_and_encode(video: Path, folder: Path) -> None:
    """Every frame decoded and encoded again."""
    with open_video(video) as reader, VideoWriter(folder / "copy.mp4", Fraction(25)) as writer:
        for frame in reader:
            writer.write(frame)


def main() -> None:
    """Measure and print medians in milliseconds a frame."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--runs", type=int, default=3)
    args = parser.parse_args()
    predictor = VideoPredictor(InstantModel(known_maps(args.frames)).eval(), InferenceSettings(short_side=SHORT_SIDE))

    def predict(choice: OutputChoice) -> Callable[[Path, Path], None]:
        def run(video: Path, folder: Path) -> None:
            job = VideoJob(video, folder / "out", choice)
            with job.open() as reader:
                result = job.run(predictor, reader)
            assert sum(len(track.segmentations) for track in result.tracks) > 5 * args.frames

        return run

    ways = {
        "decoding": decode_only,
        "decoding and encoding": decode_and_encode,
        "json": predict(OutputChoice(overlay=False, contact_sheet=False, viewer=False)),
        "overlay, contact sheet, json": predict(OutputChoice(viewer=False)),
    }
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        video = folder / "in.mp4"
        with VideoWriter(video, Fraction(25)) as writer:
            for frame in moving_blobs(args.frames, SIZE):
                writer.write(frame)
        for _ in range(args.runs):
            for way, run in ways.items():
                wall, cpu = time.perf_counter(), time.process_time()
                run(video, folder)
                figures = (time.perf_counter() - wall, time.process_time() - cpu)
                spent[way].append((1e3 * figures[0] / args.frames, 1e3 * figures[1] / args.frames))
    print(f"{args.frames} frames, {os.cpu_count()} processors, {torch.get_num_threads()} threads of torch; ms a frame")
    for way, runs in spent.items():
        alone = spent["decoding" if way in ("decoding", "json") else "decoding and encoding"]
        wall, cpu = (statistics.median(run[index] for run in runs) for index in (0, 1))
        more = [statistics.median(run[i] - base[i] for run, base in zip(runs, alone, strict=True)) for i in (0, 1)]
        print(f"{way:30s} wall {wall:6.2f} (+{more[0]:5.2f})  cpu {cpu:6.2f} (+{more[1]:5.2f})")


if __name__ == "__main__":
    main()
