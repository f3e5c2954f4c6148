"""Measure inference: memory of whole-video mode, memory of online mode by length, and where the time goes.

Every peak is taken in a fresh process. Run alone: ``--help``.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

CONFIGS = Path(__file__).parents[1] / "configs"
R50 = str(CONFIGS / "ytvis_2019" / "r50.yaml")
LITE = str(CONFIGS / "ytvis_2019" / "efficientnet_lite0.yaml")


def measure_clip_memory(num_frames: int = 36, size: tuple[int, int] = (360, 640)) -> dict[str, float]:
    """Peak resident memory in MiB of a whole R50 video in clip mode, in our form and in the published dense one.

    The dense form runs all frames at once, keeps the mask logits of all queries of every layer, and upsamples those of
    all queries before it selects the top 10.
    """
    arguments = ["--num-frames", str(num_frames), "--size", str(size[0]), str(size[1])]
    figures = {form: _in_process("clip", "--form", form, *arguments) for form in ("ours", "dense")}
    return {
        "num_frames": num_frames,
        "ours_mib": figures["ours"]["peak_mib"],
        "dense_mib": figures["dense"]["peak_mib"],
        "ratio": figures["ours"]["peak_mib"] / figures["dense"]["peak_mib"],
    }


def measure_online_memory(
    lengths: tuple[int, ...] = (300, 3000), size: tuple[int, int] = (360, 640), short_side: int = 96
) -> dict[str, float]:
    """Peak resident memory in MiB of online mode on videos of several lengths, with everything tracked and recorded.

    The model sees small frames, so that thousands of them take a minute; masks and results have the full size.
    """
    figures: dict[str, float] = {}
    for length in lengths:
        arguments = ["--num-frames", str(length), "--size", str(size[0]), str(size[1]), "--short-side", str(short_side)]
        figures[f"{length}_frames_mib"] = _in_process("online", *arguments)["peak_mib"]
    figures["growth_mib"] = max(figures.values()) - min(figures.values())
    return figures


def measure_speed(
    video: str | None = None,
    *,
    config: str = R50,
    weights: str | None = None,
    mode: str = "online",
    num_frames: int = 40,
    score_threshold: float = 0.3,
) -> dict[str, float]:
    """Frames per second from file to files (overlay, contact sheet, tracks, results), and the share of each stage."""
    from video_mask2former.hub import load
    from video_mask2former.inference import InferenceSettings, VideoPredictor
    from video_mask2former.inference.outputs import OutputChoice
    from video_mask2former.inference.video_job import VideoJob

    torch.manual_seed(0)
    model = load(config, weights)
    settings = InferenceSettings(mode=mode, score_threshold=score_threshold)
    with tempfile.TemporaryDirectory() as folder:
        path = video or _synthetic_file(Path(folder) / "in.mp4", num_frames)
        predictor = VideoPredictor(model, settings)
        job = VideoJob(path, Path(folder) / "out", OutputChoice(), end=num_frames)
        with job.open() as reader:
            result = job.run(predictor, reader)
    clock = predictor.clock
    figures = {"frames_per_second": clock.frames_per_second(), "num_tracks": float(len(result))}
    return figures | {f"{stage}_share": share for stage, share in clock.shares().items()}


def run_clip(form: str, num_frames: int, size: tuple[int, int]) -> dict[str, float]:
    """One whole-video run in this process."""
    from published_form import DenseModel, use_published_operations

    from video_mask2former.hub import load
    from video_mask2former.inference import InferenceSettings, segment_video

    torch.manual_seed(0)
    model = load(R50).requires_grad_(False)
    if form == "ours":
        result = segment_video(model, moving_squares(num_frames, size), settings=InferenceSettings.published())
        return {"peak_mib": _peak_mib(), "num_tracks": len(result)}
    use_published_operations()
    frames = torch.from_numpy(np.stack(list(moving_squares(num_frames, size)))).permute(0, 3, 1, 2)
    with torch.no_grad():
        predictions = DenseModel(model)(frames[None])
        padded = tuple(-(-side // 32) * 32 for side in size)
        masks = F.interpolate(predictions[-1].mask_logits[0], size=padded, mode="bilinear", align_corners=False)
        scores = predictions[-1].class_logits[0].softmax(-1)[:, :-1]
        _, order = scores.flatten().topk(10)
        chosen = masks[order // scores.shape[1]][..., : size[0], : size[1]]
        binary = F.interpolate(chosen, size=size, mode="bilinear", align_corners=False) > 0
    return {"peak_mib": _peak_mib(), "num_tracks": len(binary)}


def run_online(num_frames: int, size: tuple[int, int], short_side: int) -> dict[str, float]:
    """One online run in this process."""
    from video_mask2former.hub import load
    from video_mask2former.inference import InferenceSettings, segment_video

    torch.manual_seed(0)
    overrides = ["model.num_queries=10", "model.hidden_dim=32", "model.pixel_decoder.mask_dim=16"]
    model = load(LITE, None, [*overrides, "model.num_decoder_layers=2", "model.pixel_decoder.num_layers=1"])
    settings = InferenceSettings(short_side=short_side, score_threshold=0.01, top_k=10)
    result = segment_video(model, moving_squares(num_frames, size), settings=settings)
    return {"peak_mib": _peak_mib(), "num_masks": sum(len(track.segmentations) for track in result.tracks)}


def moving_squares(num_frames: int, size: tuple[int, int]) -> Iterator[np.ndarray]:
    """Frames ``(H, W, 3)`` made one by one: squares that move over a textured ground."""
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (size[0] // 8, size[1] // 8, 3), dtype=np.uint8)
    ground = small.repeat(8, axis=0).repeat(8, axis=1)
    side = size[0] // 5
    for index in range(num_frames):
        frame = ground.copy()
        for square in range(4):
            top = (37 * square + 2 * index) % (ground.shape[0] - side)
            left = (111 * square + 3 * index) % (ground.shape[1] - side)
            frame[top : top + side, left : left + side] = (60 * square, 255 - 60 * square, 40)
        yield frame


def _synthetic_file(path: Path, num_frames: int) -> str:
    from video_mask2former.video_io import VideoWriter

    with VideoWriter(path, Fraction(25)) as writer:
        for frame in moving_squares(num_frames, (720, 1280)):
            writer.write(frame)
    return str(path)


def _in_process(*arguments: str) -> dict[str, float]:
    command = [sys.executable, __file__, *arguments]
    shown = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    figures: dict[str, float] = json.loads(shown.splitlines()[-1])
    return figures


def _peak_mib() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def main() -> None:
    """Run one measurement and print it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("clip-memory", "online-memory", "speed", "clip", "online"))
    parser.add_argument("--num-frames", type=int)
    parser.add_argument("--size", type=int, nargs=2, default=(360, 640), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--short-side", type=int, default=96)
    parser.add_argument("--form", choices=("ours", "dense"), default="ours")
    parser.add_argument("--lengths", type=int, nargs="+", default=(300, 3000))
    parser.add_argument("--video")
    parser.add_argument("--config", default=R50)
    parser.add_argument("--weights")
    parser.add_argument("--mode", choices=("clip", "online"), default="online")
    parser.add_argument("--score-threshold", type=float, default=0.3, help="lower it for random weights")
    args = parser.parse_args()
    size = (args.size[0], args.size[1])
    if args.what == "clip-memory":
        figures = measure_clip_memory(args.num_frames or 36, size)
    elif args.what == "online-memory":
        figures = measure_online_memory(tuple(args.lengths), size, args.short_side)
    elif args.what == "speed":
        figures = measure_speed(
            args.video,
            config=args.config,
            weights=args.weights,
            mode=args.mode,
            num_frames=args.num_frames or 40,
            score_threshold=args.score_threshold,
        )
    elif args.what == "clip":
        figures = run_clip(args.form, args.num_frames or 36, size)
    else:
        figures = run_online(args.num_frames or 300, size, args.short_side)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
