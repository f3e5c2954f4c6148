"""``video-mask2former predict``: videos in, tracks and pictures out."""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from video_mask2former.cli.detectron2_overrides import move_into_flags, normalise_overrides
from video_mask2former.cli.loose_words import allow_words_anywhere
from video_mask2former.cli.option_flags import add_option_flags, flags_as_overrides
from video_mask2former.config.inference import PUBLISHED, InferenceSettings

if TYPE_CHECKING:
    from video_mask2former.cli.predict_jobs import PredictTask
    from video_mask2former.config import Config
    from video_mask2former.inference import SegmentationModel, VideoPredictor
    from video_mask2former.inference.outputs import OutputChoice
    from video_mask2former.tasks import Task

_AFTER_STOP = "the same command goes on with what is left"
_DESCRIPTION = """\
Find and track the objects of videos. Each input gets a folder DIR/<stem> with overlay.mp4, viewer.html, tracks.json,
results.json and contact_sheet.png. Inputs that are done are skipped, so that the same command takes up a run that was
stopped; one that fails is reported, and the others go on. Under torchrun the inputs are spread over the processes,
with --ray over a cluster. Inputs and DIR may be in a store: s3://bucket/folder, gs://..., az://...

The defaults are for people: online mode, scores from 0.5, one label for each object. --published takes these options
from the configuration, whose defaults are the protocol of the published numbers; all others always come from there.

examples:
  video-mask2former predict street.mp4 --output out
  video-mask2former predict videos/ --output out --config ytvis_2019/r50 --weights model_final.pkl --device cuda
  video-mask2former predict a.mp4 b.mkv frames/ --output out --classes person,dog --top-k 5 --masks
  video-mask2former predict s3://bucket/videos/ --output s3://bucket/out --ray auto
  torchrun --nproc-per-node 4 -m video_mask2former predict videos/ --output out
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "predict",
        help="find and track the objects of videos",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_input_arguments(parser)
    add_model_arguments(parser)
    _add_output_arguments(parser)
    parser.set_defaults(run=run)
    allow_words_anywhere(parser, "inputs")


def run(args: argparse.Namespace) -> int:
    """Run the command; 1 if any input failed."""
    import torch
    from tqdm.contrib.logging import logging_redirect_tqdm

    from video_mask2former import distributed
    from video_mask2former.cli.predict_inputs import find_inputs
    from video_mask2former.cli.predict_jobs import run_task
    from video_mask2former.cli.stop_signals import stopped_by_signals
    from video_mask2former.video_io.reader import check_range

    words, overrides = _split_words(args.inputs)
    overrides = move_into_flags(args, overrides)
    if not words:
        raise ValueError("give at least one input: a video, an image, a folder or a glob.")
    inputs = find_inputs(words)
    check_range(args.start, args.end, args.every)
    _check_cameras(inputs, args)
    if args.ray is not None:
        from video_mask2former.cli.predict_ray import run_on_ray

        with logging_redirect_tqdm(), stopped_by_signals(_AFTER_STOP):
            num_failed = run_on_ray(args, overrides, inputs)
        if num_failed:
            print(f"{num_failed} of {len(inputs)} inputs failed, see above.")
        return int(num_failed > 0)
    request, predictor = prepare(args, overrides)
    rank, world_size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    with logging_redirect_tqdm(), stopped_by_signals(_AFTER_STOP), _process_group():
        num_failed = run_task(request, inputs[rank::world_size], predictor, debug=args.debug)
        # waits for the others as well: torchrun ends them all as soon as one ends with an error
        num_failed = round(distributed.all_reduce_sum(num_failed))
    peak = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0
    if peak:
        print(f"peak GPU memory: {peak / 2**30:.1f} GiB")
    if num_failed and rank == 0:
        print(f"{num_failed} of {len(inputs)} inputs failed, see above.")
    return int(num_failed > 0)


def prepare(args: argparse.Namespace, overrides: list[str]) -> tuple[PredictTask, VideoPredictor]:
    """What is to be done with every input, and the model that does it.

    Raises:
        FileNotFoundError: If a file of the model does not exist.
        ValueError: If the command line, the configuration or the checkpoint is wrong.
    """
    from video_mask2former.cli.predict_jobs import PredictTask
    from video_mask2former.cli.result_folders import result_folders
    from video_mask2former.inference import VideoPredictor
    from video_mask2former.tasks import VideoPanopticTask, VideoSemanticTask

    folders = result_folders(args.output)
    model, settings, task = load_model(args, overrides)
    if (args.panoptic or args.semantic) and not isinstance(task, (VideoPanopticTask, VideoSemanticTask)):
        raise ValueError(
            "--panoptic and --semantic need masks that do not overlap: --task video_panoptic or video_semantic."
        )
    request = PredictTask(
        folders,
        _output_choice(args),
        start=args.start,
        end=args.end,
        every=args.every,
        frame_rate=_frame_rate(args.frame_rate),
        model={"config": _identity(args.config), "weights": _identity(args.weights), "overrides": overrides},
        settings=settings,
        task=task.describe(),
        overwrite=args.overwrite,
    )
    return request, VideoPredictor(model, settings, task)


def _add_input_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "inputs",
        nargs="+",
        metavar="INPUT",
        help="video file, image, folder of videos or of frames, glob, address, or number of a camera; also options of "
        "the configuration, such as inference.short_side=480",
    )
    parser.add_argument("--output", required=True, metavar="DIR", help="folder of the results")
    parser.add_argument("--start", type=int, metavar="N", help="index of the first frame (default: 0)")
    parser.add_argument("--end", type=int, metavar="N", help="index of the frame to stop before")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="take every n-th frame (default: 1)")
    parser.add_argument("--frame-rate", metavar="R", help="frames a second of images, such as 30000/1001 (default: 25)")
    parser.add_argument(
        "--ray",
        metavar="ADDRESS",
        help="spread the inputs over a Ray cluster: its address (auto finds the one of this machine), or local for the "
        "GPUs or cores of this machine",
    )
    parser.add_argument(
        "--ray-workers", type=int, metavar="N", help="processes that run the model (default: one a GPU, or a core)"
    )
    parser.add_argument("--overwrite", action="store_true", help="predict again what is done")


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """What is run, and how: a model and the options of inference."""
    group = parser.add_argument_group("model")
    group.add_argument("--config", metavar="C", help="configuration: a YAML file, or a name such as ytvis_2019/r50")
    group.add_argument(
        "--weights",
        metavar="W",
        help="checkpoint, or folder of an exported model; without it and --config, the model that ships with us",
    )
    group.add_argument(
        "--runtime", choices=("torch", "onnx"), help="what runs the model (default: what its weights are for)"
    )
    group.add_argument("--device", metavar="D", help="cpu, cuda, cuda:1, ... (default: a GPU if there is one)")
    group.add_argument(
        "--task",
        metavar="NAME",
        help="what is made of the masks: instance, video_panoptic, video_semantic (default: as the configuration says)",
    )
    group.add_argument(
        "--published", action="store_true", help="take the inference section of the configuration as it is"
    )
    add_option_flags(
        parser.add_argument_group("inference", "Each flag is an option of the inference section of the configuration."),
        "inference",
        InferenceSettings,
        defaults=InferenceSettings(),
    )


def _add_output_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("files")
    for name in ("overlay", "contact-sheet", "viewer", "tracks", "results"):
        group.add_argument(f"--no-{name}", dest=name.replace("-", "_"), action="store_false", help=f"no {name} file")
    group.add_argument("--frames", action="store_true", help="frames.jsonl: one line of JSON a frame")
    group.add_argument("--coco", action="store_true", help="coco_detections.json: COCO detections of each frame")
    group.add_argument("--mots", action="store_true", help="mots.txt: MOTS text")
    group.add_argument("--masks", action="store_true", help="masks/: indexed PNG files, in the manner of DAVIS")
    group.add_argument("--panoptic", action="store_true", help="panoptic/: PNG files and JSON in the form of VIPSeg")
    group.add_argument("--semantic", action="store_true", help="semantic/: PNG files whose values are classes")
    group.add_argument(
        "--format",
        metavar="A,B",
        default="",
        help="files for other tools: cvat, mots_png, label_studio, label_studio_boxes, coco_video",
    )
    group.add_argument(
        "--overlay-mode", choices=("overlay", "side_by_side", "masks_only"), default="overlay", help="default: overlay"
    )
    group.add_argument("--audio", action="store_true", help="copy the sound into the overlay")


def _split_words(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Inputs and options of the configuration; a file that exists is an input, whatever its name looks like."""
    from video_mask2former.convert.detectron2_keys import KEYS

    inputs: list[str] = []
    overrides: list[str] = []
    remaining = iter(words)
    for word in remaining:
        key = word.split("=")[0]
        if os.path.exists(word) or not ("." in key and key.replace(".", "").replace("_", "").isalnum()):
            inputs.append(word)
        elif "=" in word:
            overrides.append(word)
        elif key.isupper() and key in KEYS:  # detectron2's two words
            overrides += normalise_overrides([word, *itertools.islice(remaining, 1)])
        else:
            inputs.append(word)
    return inputs, overrides


def _check_cameras(inputs: Sequence[Any], args: argparse.Namespace) -> None:
    for entry in inputs:
        if isinstance(entry.source, int) and args.end is None:
            raise ValueError(f"camera {entry.source} never ends: say with --end after how many frames to stop.")


def _process_group() -> contextlib.AbstractContextManager[None]:
    """The processes that torchrun started; those numbered by hand do not know each other."""
    from video_mask2former import distributed

    return distributed.process_group("cpu") if "MASTER_ADDR" in os.environ else contextlib.nullcontext()


def _frame_rate(text: str | None) -> Fraction | None:
    from video_mask2former.video_io.frame_rate import parse_frame_rate

    return None if text is None else parse_frame_rate(text, "--frame-rate")


def load_model(args: argparse.Namespace, overrides: list[str]) -> tuple[SegmentationModel, InferenceSettings, Task]:
    """The model, how it is run, and what is made of its masks.

    The configuration comes first, then what people want, then the given options, the flags last.
    """
    from video_mask2former import distributed
    from video_mask2former.api import bundled_weights, load_with_config
    from video_mask2former.export import is_exported
    from video_mask2former.recipes.inference import build_settings
    from video_mask2former.recipes.tasks import build_task
    from video_mask2former.tasks import video_task

    is_graphs = args.weights is not None and is_exported(Path(args.weights))
    device = distributed.choose_device(args.device, "--device")
    source, weights = (args.weights, None) if args.config is None else (args.config, args.weights)
    if args.runtime == "onnx" and not is_graphs:
        raise ValueError(
            "--runtime onnx runs a model that was exported: make one with video-mask2former export --config "
            f"{args.config or 'demo'} --output FOLDER, and give that folder with --weights."
        )
    if source is not None and not is_graphs and weights is None and bundled_weights(source) is None:
        raise ValueError(f"{source} has no weights to predict with: give them with --weights.")
    if args.task is not None:
        overrides = [f"task.name={args.task}", *overrides]
    wanted = [*overrides, *flags_as_overrides(args, "inference", InferenceSettings)]
    if not args.published:
        people = InferenceSettings()
        wanted = [*(f"inference.{name}={getattr(people, name)}" for name in PUBLISHED), *wanted]
    if is_graphs:
        graphs, config = _load_graphs(args, wanted)
        return graphs, build_settings(config), video_task(build_task(config))
    try:
        model, config = load_with_config(source or "demo", weights, wanted, device=device)
    except FileNotFoundError as error:
        if source is not None:
            raise
        raise FileNotFoundError(
            "no model was given, and none ships with this installation. Pass --weights CHECKPOINT, and --config "
            "with it if the checkpoint has no configuration inside."
        ) from error
    return model, build_settings(config), video_task(build_task(config))


def _load_graphs(args: argparse.Namespace, overrides: list[str]) -> tuple[SegmentationModel, Config]:
    """A model that was exported, run by what it was exported for."""
    from video_mask2former.api import load_exported

    if args.config is not None:
        raise ValueError(f"{args.weights} is an exported model, with its configuration inside; leave --config out.")
    graphs, config = load_exported(args.weights, overrides)
    made_for = graphs.manifest["format"]
    if args.runtime not in (None, made_for):
        raise ValueError(
            f"--runtime {args.runtime}: {args.weights} was exported for {made_for}. Export it with --format "
            f"{args.runtime}."
        )
    return graphs, config


def _identity(path: str | None) -> Any:
    from video_mask2former.cli.predict_jobs import file_identity

    return None if path is None else file_identity(path)


def _output_choice(args: argparse.Namespace) -> OutputChoice:
    from video_mask2former.inference.outputs import OutputChoice

    return OutputChoice(
        overlay=args.overlay,
        contact_sheet=args.contact_sheet,
        viewer=args.viewer,
        tracks=args.tracks,
        results=args.results,
        frames=args.frames,
        coco=args.coco,
        mots=args.mots,
        masks=args.masks,
        panoptic=args.panoptic,
        semantic=args.semantic,
        formats=tuple(name.strip() for name in args.format.split(",") if name.strip()),
        overlay_mode=args.overlay_mode,
        audio=args.audio,
    )
