"""``video-mask2former train``: train a model, resume, or evaluate only."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from video_mask2former.cli.loose_words import allow_words_anywhere

if TYPE_CHECKING:
    from video_mask2former.config import Config

_DESCRIPTION = """\
Train a model. The recipe, the datasets and the model are all in the configuration; any of its options can be
changed on the command line, as training.max_steps=100 or as the two words training.max_steps 100. detectron2's own
keys (SOLVER.MAX_ITER 100) are understood too.

examples:
  video-mask2former train --config ytvis_2019/r50 --weights coco_r50.pkl --output runs/r50 --num-gpus 8
  video-mask2former train --resume --output runs/r50
  torchrun --nproc-per-node 8 -m video_mask2former train --config ytvis_2019/r50 --output runs/r50
  video-mask2former train --config ytvis_2019/r50 --weights model.pth 'data.train=[frames/::my.json]' \\
      model.class_list=null training.max_steps=2000
  video-mask2former train --config demo --output runs/mine 'data.train=[frames/::my.json]'
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "train",
        help="train a model, or evaluate one with --eval-only",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_arguments(parser)
    parser.set_defaults(run=run)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of training to a parser."""
    parser.add_argument(
        "--config",
        "--config-file",
        metavar="C",
        help="YAML file of this package or of detectron2, the name of a shipped configuration such as ytvis_2019/r50, "
        "or a model to start from: a checkpoint of this package, or demo; with --resume, the one in the output folder "
        "if left out",
    )
    parser.add_argument("--output", metavar="DIR", help="folder of the run (training.output)")
    parser.add_argument("--weights", metavar="W", help="checkpoint to start from, or to evaluate with --eval-only")
    parser.add_argument(
        "--resume", action="store_true", help="go on from the newest checkpoint in the output folder, if there is one"
    )
    parser.add_argument("--eval-only", action="store_true", help="evaluate on data.test and stop")
    parser.add_argument(
        "--num-gpus",
        "--num-processes",
        dest="num_processes",
        type=int,
        default=1,
        metavar="N",
        help="processes on this machine, one for each GPU; not needed under torchrun (default: 1)",
    )
    parser.add_argument("--device", metavar="D", help="cpu, cuda, cuda:1, ... (default: a GPU if there is one)")
    parser.add_argument(
        "overrides", nargs="*", metavar="KEY=VALUE", help="options of the configuration, such as training.batch_size=8"
    )
    allow_words_anywhere(parser, "overrides")


def run(args: argparse.Namespace) -> int:
    """Run the command; 128 plus the number of the signal where one stopped the training."""
    from video_mask2former import distributed

    config = _read_config(args)
    device = distributed.choose_device(args.device, "--device")
    options = {"resume": args.resume, "eval_only": args.eval_only, "device": args.device, "debug": args.debug}
    num_processes = 1 if "WORLD_SIZE" in os.environ else args.num_processes
    return distributed.launch(num_processes, _run_rank, (config, options), device.type)


def _run_rank(config: Config, options: dict[str, Any]) -> int:
    """The work of one process."""
    from tqdm.contrib.logging import logging_redirect_tqdm

    from video_mask2former import distributed
    from video_mask2former.recipes.training import evaluate_only, train

    with contextlib.ExitStack() as stack:
        device = distributed.choose_device(options["device"], "--device")
        stack.enter_context(distributed.process_group(device.type))
        _set_up_logging(options["debug"])
        stack.enter_context(logging_redirect_tqdm())  # log lines stand above the progress bar
        output = Path(config.training.output)
        if options["eval_only"]:
            evaluate_only(config, output, device, use_latest=options["resume"])
            return 0
        try:
            result = train(config, output, device, resume=options["resume"])
        except (FloatingPointError, RuntimeError) as error:
            text = _explained(error)
            if text is None:
                raise
            raise ValueError(text) from error
        return 128 + result.signal_number if result.signal_number else 0


def _explained(error: Exception) -> str | None:
    """What a user can do about an error that is not a fault of the program, None for others."""
    import torch

    if isinstance(error, FloatingPointError):
        return str(error)
    if isinstance(error, torch.OutOfMemoryError):
        return (
            "the memory of the GPU is not enough. training.accumulation_steps=2 (or more) takes the batch in parts, "
            "model.activation_checkpointing=true keeps less of each; smaller data.short_sides help as well. "
            f"--resume goes on from the last checkpoint. ({error})"
        )
    if "DataLoader worker" in str(error):
        return (
            "a process that reads the data was killed, mostly for want of memory (or of /dev/shm in a container). "
            f"Lower data.num_workers; --resume goes on from the last checkpoint. ({error})"
        )
    return None


def _read_config(args: argparse.Namespace) -> Config:
    from video_mask2former.api import training_config
    from video_mask2former.cli.detectron2_overrides import move_into_flags, normalise_overrides

    overrides = move_into_flags(args, normalise_overrides(args.overrides))
    source = args.config
    if source is None:
        source = Path(args.output or ".") / "config.yaml"
        if not (args.resume and args.output and source.is_file()):
            raise ValueError(
                "give a configuration with --config, or the folder of a run that has a config.yaml with "
                "--resume --output DIR."
            )
    return training_config(source, args.weights, overrides, args.output)


def _set_up_logging(debug: bool) -> None:
    """Spawned processes start without the set-up of the command line; all but the first tell of problems only."""
    from video_mask2former import distributed

    level = logging.DEBUG if debug else logging.INFO
    if not distributed.is_main_process():
        level = logging.WARNING
    logging.basicConfig(
        level=level, format=f"%(asctime)s %(levelname)s %(name)s: [rank {distributed.rank()}] %(message)s"
    )
    logging.getLogger().setLevel(level)
