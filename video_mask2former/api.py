"""One call from configurations and checkpoints, of whatever origin, to a model; one to train it; one to measure it."""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from video_mask2former import distributed
from video_mask2former.config import Config, Overrides, apply_overrides, config_from_mapping, to_mapping, to_yaml
from video_mask2former.convert import HUGGINGFACE_CONFIG, Checkpoint, identify_format, read_checkpoint
from video_mask2former.data.evaluation_sets import open_evaluation_set
from video_mask2former.engine import TrainingResult
from video_mask2former.evaluation.measurement import measure
from video_mask2former.evaluation.prediction import predict_dataset
from video_mask2former.export import ExportedModel, GraphFormat, GraphWriter, export_folder
from video_mask2former.export.quantization import quantize_frame_step, sample_frames
from video_mask2former.inference import InferenceSettings, SegmentationModel
from video_mask2former.metrics import Report
from video_mask2former.models import Segmenter
from video_mask2former.recipes import training
from video_mask2former.recipes.hub import download, hub_address, local_weights
from video_mask2former.recipes.inference import build_settings
from video_mask2former.recipes.model import build_model, complete_config, load_into
from video_mask2former.recipes.overrides import device_of, override
from video_mask2former.recipes.published_weights import read_weights, weights_advice
from video_mask2former.recipes.source import config_of_checkpoint, read_config
from video_mask2former.recipes.tasks import build_task
from video_mask2former.tasks import EvaluationOptions, Task, fitting_task
from video_mask2former.tasks.table import task_of_results

logger = logging.getLogger(__name__)

DEMO_NAME = "demo"
EXPORTED_CONFIG = "config.yaml"  # in the folder of an exported model
DEMO_WEIGHTS = Path(__file__).with_name("demo_model") / "model.safetensors"

_CHECKPOINT_SUFFIXES = {".pth", ".pt", ".pkl", ".bin", ".safetensors"}
# What a model's configuration says of the data it was trained on, and another training does not take over
_OF_ITS_OWN_TRAINING: dict[str, Any] = {
    "data.train": [],
    "data.train_ratios": [],
    "data.test": [],
    "model.class_list": None,
    "model.class_names": [],
}


def load(
    config: str | os.PathLike[str] | Config,
    weights: str | os.PathLike[str] | None = None,
    overrides: Overrides = (),
    *,
    device: str | torch.device | None = None,
    dtype: torch.dtype | None = None,
    allow_class_mismatch: bool = False,
    allow_partial: bool = False,
) -> Segmenter:
    """Load a model for inference.

    Args:
        config: A YAML file of this package or of Mask2Former, the name of a shipped configuration
            (``ytvis_2019/r50``), a Hugging Face folder, a model of the Hugging Face hub (``owner/name``), a checkpoint
            of this package that has its configuration inside, or ``"demo"``, the small model that ships with the
            package. The last four bring their weights along. A module that it names
            (``model.backbone.name: module:Class``) is imported.
        weights: A checkpoint: ``.pth``, ``.pkl`` or ``.safetensors`` of this package, of Mask2Former or of Hugging
            Face, or a folder of the latter; ``hf://owner/name`` or ``hf://owner/name/file`` of the Hugging Face hub.
            None leaves the model with random weights, which the log warns of, unless ``config`` brings its own.
        overrides: Options to change: ``["model.num_queries=20"]`` or ``{"model.num_queries": 20}``; detectron2's
            names (``MODEL.DEVICE=cpu``) are understood, too.
        device: Where the model goes: ``cpu``, ``cuda``, ``cuda:1``, ...; None is a GPU if there is one.
        dtype: Type of its parameters; None is float32, or float64 where the checkpoint is.
        allow_class_mismatch: Accept a checkpoint with another number of classes, leaving the class head untrained.
        allow_partial: Take from a checkpoint what fits, whatever is missing or left over.

    Returns:
        The model in evaluation mode; it knows the frame size that its configuration is run with. What was loaded is
        in the log.

    Raises:
        FileNotFoundError: If a file, folder or name does not exist; of published weights the message has the address.
        ImportError: If a model of the hub is asked for without ``huggingface_hub``.
        ValueError: If a configuration or checkpoint is invalid, or the two do not fit.
    """
    model, _ = load_with_config(
        config,
        weights,
        overrides,
        device=device,
        dtype=dtype,
        allow_class_mismatch=allow_class_mismatch,
        allow_partial=allow_partial,
    )
    return model


def load_with_config(
    config: str | os.PathLike[str] | Config,
    weights: str | os.PathLike[str] | None = None,
    overrides: Overrides = (),
    *,
    device: str | torch.device | None = None,
    dtype: torch.dtype | None = None,
    allow_class_mismatch: bool = False,
    allow_partial: bool = False,
) -> tuple[Segmenter, Config]:
    """As :func:`load`, and return the whole configuration beside the model."""
    place = distributed.choose_device(device_of(overrides) if device is None else device)
    settings, bundled = _read_source(config, overrides, has_weights=weights is not None)
    checkpoint = bundled if weights is None else read_weights(weights, config)
    # The type comes before the weights, so that float64 checkpoints keep all their digits.
    model = build_model(settings).to(dtype or _parameter_dtype(checkpoint))
    if checkpoint is None:
        logger.warning(
            "no weights were given: the model is random and its predictions mean nothing.%s", weights_advice(config)
        )
    else:
        source = identify_format(checkpoint.weights, model.state_dict())
        if source.is_backbone and not allow_partial:
            raise ValueError(
                f"{config if weights is None else weights} is the backbone of a model only ({source.name}); all else "
                "would stay random. Train with it as model.backbone.weights, or load it so with allow_partial=True."
            )
        report = load_into(
            model, checkpoint, settings, allow_class_mismatch=allow_class_mismatch, allow_partial=allow_partial
        )
        logger.info("%s\n%s", config if weights is None else weights, report.summary())
    return model.to(place).eval(), settings


def export_model(
    config: str | os.PathLike[str] | Config,
    weights: str | os.PathLike[str] | None = None,
    overrides: Overrides = (),
    *,
    output: str | os.PathLike[str],
    format: GraphFormat = "onnx",
    size: tuple[int, int] | None = None,
    propagates: bool = False,
    calibration: str | os.PathLike[str] | None = None,
) -> ExportedModel:
    """Write a model as graphs that run without this package, and open them.

    ::

        model = vm2f.export_model("demo", output="demo_onnx")
        result = vm2f.segment_video(model, "in.mp4")

    Args:
        config: See :func:`load`.
        weights: See :func:`load`.
        overrides: See :func:`load`.
        output: Folder to make. An export that is there is replaced.
        format: ``onnx`` for ONNX files, ``torch`` for files of ``torch.export``.
        size: Height and width of the frames that the graphs are traced with. Graphs of models on a ResNet or
            EfficientNet take frames of any size, those of other models frames up to this one; None is a 16:9 frame as
            the model is made for.
        propagates: Also write the step that starts from queries of the window before, for trackers that hand them on.
        calibration: A video, or a folder of images: the part that sees frames becomes 8-bit integers, scaled by
            what these frames give. None keeps float32.

    Raises:
        FileNotFoundError: If a file, folder or name does not exist.
        ImportError: If what writes ONNX is not installed.
        ValueError: If the model cannot be exported, or the folder holds something else.
    """
    model, settings = load_with_config(config, weights, overrides, device="cpu")
    writer = GraphWriter(model, form=format, size=size, propagates=propagates)
    with export_folder(Path(output)) as folder, contextlib.ExitStack() as stack:
        first = folder
        if calibration is not None:
            first = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        writer.write(first)
        resolved = config_from_mapping(to_mapping(complete_config(settings)), str(output))
        (first / EXPORTED_CONFIG).write_text(to_yaml(resolved), encoding="utf-8")
        if calibration is not None:
            quantize_frame_step(first, folder, sample_frames(calibration, *model.input_sides))
    return ExportedModel(output)


def load_exported(folder: str | os.PathLike[str], overrides: Overrides = ()) -> tuple[ExportedModel, Config]:
    """What :func:`export_model` wrote, and the configuration of the model it was made of.

    Args:
        folder: The export.
        overrides: Options of how it is run to change; those of the model are in the graphs.

    Raises:
        FileNotFoundError: If it is no such folder, or one of its files is missing.
        ImportError: If what runs its graphs is not installed.
        ValueError: If a file is malformed, or an override is one of the model.
    """
    model = ExportedModel(folder)
    given = overrides if isinstance(overrides, Mapping) else [word.partition("=")[0] for word in overrides]
    fixed = [name for name in given if name.split(".")[0] not in ("inference", "task", "tracker")]
    if fixed:
        raise ValueError(f"{', '.join(fixed)} cannot be changed in an exported model; export {folder} again.")
    return model, read_config(Path(folder) / EXPORTED_CONFIG, overrides)


def train(
    config: str | os.PathLike[str] | Config,
    weights: str | os.PathLike[str] | None = None,
    overrides: Overrides = (),
    *,
    output: str | os.PathLike[str],
    device: str | torch.device | None = None,
    resume: bool = False,
) -> TrainingResult:
    """Train a model, or go on training one on other data.

    ::

        data = {"data.train": ["frames/::train.json"], "data.test": ["frames/::val.json"]}
        vm2f.train("demo", overrides=data, output="runs/mine")
        model = vm2f.load("runs/mine/model_final.pth")

    A script that calls this trains on several GPUs when torchrun starts it.

    Args:
        config: See :func:`load`. Where it brings weights along, training starts from them, on data that ``overrides``
            name, with the classes of the data unless they name those, too.
        weights: The checkpoint to start from; None is that of ``config``, or what its options say.
        overrides: See :func:`load`.
        output: Folder of the run: checkpoints, logs, curves and pictures.
        device: Where to train; None is a GPU if there is one.
        resume: Go on from the newest checkpoint in the folder, if there is one.

    Returns:
        How it ended, with the metrics of the last evaluation.

    Raises:
        FileNotFoundError: If a file, folder or name does not exist.
        ValueError: If a configuration, checkpoint or dataset is invalid, they do not fit, or the folder holds another
            run.
        FloatingPointError: If the loss stays infinite or NaN.
    """
    settings = training_config(config, weights, overrides, output)
    place = distributed.choose_device(device_of(overrides) if device is None else device)
    with distributed.process_group(place.type):
        return training.train(settings, Path(output), place, resume=resume)


def evaluate_model(
    model: SegmentationModel | str | os.PathLike[str],
    annotations: str | os.PathLike[str],
    images: str | os.PathLike[str],
    *,
    settings: InferenceSettings | None = None,
    task: Task | None = None,
    output: str | os.PathLike[str] | None = None,
    is_class_agnostic: bool = False,
    min_score: float = 0.3,
) -> Report:
    """Run a model on a dataset and measure what it finds.

    ::

        report = vm2f.evaluate_model("runs/mine/model_best.pth", "valid.json", "frames/")
        report.summary["AP"], report.per_class, report.groups["identity"]["HOTA"]

    Classes of the model and the dataset are matched by name.

    Args:
        model: A checkpoint of this package, a Hugging Face folder or ``"demo"``, which is run as its configuration
            says, on a GPU if there is one. Or a model in evaluation mode, on the device that it is on.
        annotations: A file in the format of YouTube-VIS, COCO or COCO panoptic.
        images: Folder that its file names are relative to.
        settings: How the model is run. None is as its configuration says, which a model that is already loaded does
            not have: then it is :meth:`InferenceSettings.published`, the protocol of published numbers.
        task: What is made of its masks. None is what its configuration says, and for a model that is already loaded
            what the annotations are of.
        output: Folder that keeps the predictions, ``results.json``, the figures (``metrics.json``) and ``report.html``,
            a page with them and with the worst and best cases. A call that was interrupted goes on from what
            is there; another model or other settings are refused. None keeps nothing.
        is_class_agnostic: Compare masks whatever their class.
        min_score: Predictions below do not count for identities (HOTA, IDF1). AP takes all.

    Returns:
        The figures, as fractions; -1 where there is nothing to measure. ``report.write(path)`` makes a JSON file.

    Raises:
        FileNotFoundError: If the file, the folder or an image does not exist.
        ValueError: If the annotations are wrong or hidden, the model and the dataset have no class in common, or
            ``output`` holds other predictions.
    """
    data = open_evaluation_set(annotations, images)
    chosen = settings or InferenceSettings.published()
    if isinstance(model, (str, os.PathLike)):
        if bundled_weights(model) is None:
            raise ValueError(f"{model} has no weights to be measured. Pass load({os.fspath(model)!r}, weights=...).")
        model, config = load_with_config(model)
        chosen = settings or build_settings(config)
        task = task or build_task(config)
    task = fitting_task(task, data)
    with contextlib.nullcontext(output) if output is not None else tempfile.TemporaryDirectory() as folder:
        results = predict_dataset(model, chosen, task, data, Path(folder), is_class_agnostic=is_class_agnostic)
        measurement = measure(task, data, results, EvaluationOptions(is_class_agnostic, min_score))
        if output is not None:
            measurement.report.write(Path(output) / "metrics.json")
            measurement.write_page(Path(output) / "report.html")
    return measurement.report


def evaluate_results(
    results: str | os.PathLike[str],
    annotations: str | os.PathLike[str],
    *,
    is_class_agnostic: bool = False,
    min_score: float = 0.3,
) -> Report:
    """Measure results that are on the disk.

    Args:
        results: ``results.json`` in the format of the annotations, or a zip that holds it.
        annotations: See :func:`evaluate_model`.
        is_class_agnostic: See :func:`evaluate_model`.
        min_score: See :func:`evaluate_model`.

    Raises:
        FileNotFoundError: If a file does not exist.
        ValueError: If the annotations are hidden, or the results are wrong or do not fit them.
    """
    data = open_evaluation_set(annotations, None)
    task = fitting_task(task_of_results(results), data)
    return measure(task, data, Path(results), EvaluationOptions(is_class_agnostic, min_score)).report


def training_config(
    config: str | os.PathLike[str] | Config,
    weights: str | os.PathLike[str] | None = None,
    overrides: Overrides = (),
    output: str | os.PathLike[str] | None = None,
) -> Config:
    """The configuration of a training with the arguments of :func:`train`."""
    bundled = bundled_weights(config)
    if bundled is None:
        settings, _ = _read_source(config, overrides, has_weights=True)
    else:
        settings, _ = _read_source(config, (), has_weights=True)
        settings = apply_overrides(settings, {**_OF_ITS_OWN_TRAINING, "training.init_weights": os.fspath(bundled)})
        settings = override(settings, overrides)
    given = {"training.init_weights": None if weights is None else local_weights(weights), "training.output": output}
    last = {name: os.fspath(path) for name, path in given.items() if path is not None}
    return apply_overrides(settings, last)


def _parameter_dtype(checkpoint: Checkpoint | None) -> torch.dtype:
    """What a checkpoint is loaded as: half precision saves space in files, not in computation."""
    weights = checkpoint.weights.values() if checkpoint is not None else ()
    floating = [tensor.dtype for tensor in weights if tensor.is_floating_point()]
    return torch.float64 if floating and set(floating) == {torch.float64} else torch.float32


def _read_source(
    config: str | os.PathLike[str] | Config, overrides: Overrides, has_weights: bool
) -> tuple[Config, Checkpoint | None]:
    """The configuration, and the checkpoint that came with it, if one did and no other is wanted."""
    if isinstance(config, Config):
        return override(config, overrides), None
    path = bundled_weights(config)
    if path is not None and (path / HUGGINGFACE_CONFIG).is_file():
        return read_config(path, overrides), None if has_weights else read_checkpoint(path)
    if path is not None:
        checkpoint = read_checkpoint(path)
        settings = config_of_checkpoint(checkpoint, str(path), overrides)
        if settings is None:
            raise ValueError(
                f"{path} has no configuration inside. Give the configuration first and this file as weights: "
                f"load('ytvis_2019/r50', weights={os.fspath(config)!r})."
            )
        return settings, None if has_weights else checkpoint
    return read_config(config, overrides), None


def bundled_weights(config: str | os.PathLike[str] | Config) -> Path | None:
    """The checkpoint that a source is, or is in its folder or the hub; None for a configuration alone."""
    if isinstance(config, Config):
        return None
    address = hub_address(config)
    if address is not None:
        return download(address)
    path = DEMO_WEIGHTS if config == DEMO_NAME else Path(config)
    return path if path.is_dir() or path.suffix in _CHECKPOINT_SUFFIXES else None
