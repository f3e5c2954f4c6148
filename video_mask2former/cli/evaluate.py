"""``video-mask2former evaluate``: measure results in a file, or a model that is run first."""

from __future__ import annotations

import argparse
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from video_mask2former.cli.detectron2_overrides import move_into_flags, normalise_overrides
from video_mask2former.cli.loose_words import allow_words_anywhere
from video_mask2former.cli.option_flags import add_option_flags, flags_as_overrides
from video_mask2former.config import InferenceSettings

if TYPE_CHECKING:
    from video_mask2former.config import DataConfig
    from video_mask2former.data.evaluation_videos import EvaluationSet
    from video_mask2former.metrics import Report
    from video_mask2former.tasks import Task

_DESCRIPTION = """\
Measure predictions. The figures go to metrics.json in the output folder, tables to the terminal, and all of it with the
worst and best cases to report.html, a page for a browser. Where annotations are hidden, a model still leaves
results.json and results.zip, which servers take.

What is measured follows from the annotations:
  YouTube-VIS json      video AP, identity measures (HOTA, IDF1), AP by length, number and speed of the objects
  COCO json             mask AP of images
  COCO panoptic json    panoptic quality; its PNGs are in the folder of the same name (VIPSeg: VPQ)
  a folder of PNGs      mIoU of label maps; --classes names their classes

examples:
  video-mask2former evaluate --annotations valid.json --results results.json --output out
  video-mask2former evaluate --dataset ytvis_2019_local_val --config ytvis_2019/r50 --weights r50.pkl --output out
  torchrun --nproc-per-node 8 -m video_mask2former evaluate --annotations my.json --images frames \\
      --config ytvis_2019/r50 --weights r50.pkl --output out
"""


def add_parser(subparsers: argparse._SubParsersAction[Any]) -> None:
    """Add the command to the parser of the command line."""
    parser = subparsers.add_parser(
        "evaluate",
        help="measure results, or a model",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--output", required=True, metavar="DIR", help="folder to write to")
    truth = parser.add_argument_group("ground truth")
    truth.add_argument("--annotations", metavar="GT", help="annotation file, or folder of PNG label maps")
    truth.add_argument("--dataset", metavar="NAME", help="dataset of the catalog, such as ytvis_2019_local_val")
    truth.add_argument("--images", metavar="DIR", help="folder that the file names in the annotations are relative to")
    truth.add_argument("--classes", metavar="C", help="classes of label maps: a list (ade20k_semantic) or a file")
    truth.add_argument(
        "--label-offset", type=int, default=0, metavar="N", help="taken off the values of annotated label maps"
    )
    predictions = parser.add_argument_group("predictions: results, or a model to run")
    predictions.add_argument(
        "--results", metavar="R", help="results.json, a zip or folder that holds it, or a folder of PNGs"
    )
    predictions.add_argument("--config", metavar="C", help="configuration of the model: YAML file or shipped name")
    predictions.add_argument("--weights", metavar="W", help="checkpoint of the model")
    predictions.add_argument("--device", metavar="D", help="cpu, cuda, cuda:1, ... (default: a GPU if there is one)")
    predictions.add_argument(
        "--num-gpus", dest="num_processes", type=int, default=1, metavar="N", help="processes that share the videos"
    )
    predictions.add_argument(
        "overrides", nargs="*", metavar="KEY=VALUE", help="options of the configuration, such as inference.mode=online"
    )
    add_option_flags(
        parser.add_argument_group(
            "inference",
            "How the model is run. Each flag is an option of the inference section of the configuration, whose "
            "defaults are the protocol of the published numbers (mode clip, top_k 10, score_threshold 0).",
        ),
        "inference",
        InferenceSettings,
        but=("classes",),  # --classes names those of label maps
    )
    measures = parser.add_argument_group("measures")
    measures.add_argument("--class-agnostic", action="store_true", help="compare masks whatever their class")
    measures.add_argument(
        "--min-score",
        type=float,
        default=0.3,
        metavar="S",
        help="least score for HOTA and pictures (%(default)s)",
    )
    measures.add_argument(
        "--short-videos",
        metavar="GT",
        help="file of the short videos of YouTube-VIS 2022: valid.json of 2021",
    )
    measures.add_argument("--long-from", type=int, metavar="N", help="videos of at least so many frames are long ones")
    measures.add_argument("--cases", type=int, default=5, metavar="N", help="worst and best cases shown (%(default)s)")
    allow_words_anywhere(parser, "overrides")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Predict if there are no results yet, measure, print tables and write the files."""
    from video_mask2former import distributed
    from video_mask2former.api import bundled_weights
    from video_mask2former.tasks.table import task_of_results

    args.overrides = move_into_flags(args, normalise_overrides(args.overrides))
    if (args.results is None) == (args.config is None):
        raise ValueError("give either --results, or a model with --config and --weights.")
    if args.results is not None:
        if args.overrides or args.weights or flags_as_overrides(args, "inference", InferenceSettings):
            raise ValueError("--weights and options of the configuration are for predicting; --results needs none.")
        _measure(args, *_find_ground_truth(args, task_of_results(args.results)), Path(args.results))
        return 0
    if args.weights is None and bundled_weights(args.config) is None:
        raise ValueError(f"{args.config} has no weights to be measured: give them with --weights.")
    device = distributed.choose_device(args.device, "--device")
    num_processes = 1 if "WORLD_SIZE" in os.environ else args.num_processes
    return distributed.launch(num_processes, _predict_and_measure, (args, device.type), device.type)


def _predict_and_measure(args: argparse.Namespace, device_type: str) -> int:
    """The work of one process."""
    from tqdm.contrib.logging import logging_redirect_tqdm

    from video_mask2former import distributed
    from video_mask2former.api import load_with_config
    from video_mask2former.evaluation.prediction import predict_dataset
    from video_mask2former.recipes.inference import build_settings
    from video_mask2former.recipes.tasks import build_task

    with distributed.process_group(device_type), logging_redirect_tqdm():
        if not distributed.is_main_process():
            logging.getLogger().setLevel(logging.WARNING)
        device = distributed.choose_device(args.device, "--device")
        overrides = [*args.overrides, *flags_as_overrides(args, "inference", InferenceSettings)]
        model, config = load_with_config(args.config, args.weights, overrides, device=device)
        task, data = _find_ground_truth(args, build_task(config), config.data)
        settings, output = build_settings(config), Path(args.output)
        results = predict_dataset(model, settings, task, data, output, is_class_agnostic=args.class_agnostic)
        if distributed.is_main_process():
            if not data.has_annotations:
                submission = results.with_suffix(".zip")
                task.pack(results, submission)
                print(f"the annotations are hidden, so nothing is measured; wrote {results} and {submission}")
            else:
                _measure(args, task, data, results)
    return 0


def _find_ground_truth(
    args: argparse.Namespace, task: Task, config: DataConfig | None = None
) -> tuple[Task, EvaluationSet]:
    """From --annotations, from --dataset, or from the data section of the configuration of a model."""
    from video_mask2former.data.evaluation_sets import locate_evaluation_set, open_evaluation_set
    from video_mask2former.tasks import fitting_task

    if args.annotations is not None and args.dataset is not None:
        raise ValueError("give --annotations or --dataset, not both.")
    if args.annotations is not None:
        data = open_evaluation_set(
            args.annotations,
            args.images,
            classes=args.classes,
            label_offset=args.label_offset,
            may_be_hidden=config is not None,
        )
        return fitting_task(task, data), data
    dataset = args.dataset
    if dataset is None:
        if config is None or len(config.test) != 1:
            raise ValueError("there is no ground truth: give --annotations GT.json or --dataset NAME.")
        [dataset] = config.test
    root = None if config is None else config.root
    data = locate_evaluation_set(
        dataset,
        root,
        args.images,
        as_label_pictures=task.forms != ("instances",),
        may_be_hidden=config is not None,
    )
    return fitting_task(task, data), data


def _measure(args: argparse.Namespace, task: Task, data: EvaluationSet, results: Path) -> None:
    from video_mask2former.evaluation.measurement import long_videos, measure
    from video_mask2former.tasks import EvaluationOptions

    options = EvaluationOptions(
        is_class_agnostic=args.class_agnostic,
        min_score=args.min_score,
        long_video_ids=long_videos(data, args.short_videos, args.long_from),
    )
    output = Path(args.output)
    measurement = measure(task, data, results, options)
    measurement.report.write(output / "metrics.json")
    _print_tables(measurement.report)
    measurement.write_page(output / "report.html", args.cases)
    print(f"wrote {output / 'metrics.json'} and {output / 'report.html'}")


def _print_tables(report: Report) -> None:
    from rich.console import Console

    console = Console()
    for table in report.tables():
        console.print(table, "")
