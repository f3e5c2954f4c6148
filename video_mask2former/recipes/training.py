"""A whole training from its configuration."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import torch

from video_mask2former import distributed
from video_mask2former.atomic import atomic_path
from video_mask2former.config import Config, TrainingConfig, config_from_mapping, to_mapping, to_yaml
from video_mask2former.convert import Checkpoint, load_weights, read_checkpoint
from video_mask2former.data.annotations import AnnotationSet
from video_mask2former.data.loader import TrainingLoader
from video_mask2former.data.mixed import MixedClips
from video_mask2former.engine import (
    CheckpointFolder,
    ExponentialMovingAverage,
    LearningRateSchedule,
    Trainer,
    TrainingLog,
    TrainingPlan,
    TrainingResult,
    freeze,
    layerwise_parameter_groups,
    log_to_file,
    parameter_groups,
    shard,
)
from video_mask2former.models import Segmenter
from video_mask2former.recipes.data import build_training_loader
from video_mask2former.recipes.model import (
    build_criterion,
    build_model,
    class_names_of,
    complete_config,
    load_initial_weights,
)
from video_mask2former.recipes.parts import TASK, find_part
from video_mask2former.recipes.source import config_of_checkpoint
from video_mask2former.recipes.validation import Validation, build_validation

logger = logging.getLogger(__name__)


def train(config: Config, output: Path, device: torch.device, *, resume: bool = False) -> TrainingResult:
    """Train, evaluate on the way, and leave checkpoints, logs, curves and pictures in a folder.

    Args:
        config: The whole configuration; it is written to ``config.yaml`` in the folder.
        output: Folder of the run.
        device: Of this process.
        resume: Go on from the newest checkpoint in the folder; start anew where there is none.

    Raises:
        ValueError: If the folder holds another run and ``resume`` is False, or parts of the configuration disagree.
        FileNotFoundError: If a dataset or a checkpoint is missing.
        FloatingPointError: If the loss stays infinite or NaN.
    """
    checkpoints = CheckpointFolder(output, config.training.keep_checkpoints)
    if not resume and checkpoints.latest() is not None:
        raise ValueError(
            f"{output} already holds {checkpoints.latest()}. Go on with --resume, or choose another --output."
        )
    with log_to_file(output / "log.txt") if distributed.is_main_process() else contextlib.nullcontext():
        state = checkpoints.load_latest() if resume else None
        trainer = build_trainer(config, output, device, has_state=state is not None)
        if state is not None:
            trainer.load_state_dict(state)
            logger.info("resuming after step %d of %d", trainer.step, config.training.max_steps)
        if distributed.is_main_process():
            with atomic_path(output / "config.yaml") as temporary:
                resolved = config_from_mapping(trainer.metadata["config"], "this run")
                temporary.write_text(to_yaml(resolved), encoding="utf-8")
        return trainer.train()


def evaluate_only(config: Config, output: Path, device: torch.device, *, use_latest: bool = False) -> dict[str, float]:
    """Measure a model on the test datasets; the figures also go to ``metrics.json`` in the output folder.

    Args:
        config: ``training.init_weights`` is the model. Where that file has a configuration inside, the model is built
            as that says.
        output: Folder of the run.
        device: Of this process.
        use_latest: Take the newest checkpoint in the folder in place of ``init_weights``.

    Raises:
        ValueError: If there are no weights to evaluate, or nothing to evaluate them on.
    """
    checkpoint, origin = _weights_to_evaluate(config, output, use_latest)
    trained = config_of_checkpoint(checkpoint, origin)
    model = build_model(config if trained is None else trained)
    validation = build_validation(config, output, model)
    if validation is None:
        raise ValueError("there is nothing to evaluate on: data.test has no dataset with annotations.")
    logger.info("weights from %s\n%s", origin, load_weights(model, checkpoint.weights).summary())
    metrics = validation(model.to(device).eval(), 0)
    logger.info("%s", "  ".join(f"{name} {value:.4f}" for name, value in metrics.items()))
    if distributed.is_main_process():
        with atomic_path(output / "metrics.json") as temporary:
            temporary.write_text(json.dumps(metrics, indent=1) + "\n", encoding="utf-8")
    return metrics


def build_trainer(config: Config, output: Path, device: torch.device, *, has_state: bool = False) -> Trainer:
    """Build everything a training needs.

    Args:
        config: The whole configuration.
        output: Folder of the run.
        device: Of this process.
        has_state: Whether a saved state follows; initial weights are not read then.
    """
    options = config.training
    torch.manual_seed(options.seed)
    loader = _build_loader(config, device)
    annotations = cast(MixedClips, loader.dataset).datasets[0].annotations
    config = with_stuff(with_classes(config, annotations.class_names), annotations)
    model = build_model(config)
    validation = build_validation(config, output, model) if options.evaluate else None
    if not has_state:
        load_initial_weights(model, config)
    model.to(device)
    if options.freeze:
        logger.info("%d parameters are frozen: %s", freeze(model, options.freeze), ", ".join(options.freeze))
    model.train()  # after freezing: whole stages that are frozen run as in evaluation
    outline = _shard(model, options) if options.sharding == "fsdp2" else None
    trainer = Trainer(
        model,
        build_criterion(config).to(device),
        build_optimizer(options, model),
        loader,
        plan=build_plan(config, model.num_queries, _best_metric(options, validation)),
        device=device,
        checkpoints=CheckpointFolder(output, options.keep_checkpoints),
        log=_build_log(options, output),
        ema=ExponentialMovingAverage(model, options.ema_decay) if options.ema_decay else None,
        evaluate=validation,
        metadata={"config": to_mapping(complete_config(config)), "class_names": list(model.class_names)},
        outline=outline,
    )
    # Initial weights are the same on every rank; dropped paths are each rank's own.
    torch.manual_seed(options.seed + 1 + distributed.rank())
    return trainer


def _shard(model: Segmenter, options: TrainingConfig) -> torch.nn.Module:
    if options.compile or options.amp_dtype == "float16":
        raise ValueError(
            "training.sharding=fsdp2 goes neither with training.compile nor with amp_dtype float16. Use bfloat16."
        )
    return shard(model)


def build_optimizer(options: TrainingConfig, model: Segmenter) -> torch.optim.AdamW:
    """AdamW over the parameter groups of the published recipes."""
    if options.layer_decay is not None:
        groups = layerwise_parameter_groups(
            model,
            learning_rate=options.learning_rate,
            weight_decay=options.weight_decay,
            layer_decay=options.layer_decay,
            full_rate_blocks=options.full_rate_blocks,
        )
        return torch.optim.AdamW([dict(group) for group in groups])
    groups = parameter_groups(
        model,
        learning_rate=options.learning_rate,
        weight_decay=options.weight_decay,
        backbone_multiplier=options.backbone_multiplier,
    )
    return torch.optim.AdamW([dict(group) for group in groups])


def build_schedule(options: TrainingConfig) -> LearningRateSchedule:
    """The course of the learning rate."""
    return LearningRateSchedule(
        options.schedule,
        options.max_steps,
        decay_steps=options.decay_steps,
        decay_factor=options.decay_factor,
        power=options.polynomial_power,
        warmup_steps=options.warmup_steps,
        warmup_factor=options.warmup_factor,
        backbone_warmup_steps=options.backbone_warmup_steps,
    )


def build_plan(config: Config, num_queries: int, best_metric: str = "AP") -> TrainingPlan:
    """How long and how to train, and which metric tells the best model."""
    options = config.training
    return TrainingPlan(
        max_steps=options.max_steps,
        schedule=build_schedule(options),
        num_queries=num_queries,
        accumulation_steps=options.accumulation_steps,
        clip_norm=options.clip_norm,
        dtype=options.amp_dtype,
        checkpoint_period=options.checkpoint_period,
        evaluation_period=options.eval_period,
        best_metric=best_metric,
        max_skipped_steps=options.max_skipped_steps,
        use_compile=options.compile,
        propagation_frames=options.propagation_frames,
    )


def with_classes(config: Config, class_names: Sequence[str]) -> Config:
    """Give the model the classes of its data, where the configuration names none."""
    if class_names_of(config.model):
        return config
    if len(class_names) != config.model.num_classes:
        logger.info("the model gets the %d classes of the data: %s", len(class_names), ", ".join(class_names))
    model = dataclasses.replace(config.model, num_classes=len(class_names), class_names=tuple(class_names))
    return dataclasses.replace(config, model=model)


def with_stuff(config: Config, annotations: AnnotationSet) -> Config:
    """Tell the task which classes of the data are stuff, where it asks and nothing else says it.

    A checkpoint carries its configuration along: a video that it is run on later has no dataset to say what is stuff.
    """
    task = find_part(TASK, config.task.name, "task.name")
    stuff = [name for name, is_thing in zip(annotations.class_names, annotations.is_thing, strict=True) if not is_thing]
    asks = "stuff" in inspect.signature(task).parameters and config.task.options.get("stuff") is None
    if not stuff or not asks or set(stuff) - set(class_names_of(config.model)):
        return config
    logger.info("stuff, as the data says: %s", ", ".join(stuff))
    return dataclasses.replace(
        config, task=dataclasses.replace(config.task, options={**config.task.options, "stuff": stuff})
    )


def _best_metric(options: TrainingConfig, validation: Validation | None) -> str:
    """The metric that tells the best model: that of the options, or the first that is measured."""
    if validation is None:
        return options.best_metric or "AP"
    if options.best_metric is None:
        return validation.metric_names[0]
    if options.best_metric not in validation.metric_names:
        raise ValueError(
            f"training.best_metric must be one of {', '.join(validation.metric_names)}, or null, which is the first; "
            f"got {options.best_metric!r}."
        )
    return options.best_metric


def _weights_to_evaluate(config: Config, output: Path, use_latest: bool) -> tuple[Checkpoint, str]:
    """A checkpoint and where it comes from; of a run with a moving average, that average."""
    if use_latest:
        state = CheckpointFolder(output).load_latest()
        if state is not None:
            weights = state["model"] if state["ema"] is None else state["ema"]["averages"]
            return Checkpoint(weights, state["config"]), f"step {state['iteration']} of {output}"
    elif config.training.init_weights is not None:
        return read_checkpoint(config.training.init_weights), config.training.init_weights
    raise ValueError("there are no weights to evaluate: give a checkpoint with --weights, or a run with --resume.")


def _build_loader(config: Config, device: torch.device) -> TrainingLoader:
    options = config.training
    parts = options.accumulation_steps * distributed.world_size()
    if options.batch_size % parts:
        raise ValueError(
            f"training.batch_size must be a multiple of accumulation steps times ranks, {options.accumulation_steps} "
            f"x {distributed.world_size()}, got {options.batch_size}."
        )
    return build_training_loader(
        config.data,
        batch_size=options.batch_size // options.accumulation_steps,
        seed=options.seed,
        rank=distributed.rank(),
        world_size=distributed.world_size(),
        pin_memory=device.type == "cuda",
        class_names=class_names_of(config.model),
    )


def _build_log(options: TrainingConfig, output: Path) -> TrainingLog:
    return TrainingLog(
        output,
        max_steps=options.max_steps,
        period=options.log_period,
        use_tensorboard=options.tensorboard,
        is_main=distributed.is_main_process(),
    )
