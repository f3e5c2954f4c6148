"""Measure the data pipeline: loading a large annotation file, and training clips a second from a folder of videos.

python tools/benchmark_data.py annotations
python tools/benchmark_data.py clips IMAGES ANNOTATIONS.json --workers 0 1 2
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import re
import resource
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

from video_mask2former.config import DataConfig
from video_mask2former.data.annotations import AnnotationSet, load_annotations
from video_mask2former.recipes.data import build_training_loader
from video_mask2former.rle import encode_masks


def write_large_annotation_file(
    path: Path, num_videos: int = 3000, num_frames: int = 30, num_masks: int = 230_000
) -> None:
    """Write an annotation file of the size of YouTube-VIS 2021: 720p, ragged outlines, drawn from a pool of masks."""
    rng = np.random.default_rng(0)
    pool = encode_masks(np.stack([_ragged_blob(rng, (720, 1280)) for _ in range(200)]))
    num_tracks = num_masks // (num_frames - 2)
    videos = [
        {
            "id": 1 + video,
            "height": 720,
            "width": 1280,
            "length": num_frames,
            "file_names": [f"{video:08x}/{5 * frame:05d}.jpg" for frame in range(num_frames)],
        }
        for video in range(num_videos)
    ]
    annotations = []
    for track in range(num_tracks):
        masks = [pool[index] for index in rng.integers(len(pool), size=num_frames - 2)]
        box, area = [100.0, 200.0, 300.0, 200.0], 60000
        annotations.append(
            {
                "id": 1 + track,
                "video_id": 1 + track % num_videos,
                "category_id": 1 + track % 40,
                "iscrowd": 0,
                "height": 720,
                "width": 1280,
                "length": num_frames,
                "segmentations": [*masks, None, None],
                "bboxes": [box] * (num_frames - 2) + [None, None],
                "areas": [area] * (num_frames - 2) + [None, None],
            }
        )
    categories = [{"id": 1 + index, "name": f"class {index}"} for index in range(40)]
    path.write_text(json.dumps({"videos": videos, "annotations": annotations, "categories": categories}))


def _ragged_blob(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    angles = np.linspace(0, 2 * np.pi, 200, endpoint=False)
    radii = size[0] * rng.uniform(0.05, 0.35) * (1 + 0.1 * np.cumsum(rng.normal(size=200)) / np.sqrt(200))
    centre = rng.uniform(0.3, 0.7, size=2) * size
    points = centre[::-1] + radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    mask = np.zeros(size, np.uint8)
    cv2.fillPoly(mask, [points.astype(np.int32)], 1)
    return mask


def measure_annotations() -> None:
    """Time and memory of loading, and what a forked worker copies when it reads everything."""
    fork = multiprocessing.get_context("fork")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "instances.json"
        writer = fork.Process(target=write_large_annotation_file, args=(path,))  # not counted in this one's memory
        writer.start()
        writer.join()
        size = path.stat().st_size
        before = _resident_mib()
        start = time.perf_counter()
        annotations = load_annotations(path)
        seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    masks = int((annotations.packed.mask_kinds != 0).sum())
    print(f"{len(annotations)} videos, {masks} masks, {size / 2**20:.0f} MiB of JSON: {seconds:.1f} s")
    print(
        f"buffers {annotations.packed.num_bytes / 2**20:.0f} MiB, resident +{_resident_mib() - before:.0f} MiB, "
        f"peak of the process {peak:.0f} MiB"
    )
    worker = fork.Process(target=_read_everything, args=(annotations,))
    worker.start()
    worker.join()


def _read_everything(annotations: AnnotationSet) -> None:
    for index in range(len(annotations) // 10):  # first, so that the allocator has what it needs
        annotations.clip_target(index, (0, annotations.num_frames(index) // 2))
    before = _private_mib()
    start = time.perf_counter()
    for index in range(len(annotations)):
        annotations.clip_target(index, (0, annotations.num_frames(index) // 2))
    print(
        f"a forked worker reads 2 frames of every video in {time.perf_counter() - start:.1f} s; "
        f"memory of its own +{_private_mib() - before:.0f} MiB"
    )


def _resident_mib() -> float:
    return _kib("/proc/self/status", "VmRSS") / 1024


def _private_mib() -> float:
    return _kib("/proc/self/smaps_rollup", "Private_Dirty") / 1024


def _kib(path: str, key: str) -> int:
    found = re.search(rf"{key}:\s+(\d+) kB", Path(path).read_text())
    assert found
    return int(found[1])


def measure_clips(images: str, annotations: str, short_side: int, workers: list[int], num_clips: int) -> None:
    """Training clips a second, for several numbers of worker processes; the machine's own work is not counted out."""
    for num_workers in workers:
        config = DataConfig(
            train=(f"{images}::{annotations}",), short_sides=(short_side,), num_frames=2, num_workers=num_workers
        )
        batches = iter(build_training_loader(config, batch_size=2, seed=0))
        for _ in range(2 + 2 * num_workers):  # until the workers run
            batch = next(batches)
        start = time.perf_counter()
        for _ in range(num_clips // 2):
            batch = next(batches)
        rate = num_clips / (time.perf_counter() - start)
        size = tuple(batch.frames[0].shape)
        print(f"{num_workers} workers: {rate:.1f} clips/s, {2 * rate:.0f} frames/s, clips of {size}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("annotations")
    clips = commands.add_parser("clips")
    clips.add_argument("images")
    clips.add_argument("annotations")
    clips.add_argument("--short-side", type=int, default=480)
    clips.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2])
    clips.add_argument("--num-clips", type=int, default=200)
    args = parser.parse_args()
    if args.command == "annotations":
        measure_annotations()
    else:
        measure_clips(args.images, args.annotations, args.short_side, args.workers, args.num_clips)


if __name__ == "__main__":
    main()
