"""``video-mask2former convert``: checkpoints of other code bases to ours, and back."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from video_mask2former.cli.detectron2_overrides import normalise_overrides
from video_mask2former.cli.loose_words import allow_words_anywhere

if TYPE_CHECKING:
    from torch import Tensor

    from video_mask2former.config import Config
    from video_mask2former.convert import Checkpoint, LoadReport

_TARGETS = ("video_mask2former", "detectron2", "huggingface")


def add_parser(subparsers: argparse._SubParsersAction[Any]) -> None:
    """Add the command to the parser of the command line."""
    parser = subparsers.add_parser(
        "convert",
        help="convert a checkpoint from or to the names of Mask2Former or Hugging Face",
        description="Convert a checkpoint of Mask2Former, Hugging Face or this package into one of another of them. "
        "With a configuration, the weights are checked against the model and the result carries it inside.",
    )
    parser.add_argument("input", help="checkpoint file or Hugging Face folder")
    parser.add_argument(
        "output",
        help="file to write: .safetensors, .pth or .pkl; with --to huggingface also a folder, which transformers reads",
    )
    parser.add_argument("--config", help="configuration of the model: a YAML file or a name such as ytvis_2019/r50")
    parser.add_argument("--to", choices=_TARGETS, default=_TARGETS[0], help="whose names to write (default: ours)")
    parser.add_argument("--dtype", choices=("float32", "float16", "bfloat16"), help="type to write (default: as it is)")
    parser.add_argument("overrides", nargs="*", metavar="section.option=value", help="changes to the configuration")
    allow_words_anywhere(parser, "overrides")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Convert, print a table of what became of the entries, and write the file."""
    import torch

    from video_mask2former.config import to_yaml
    from video_mask2former.convert import read_checkpoint, write_checkpoint

    args.overrides = normalise_overrides(args.overrides)
    checkpoint = read_checkpoint(args.input)
    config = _find_config(args, checkpoint)
    weights, report = _our_weights(checkpoint, config, args.input)
    _print_report(report, args.input)
    if args.dtype is not None:
        dtype = getattr(torch, args.dtype)
        weights = {key: tensor.to(dtype) if tensor.is_floating_point() else tensor for key, tensor in weights.items()}
    if args.to == "huggingface" and not Path(args.output).suffix:
        _write_folder(args, weights, config)
    elif args.to == "video_mask2former":
        write_checkpoint(args.output, weights, to_yaml(config) if config is not None else None)
    else:
        write_checkpoint(args.output, _their_weights(weights, args.to))
    print(f"wrote {args.output}")
    return 0


def _write_folder(args: argparse.Namespace, weights: Mapping[str, Tensor], config: Config | None) -> None:
    from video_mask2former.config import to_mapping
    from video_mask2former.convert import write_huggingface_folder
    from video_mask2former.recipes.model import class_names_of, complete_config

    if config is None:
        raise ValueError(
            f"a Hugging Face folder needs a configuration, and {args.input} has none inside. Give --config."
        )
    options = to_mapping(complete_config(config))
    options["model"]["class_names"] = list(class_names_of(config.model))
    write_huggingface_folder(args.output, weights, options)


def _find_config(args: argparse.Namespace, checkpoint: Checkpoint) -> Config | None:
    """From the option, from the Hugging Face folder, or from inside the checkpoint."""
    from video_mask2former.convert import HUGGINGFACE_CONFIG
    from video_mask2former.recipes.source import config_of_checkpoint, read_config

    if args.config is not None:
        return read_config(args.config, args.overrides)
    if (Path(args.input) / HUGGINGFACE_CONFIG).is_file():
        return read_config(args.input, args.overrides)
    config = config_of_checkpoint(checkpoint, args.input, args.overrides)
    if config is None and args.overrides:
        raise ValueError(f"overrides need a configuration, and {args.input} has none inside. Give --config.")
    return config


def _our_weights(checkpoint: Checkpoint, config: Config | None, name: str) -> tuple[dict[str, Tensor], LoadReport]:
    """The weights under our names; those that the model has, in its shapes, where the configuration is known."""
    import torch

    from video_mask2former.convert import LoadReport, convert_weights, load_weights
    from video_mask2former.recipes.model import build_model

    source, converted = convert_weights(checkpoint.weights)
    if source.is_backbone:
        raise ValueError(
            f"{name} is the backbone of a model only ({source.name}). It needs no conversion: name it in "
            "model.backbone.weights, which training starts from."
        )
    if config is not None:
        # On the meta device nothing is copied, but everything is checked.
        with torch.device("meta"):
            model = build_model(config)
        report = load_weights(model, checkpoint.weights)
        return {key: converted.weights[key] for key in report.loaded}, report
    if converted.unknown:
        raise ValueError(f"{len(converted.unknown)} entries have unknown names, first: {converted.unknown[0]!r}.")
    return converted.weights, LoadReport(source.name, tuple(converted.weights), {}, (), converted.ignored)


def _their_weights(weights: Mapping[str, Tensor], target: str) -> dict[str, Tensor]:
    from video_mask2former.convert import DETECTRON2, HUGGINGFACE

    return {"detectron2": DETECTRON2, "huggingface": HUGGINGFACE}[target].key_map.to_theirs(weights)


def _print_report(report: LoadReport, name: str) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from video_mask2former.messages import printable

    table = Table(title=f"{name}: {report.format} checkpoint", title_justify="left")
    table.add_column("what")
    table.add_column("entries", justify="right")
    table.add_column("why")
    table.add_column("first")
    table.add_row("converted", str(len(report.loaded)), "", Text(printable(report.loaded[0])) if report.loaded else "")
    for title, reasons in (
        ("missing", dict.fromkeys(report.missing, "not in the checkpoint")),
        ("unused", report.unused),
    ):
        for reason in dict.fromkeys(reasons.values()):
            keys = [key for key, why in reasons.items() if why == reason]
            table.add_row(title, str(len(keys)), Text(printable(reason)), Text(printable(keys[0])))
    Console().print(table)
