"""Measure a model on an annotated dataset: the 12 numbers of video AP, AP per class, identities.

    python examples/finetune_on_your_data.py           # first, to have a model and a dataset
    python examples/evaluate_a_model.py
    python examples/evaluate_a_model.py --model demo --annotations my.json --images frames/

It shows evaluation from Python in three ways: of a model, of a results file, and video by video, for those who bring
predictions from somewhere else.
"""

from __future__ import annotations

import argparse
import shutil
from dataclasses import replace
from pathlib import Path

from rich.console import Console

import video_mask2former as vm2f
from video_mask2former.data.annotations import load_annotations
from video_mask2former.metrics import YtvisApEvaluator

FINETUNED = Path("output/finetune_on_your_data")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=str(FINETUNED / "run" / "model_final.pth"), help="checkpoint, or 'demo'")
    parser.add_argument("--annotations", type=Path, default=FINETUNED / "val" / "instances.json")
    parser.add_argument("--images", type=Path, default=FINETUNED / "val" / "JPEGImages")
    parser.add_argument("--output", type=Path, default=Path("output/evaluate_a_model"))
    args = parser.parse_args()
    if not args.annotations.exists():
        parser.error(
            f"no {args.annotations}: run finetune_on_your_data.py, or give --model, --annotations and --images"
        )
    shutil.rmtree(args.output, ignore_errors=True)  # predictions of another model would be refused

    # A model, run as its configuration says. One that is loaded already will do, too, and any vm2f.InferenceSettings.
    report = vm2f.evaluate_model(args.model, args.annotations, args.images, output=args.output)
    print({name: round(value, 4) for name, value in report.summary.items()})  # AP, AP50, ..., ARl: 12 numbers
    print({name: round(value, 4) for name, value in report.per_class.items()})
    print("HOTA", round(report.groups["identity"]["HOTA"], 4))
    for table in report.tables():
        Console().print(table)

    # A results file, whoever wrote it: the same numbers.
    from_file = vm2f.evaluate_results(args.output / "results.json", args.annotations)
    print("from the results file: AP", round(from_file.summary["AP"], 4))

    # Video by video. Here the predictions are the ground truth with every other object left out.
    truth = load_annotations(args.annotations)
    evaluator = YtvisApEvaluator(truth.class_names)
    for video in truth.iterate_ground_truth():
        evaluator.process(replace(video, tracks=video.tracks[::2]), video)
    print("half of the objects, perfectly: AP", round(evaluator.evaluate()["AP"], 4))


if __name__ == "__main__":
    main()
