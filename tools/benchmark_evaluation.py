#!/usr/bin/env python
"""Time and memory of ``video-mask2former evaluate`` beside the published way of measuring video AP.

    python tools/benchmark_evaluation.py compare                 # 400 videos, 30 frames, 20 predictions, 720p
    python tools/benchmark_evaluation.py compare --videos 100 --runs 5

Each run is a process of its own, and the ways take turns. ``published`` is the rule as the authors of YouTube-VIS
programmed it: results parsed at once, areas and boxes of every mask, and for each pair of tracks of one class two
merges of masks a frame, all by pycocotools.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np

NUM_FRAMES, NUM_PREDICTIONS, NUM_OBJECTS, NUM_CLASSES = 30, 20, 4, 40
SIZE = (720, 1280)
VIDEOS_PER_SHAPE = 20  # masks are drawn once for so many videos


def write_dataset(folder: Path, num_videos: int) -> None:
    """Annotations and results of videos in which blobs drift; the results are some of the objects and more."""
    rng = np.random.default_rng(0)
    videos, annotations, results = [], [], []
    masks: list[list[dict[str, Any]]] = []
    for video_id in range(1, num_videos + 1):
        if (video_id - 1) % VIDEOS_PER_SHAPE == 0:
            masks = [_drifting_blob(rng) for _ in range(NUM_PREDICTIONS + NUM_OBJECTS)]
        names = [f"{video_id}/{index:05d}.jpg" for index in range(NUM_FRAMES)]
        shape = {"height": SIZE[0], "width": SIZE[1], "length": NUM_FRAMES}
        videos.append({"id": video_id, **shape, "file_names": names})
        for index in range(NUM_PREDICTIONS):
            segmentations = masks[index]
            if index < NUM_OBJECTS:
                category = (7 * index + video_id) % NUM_CLASSES + 1
                truth = {"id": len(annotations) + 1, "video_id": video_id, "category_id": category, "iscrowd": 0}
                annotations.append({**truth, "segmentations": masks[NUM_PREDICTIONS + index]})
                # the prediction is the object a frame late
                segmentations = [masks[NUM_PREDICTIONS + index][max(0, frame - 1)] for frame in range(NUM_FRAMES)]
            else:
                category = int(rng.integers(1, NUM_CLASSES + 1))
            prediction = {"video_id": video_id, "category_id": category, "score": float(rng.random())}
            results.append({**prediction, "segmentations": segmentations})
    categories = [{"id": index, "name": f"class {index}"} for index in range(1, NUM_CLASSES + 1)]
    truth_file = {"videos": videos, "annotations": annotations, "categories": categories}
    (folder / "valid.json").write_text(json.dumps(truth_file))
    (folder / "results.json").write_text(json.dumps(results, separators=(",", ":")))


def _drifting_blob(rng: np.random.Generator) -> list[dict[str, Any]]:
    from video_mask2former.rle import encode_masks

    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    radii = rng.uniform(30, 110) * (1 + 0.25 * rng.standard_normal(24)).clip(0.5, 1.5)
    outline = np.stack([np.cos(angles) * radii, np.sin(angles) * radii], 1)
    start, step = rng.uniform([150, 150], [SIZE[1] - 150, SIZE[0] - 150]), rng.uniform(-8, 8, 2)
    found = []
    for frame in range(NUM_FRAMES):
        mask = np.zeros(SIZE, np.uint8)
        cv2.fillPoly(mask, [(outline * (1 + 0.02 * np.sin(frame / 3)) + start + step * frame).astype(np.int32)], 1)
        found.append(dict(encode_masks(mask[None])[0]))
    return found


def published(folder: Path) -> dict[str, float]:
    """AP, AP50 and AP75 by the published rule, programmed as its authors did."""
    from pycocotools import mask as coco_mask

    truth = json.loads((folder / "valid.json").read_text())
    results = json.loads((folder / "results.json").read_text())
    for track in [*truth["annotations"], *results]:
        track["areas"] = [float(coco_mask.area(rle)) if rle else None for rle in track["segmentations"]]
        track["bboxes"] = [coco_mask.toBbox(rle).tolist() if rle else None for rle in track["segmentations"]]
        areas = [area for area in track["areas"] if area]
        track["mean_area"] = sum(areas) / len(areas) if areas else 0.0
    groups: dict[str, dict[tuple[int, int], list[dict[str, Any]]]] = {}
    for name, tracks in (("truth", truth["annotations"]), ("results", results)):
        groups[name] = defaultdict(list)
        for track in tracks:
            groups[name][track["video_id"], track["category_id"]].append(track)
    overlaps = {}
    for key in sorted({*groups["truth"], *groups["results"]}):
        predictions = sorted(groups["results"][key], key=lambda track: -track["score"])[:100]
        groups["results"][key] = predictions
        rows = [[_published_iou(found, real, coco_mask) for real in groups["truth"][key]] for found in predictions]
        overlaps[key] = np.array(rows).reshape(len(predictions), -1)
    limits = ((0, 1e10), (0, 128**2), (128**2, 256**2), (256**2, 1e10))
    curves = [_published_curves(groups, overlaps, limit) for limit in limits]
    defined = [curve[curve > -1] for curve in curves]
    precision = curves[0]
    return {
        "AP": float(defined[0].mean()),
        "AP50": float(precision[0][precision[0] > -1].mean()),
        "APs": float(defined[1].mean()) if defined[1].size else -1.0,
    }


def _published_iou(first: dict[str, Any], second: dict[str, Any], coco_mask: Any) -> float:
    shared = union = 0.0
    for one, other in zip(first["segmentations"], second["segmentations"], strict=True):
        if one and other:
            shared += coco_mask.area(coco_mask.merge([one, other], True))
            union += coco_mask.area(coco_mask.merge([one, other], False))
        elif one or other:
            union += coco_mask.area(one or other)
    return shared / union if union else 0.0


def _published_curves(groups: Any, overlaps: Any, limit: tuple[float, float]) -> np.ndarray:
    """Precision at 10 thresholds and 101 recall points of each class, ``(10, K, 101)``."""
    curves = np.full((10, NUM_CLASSES, 101), -1.0)
    for label in range(1, NUM_CLASSES + 1):
        scores, hits, ignored, num_real = [], [], [], 0
        for key in sorted(overlaps):
            if key[1] != label:
                continue
            real, predictions = groups["truth"][key], groups["results"][key]
            skipped = [not limit[0] <= track["mean_area"] <= limit[1] for track in real]
            order = np.argsort(skipped, kind="mergesort")
            num_real += skipped.count(False)
            found, dropped = np.zeros((10, len(predictions)), bool), np.zeros((10, len(predictions)), bool)
            for level, threshold in enumerate(np.linspace(0.5, 0.95, 10)):
                taken = set()
                for index in range(len(predictions)):
                    best, floor = -1, min(threshold, 1 - 1e-10)
                    for column in order:
                        if column in taken:
                            continue
                        if best > -1 and not skipped[best] and skipped[column]:
                            break
                        if overlaps[key][index, column] >= floor:
                            best, floor = column, overlaps[key][index, column]
                    if best > -1:
                        taken.add(best)
                        found[level, index], dropped[level, index] = True, skipped[best]
            outside = np.array([not limit[0] <= track["mean_area"] <= limit[1] for track in predictions], bool)
            dropped |= ~found & outside
            scores += [track["score"] for track in predictions]
            hits.append(found)
            ignored.append(dropped)
        if num_real:
            _fill_curves(curves[:, label - 1], np.array(scores), np.hstack(hits), np.hstack(ignored), num_real)
    return curves


def _fill_curves(curves: np.ndarray, scores: np.ndarray, hits: np.ndarray, ignored: np.ndarray, num_real: int) -> None:
    order = np.argsort(-scores, kind="mergesort")
    right = np.cumsum(hits[:, order] & ~ignored[:, order], 1).astype(float)
    wrong = np.cumsum(~hits[:, order] & ~ignored[:, order], 1).astype(float)
    for level in range(10):
        recall = right[level] / num_real
        precision = right[level] / (right[level] + wrong[level] + np.spacing(1))
        precision = np.maximum.accumulate(precision[::-1])[::-1]
        places = np.searchsorted(recall, np.linspace(0, 1, 101))
        curves[level] = np.append(precision, 0.0)[np.minimum(places, len(precision))]


def ours(folder: Path, *, is_whole: bool) -> dict[str, float]:
    """The figures of the command: AP alone, or everything it writes."""
    from video_mask2former.cli import main as command
    from video_mask2former.data.evaluation_sets import open_evaluation_set
    from video_mask2former.metrics import YtvisApEvaluator
    from video_mask2former.tasks import EvaluationOptions, VideoInstanceTask

    if is_whole:
        arguments = ["--annotations", folder / "valid.json", "--results", folder / "results.json", "--output", folder]
        assert command(["evaluate", *map(str, arguments)]) == 0
        figures: dict[str, float] = json.loads((folder / "metrics.json").read_text())["summary"]
        return figures
    data = open_evaluation_set(folder / "valid.json", None)
    answers = VideoInstanceTask().read(folder / "results.json", data, EvaluationOptions())
    evaluator = YtvisApEvaluator(data.class_names)
    for video in data:
        evaluator.process(answers(video), video.ground_truth())
    return evaluator.evaluate()


def compare(folder: Path, num_videos: int, num_runs: int) -> None:
    """Run all ways in turns and print medians."""
    write_dataset(folder, num_videos)
    size = (folder / "results.json").stat().st_size / 2**20
    print(f"{num_videos} videos, results.json {size:.0f} MiB")
    ways = ("published", "ap", "whole")
    runs: dict[str, list[dict[str, Any]]] = {way: [] for way in ways}
    for _ in range(num_runs):
        for way in ways:
            command = [sys.executable, __file__, way, "--folder", str(folder)]
            shown = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
            runs[way].append(json.loads(shown.splitlines()[-1]))
    for way, found in runs.items():
        medians = {name: statistics.median(run[name] for run in found) for name in ("wall", "cpu", "peak_mib")}
        shown = " ".join(f"{name} {value:.2f}" for name, value in medians.items())
        ratio = statistics.median(
            run["wall"] / base["wall"] for run, base in zip(found, runs["published"], strict=True)
        )
        ratio_cpu = statistics.median(
            run["cpu"] / base["cpu"] for run, base in zip(found, runs["published"], strict=True)
        )
        print(f"{way:10s} {shown}; of the published: wall {ratio:.2f}, cpu {ratio_cpu:.2f}; AP {found[0]['AP']:.6f}")


def _timed(folder: Path, way: str) -> dict[str, float]:
    start = time.perf_counter()
    figures = published(folder) if way == "published" else ours(folder, is_whole=way == "whole")
    wall = time.perf_counter() - start
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    cpu = sum(usage.ru_utime + usage.ru_stime for usage in used)
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
    peak = int(status["VmHWM"].split()[0]) / 2**10
    return {"wall": wall, "cpu": cpu, "peak_mib": peak, **{name: figures[name] for name in ("AP", "AP50", "APs")}}


def main() -> None:
    """Run one measurement and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("compare", "make", "published", "ap", "whole"))
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--videos", type=int, default=400)
    parser.add_argument("--runs", type=int, default=3)
    args = parser.parse_args()
    if args.what == "compare":
        with tempfile.TemporaryDirectory() as folder:
            compare(args.folder or Path(folder), args.videos, args.runs)
    elif args.what == "make":
        write_dataset(args.folder, args.videos)
    else:
        print(json.dumps(_timed(args.folder, args.what)))


if __name__ == "__main__":
    main()
