"""``video-mask2former export``: a model as files that other runtimes run."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from video_mask2former.cli.loose_words import allow_words_anywhere

_DESCRIPTION = """\
Write a model as graphs of standard operators: one from frames to their features, one from the features of a window to
what is found in it. A folder of ONNX files runs with onnxruntime and without this package; here it stands wherever a
model does:

  video-mask2former export --config demo --output demo_onnx
  video-mask2former predict street.mp4 --weights demo_onnx --runtime onnx --output out
  video-mask2former export --config demo --output demo_int8 --calibrate street.mp4
"""


def add_parser(subparsers: argparse._SubParsersAction[Any]) -> None:
    """Add the command to the parser of the command line."""
    parser = subparsers.add_parser(
        "export",
        help="write a model as ONNX or torch.export files",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", metavar="C", default="demo", help="configuration (default: demo)")
    parser.add_argument("--weights", metavar="W", help="checkpoint, where the configuration brings none along")
    parser.add_argument("--output", required=True, metavar="DIR", help="folder to make")
    parser.add_argument("--format", choices=("onnx", "torch"), default="onnx", help="default: onnx")
    parser.add_argument(
        "--size",
        type=int,
        nargs=2,
        metavar=("H", "W"),
        help="frames to trace with, the largest that models on transformer backbones take (default: the model's, 16:9)",
    )
    parser.add_argument(
        "--propagate", action="store_true", help="also the step that starts from queries of the window before"
    )
    parser.add_argument(
        "--calibrate", metavar="PATH", help="8-bit integers, scaled by the frames of this video or folder of images"
    )
    parser.add_argument("overrides", nargs="*", metavar="section.option=value", help="changes to the configuration")
    allow_words_anywhere(parser, "overrides")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Export, and say what was written."""
    from video_mask2former.api import export_model

    model = export_model(
        args.config,
        args.weights,
        args.overrides,
        output=args.output,
        format=args.format,
        size=None if args.size is None else tuple(args.size),
        propagates=args.propagate,
        calibration=args.calibrate,
    )
    size = sum(file.stat().st_size for file in Path(args.output).iterdir()) / 1e6
    print(f"wrote {args.output}: {model}, {size:.1f} MB")
    return 0
