"""Measure inference: memory of whole-video mode, memory of online mode by length, and where the time goes.

Every peak of memory is that of a fresh process. Run alone: ``--help``.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from known_objects import KnownObjects, moving_blobs

CONFIGS = Path(__file__).parents[1] / "configs"
R50 = str(CONFIGS / "ytvis_2019" / "r50.yaml")
LITE = str(CONFIGS / "ytvis_2019" / "efficientnet_lite0.yaml")
# Every tensor of the dense form has one row a frame, so that its peak is a straight line through any two lengths
DENSE_LENGTHS = (6, 12)


def measure_clip_memory(
    num_frames: int = 36, size: tuple[int, int] = (360, 640), *, extrapolate: bool = True
) -> dict[str, float]:
    """Peak resident memory in MiB of a whole R50 video in clip mode, in our form and in the published dense one.

    The dense form runs all frames at once, keeps the mask logits of all queries of every layer, and upsamples those of
    all queries to the padded frames before it selects the top 10, as published code does.

    Args:
        num_frames: Length of the video.
        size: Height and width of its frames.
        extrapolate: Measure the dense form at 6 and 12 frames and continue the line, instead of at full length, which
            takes 10 GB and minutes. At 36 frames of 360x640 the line gave 9870 MiB and the measurement 9452.
    """
    ours = _in_process("clip", "--form", "ours", "--num-frames", num_frames, "--size", *size)["peak_mib"]
    lengths = DENSE_LENGTHS if extrapolate else (num_frames,)
    dense = {
        length: _in_process("clip", "--form", "dense", "--num-frames", length, "--size", *size)["peak_mib"]
        for length in lengths
    }
    figures: dict[str, float] = {"num_frames": num_frames, "ours_mib": ours}
    if extrapolate:
        (short, low), (long, high) = dense.items()
        figures |= {f"dense_{length}_frames_mib": peak for length, peak in dense.items()}
        figures["dense_mib_extrapolated"] = total = high + (high - low) / (long - short) * (num_frames - long)
    else:
        figures["dense_mib"] = total = dense[num_frames]
    return figures | {"ratio": ours / total}


def measure_online_memory(
    lengths: tuple[int, ...] = (300, 3000), size: tuple[int, int] = (360, 640), short_side: int = 96
) -> dict[str, float]:
    """Peak resident memory in MiB of online mode by length of the video, from file to all files, six objects a frame.

    The model is small and sees small frames, so that thousands of them take a minute or two; objects, masks and files
    have the full size, and the overlay, the contact sheet and every kind of result are written.
    """
    figures: dict[str, float] = {}
    peaks = []
    with tempfile.TemporaryDirectory() as folder:
        path = _write_video(Path(folder) / "in.mp4", max(lengths), size)
        for length in lengths:
            found = _in_process("online", "--num-frames", length, "--video", path, "--short-side", short_side)
            peaks.append(found["peak_mib"])
            figures |= {f"{length}_frames_mib": found["peak_mib"], f"{length}_frames_masks": found["num_masks"]}
    return figures | {"growth_mib": max(peaks) - min(peaks)}


def measure_speed(
    video: str | None = None,
    *,
    config: str = R50,
    weights: str | None = None,
    mode: str = "online",
    num_frames: int = 40,
    short_side: int | None = None,
    score_threshold: float = 0.3,
) -> dict[str, float]:
    """Frames per second from file to files (overlay, contact sheet, tracks, results), and the share of each stage.

    Without ``video`` it is a 720p one of six objects, which the model is made to find whatever its weights are.
    """
    from video_mask2former.api import load
    from video_mask2former.inference import InferenceSettings, VideoPredictor
    from video_mask2former.inference.outputs import OutputChoice
    from video_mask2former.inference.video_job import VideoJob

    torch.manual_seed(0)
    model = load(config, weights)
    settings = InferenceSettings(mode=mode, score_threshold=score_threshold, short_side=short_side)
    with tempfile.TemporaryDirectory() as folder:
        path = video or _write_video(Path(folder) / "in.mp4", num_frames, (720, 1280))
        predictor = VideoPredictor(model if video else KnownObjects(model), settings)
        job = VideoJob(path, Path(folder) / "out", OutputChoice(), end=num_frames)
        with job.open() as reader:
            result = job.run(predictor, reader)
    clock = predictor.clock
    figures = {"frames_per_second": clock.frames_per_second(), "num_tracks": float(len(result))}
    return figures | {f"{stage}_share": share for stage, share in clock.shares().items()}


def run_clip(form: str, num_frames: int, size: tuple[int, int]) -> dict[str, float]:
    """One whole-video run in this process."""
    from published_form import DenseModel, use_published_operations

    from video_mask2former.api import load
    from video_mask2former.inference import InferenceSettings, segment_video

    torch.manual_seed(0)
    model = load(R50).requires_grad_(False)
    if form == "ours":
        result = segment_video(model, moving_blobs(num_frames, size), settings=InferenceSettings.published())
        return {"peak_mib": peak_mib(), "num_tracks": len(result)}
    use_published_operations()
    frames = torch.from_numpy(np.stack(list(moving_blobs(num_frames, size)))).permute(0, 3, 1, 2)
    with torch.no_grad():
        predictions = DenseModel(model)(frames[None])
        padded = tuple(-(-side // 32) * 32 for side in size)
        masks = F.interpolate(predictions[-1].mask_logits[0], size=padded, mode="bilinear", align_corners=False)
        scores = predictions[-1].class_logits[0].softmax(-1)[:, :-1]
        _, order = scores.flatten().topk(10)
        chosen = masks[order // scores.shape[1]][..., : size[0], : size[1]]
        binary = F.interpolate(chosen, size=size, mode="bilinear", align_corners=False) > 0
    return {"peak_mib": peak_mib(), "num_tracks": len(binary)}


def run_offline(num_frames: int, size: tuple[int, int], short_side: int) -> dict[str, float]:
    """One video through a small DVIS++ in this process, offline: its peak above that of the model and a short video."""
    from video_mask2former.api import load
    from video_mask2former.inference import InferenceSettings, segment_video

    torch.manual_seed(0)
    parts = [
        "model.decoder={name: masked_attention_reid, embeddings: both, num_layers: 6, feedforward_dim: 512}",
        "tracker={name: dvis_plus, feedforward_dim: 512}",
        "refiner={name: temporal, feedforward_dim: 512}",
    ]
    model = load(LITE, overrides=parts).requires_grad_(False)
    settings = InferenceSettings.published(short_side=short_side)
    segment_video(model, moving_blobs(8, size), settings=settings)
    before = peak_mib()
    result = segment_video(model, moving_blobs(num_frames, size), settings=settings)
    return {"peak_mib": peak_mib(), "above_model_mib": peak_mib() - before, "num_tracks": len(result)}


def run_online(video: str, num_frames: int, short_side: int) -> dict[str, float]:
    """One online run in this process, from file to all files."""
    from video_mask2former.api import load
    from video_mask2former.inference import InferenceSettings, VideoPredictor
    from video_mask2former.inference.outputs import OutputChoice
    from video_mask2former.inference.video_job import VideoJob

    torch.manual_seed(0)
    overrides = ["model.num_queries=10", "model.hidden_dim=32", "model.pixel_decoder.mask_dim=16"]
    model = load(LITE, None, [*overrides, "model.num_decoder_layers=2", "model.pixel_decoder.num_layers=1"])
    predictor = VideoPredictor(KnownObjects(model), InferenceSettings(short_side=short_side))
    with tempfile.TemporaryDirectory() as folder:
        choice = OutputChoice(frames=True, coco=True, mots=True)
        job = VideoJob(video, Path(folder), choice, end=num_frames)
        with job.open() as reader:
            result = job.run(predictor, reader)
    return {"peak_mib": peak_mib(), "num_masks": sum(len(track.segmentations) for track in result.tracks)}


def _write_video(path: Path, num_frames: int, size: tuple[int, int]) -> str:
    from video_mask2former.video_io import VideoWriter

    with VideoWriter(path, Fraction(25), preset="ultrafast") as writer:
        for frame in moving_blobs(num_frames, size):
            writer.write(frame)
    return str(path)


def _in_process(*arguments: object) -> dict[str, float]:
    command = [sys.executable, __file__, *map(str, arguments)]
    shown = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    figures: dict[str, float] = json.loads(shown.splitlines()[-1])
    return figures


def peak_mib() -> float:
    """Peak resident memory of this process alone: ``ru_maxrss`` begins with that of the process that started it."""
    status = Path("/proc/self/status")
    if status.exists():
        fields = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
        return int(fields["VmHWM"].split()[0]) / 2**10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("clip-memory", "online-memory", "offline-memory", "speed", "clip", "online"))
    parser.add_argument("--num-frames", type=int)
    parser.add_argument("--size", type=int, nargs=2, default=(360, 640), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--short-side", type=int, help="of the frames as the model sees them")
    parser.add_argument("--form", choices=("ours", "dense"), default="ours")
    parser.add_argument("--full-dense", action="store_true", help="clip-memory: run the dense form at full length")
    parser.add_argument("--lengths", type=int, nargs="+", default=(300, 3000))
    parser.add_argument("--video")
    parser.add_argument("--config", default=R50)
    parser.add_argument("--weights")
    parser.add_argument("--mode", choices=("clip", "online"), default="online")
    parser.add_argument("--score-threshold", type=float, default=0.3)
    return parser.parse_args()


def main() -> None:
    """Run one measurement and print it as JSON."""
    args = _parse()
    size = (args.size[0], args.size[1])
    figures: dict[str, Any]
    if args.what == "clip-memory":
        figures = measure_clip_memory(args.num_frames or 36, size, extrapolate=not args.full_dense)
    elif args.what == "online-memory":
        figures = measure_online_memory(tuple(args.lengths), size, args.short_side or 96)
    elif args.what == "offline-memory":
        figures = run_offline(args.num_frames or 3000, size, args.short_side or 96)
    elif args.what == "speed":
        figures = measure_speed(
            args.video,
            config=args.config,
            weights=args.weights,
            mode=args.mode,
            num_frames=args.num_frames or 40,
            short_side=args.short_side,
            score_threshold=args.score_threshold,
        )
    elif args.what == "clip":
        figures = run_clip(args.form, args.num_frames or 36, size)
    else:
        figures = run_online(args.video, args.num_frames or 300, args.short_side or 96)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
