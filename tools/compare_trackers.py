"""Identities that trackers give to what one and the same segmenter finds: HOTA, AssA, id switches, interruptions.

The models share a frozen segmenter, so what it says of each frame is recorded and made once. Each line of figures is
that of the least score (``--min-scores``) at which HOTA of that tracker is highest. ``--help``.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path

import torch
from recorded_frames import RecordedSegmenter

import video_mask2former as vm2f
from video_mask2former.data.annotations import load_annotations
from video_mask2former.data.catalog import locate_dataset
from video_mask2former.data.evaluation_videos import EvaluationVideos
from video_mask2former.inference import InferenceSettings, VideoPredictor
from video_mask2former.metrics import IdentityEvaluator
from video_mask2former.refinement import TrackedModel

FIGURES = ("HOTA", "DetA", "AssA", "IDF1", "id_switches", "interruptions")


def main() -> None:
    """Run every model over the videos and print a row for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="+", metavar="NAME=CONFIG,WEIGHTS[,KEY=VALUE...]")
    parser.add_argument("--dataset", required=True, help="IMAGES::ANNOTATIONS.json")
    parser.add_argument("--videos", type=int, help="the first so many only")
    parser.add_argument("--min-scores", type=float, nargs="+", default=(0.1, 0.2, 0.3, 0.4, 0.5))
    parser.add_argument(
        "--records", type=Path, help="file of records, read if it is there and written after each model"
    )
    parser.add_argument("--output", type=Path, help="JSON file of all figures")
    args = parser.parse_args()
    torch.set_num_threads(1)
    paths = locate_dataset(args.dataset)
    data = EvaluationVideos(load_annotations(paths.annotation_file), paths.image_folder)
    videos = [data[index] for index in range(min(len(data), args.videos or len(data)))]
    has_records = args.records is not None and args.records.exists()
    records: dict[bytes, tuple[torch.Tensor, ...]] = torch.load(args.records) if has_records else {}
    found: dict[str, dict[str, dict[str, float]]] = {}
    print(f"| tracker | {' | '.join(FIGURES)} | least score | CPU ms a frame |")
    print("| --- |" + " --- |" * (len(FIGURES) + 2))
    for model in args.models:
        name, _, source = model.partition("=")
        num_records = len(records)
        by_score, milliseconds = evaluate(source.split(","), videos, args.min_scores, records)
        if args.records is not None and len(records) > num_records:
            torch.save(records, args.records)
        found[name] = {str(score): figures for score, figures in by_score.items()}
        best = max(by_score, key=lambda score: by_score[score]["HOTA"])
        shown = [f"{by_score[best][figure]:.3f}" for figure in FIGURES[:4]]
        shown += [f"{by_score[best][figure]:.0f}" for figure in FIGURES[4:]]
        print(f"| {name} | {' | '.join(shown)} | {best} | {milliseconds:.1f} |", flush=True)
        if args.output is not None:
            args.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def evaluate(
    source: list[str], videos: list, scores: list[float], records: dict[bytes, tuple[torch.Tensor, ...]]
) -> tuple[dict[float, dict[str, float]], float]:
    """Figures by least score, and processor time a frame without that of the segmenter where it was recorded."""
    config, weights, *overrides = source
    model = vm2f.load(config, weights, overrides, device="cpu")
    if isinstance(model, TrackedModel):
        RecordedSegmenter(model, records)
    predictor = VideoPredictor(model, InferenceSettings(score_threshold=min(scores)))
    evaluators = {score: IdentityEvaluator(min_score=score) for score in scores}
    spent, num_frames = 0.0, 0
    for video in videos:
        started = time.process_time()
        result = predictor.predict(video.paths)
        spent += time.process_time() - started
        num_frames += result.num_frames
        for evaluator in evaluators.values():
            evaluator.process(replace(result, video_id=video.video_id), video.ground_truth())
    return {score: evaluator.evaluate() for score, evaluator in evaluators.items()}, 1000 * spent / num_frames


if __name__ == "__main__":
    main()
