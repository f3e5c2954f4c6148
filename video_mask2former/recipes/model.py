"""Model and criterion from their configuration."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from video_mask2former.config import Config, ModelConfig, config_from_mapping, to_mapping
from video_mask2former.convert import (
    Checkpoint,
    LoadReport,
    identify_format,
    load_weights,
    package_weights_path,
    read_checkpoint,
)
from video_mask2former.data.class_names import CLASS_NAMES
from video_mask2former.losses import CombinedCriterion, Criterion
from video_mask2former.models import Segmenter
from video_mask2former.recipes.free_memory import check_fits_in_memory
from video_mask2former.recipes.inference import is_learned
from video_mask2former.recipes.parts import (
    CRITERION,
    LEARNED_TRACKER,
    LOSS,
    REFINER,
    SEGMENTER,
    TASK,
    TRACKER,
    PartPlan,
    find_part,
    plan_part,
)
from video_mask2former.recipes.tracked import plan_tracked, with_tracker
from video_mask2former.refinement import Refiner
from video_mask2former.tracking import LearnedTracker

logger = logging.getLogger(__name__)

# Arguments of a segmenter and of its parts that are made here, from options of the whole model
PROVIDED = ("num_classes", "class_names", "input_sides", "feature_info")
_PACKAGE_WEIGHTS = "package"
_COST_WEIGHTS = ("class_weight", "mask_weight", "dice_weight")


def build_model(config: Config) -> Segmenter:
    """Build a model with initial weights, in training mode.

    Args:
        config: The whole configuration; ``model`` says what it is made of, ``inference`` what size of frames it sees.

    Raises:
        ImportError: If a part is a custom class and Python does not find its module.
        ValueError: If a part or an option of one is unknown or wrong, or ``class_list`` is not a known list or does not
            have ``num_classes`` names, or the model does not fit into the memory.
    """

    def build() -> Segmenter:
        segmenter: Segmenter = plan_model(config.model).build(
            num_classes=config.model.num_classes,
            class_names=class_names_of(config.model),
            input_sides=config.inference.input_sides,
        )
        return with_tracker(segmenter, config)

    check_fits_in_memory(build, "the model of this configuration")
    model = build()
    model.built_from = to_mapping(config)
    model.recompute_activations(config.model.activation_checkpointing)
    return model


def plan_model(config: ModelConfig, origin: str = "the configuration") -> PartPlan:
    """Check the options of a segmenter and of its parts, without building them."""
    mapping = {"name": config.name, **config.options}
    return plan_part(SEGMENTER, mapping, "model", provided=PROVIDED, origin=origin)


def check_parts(config: Config, origin: str) -> None:
    """Check the names and options of all parts of a configuration.

    Raises:
        ImportError: If a part is a custom class and Python does not find its module.
        ValueError: If a part or an option of one is unknown or wrong.
    """
    plan_model(config.model, origin)
    plan_tracked(config, origin)
    if config.tracker is not None and not is_learned(config.tracker):
        plan_part(TRACKER, config.tracker, "tracker", origin=origin)
    plan_part(TASK, config.task, "task", origin=origin)
    plan_criterion(config, origin)
    for index in range(len(config.losses)):
        plan_loss(config, index, origin)


def complete_config(config: Config) -> Config:
    """The same configuration, with the options that its parts have by default written out.

    What is written with a run stays true when a later version has other defaults.
    """
    parts: dict[str, Any] = {
        "model": complete_model_options(config.model),
        "task": plan_part(TASK, config.task, "task").complete(),
        "loss": plan_criterion(config).complete(),
        "losses": [plan_loss(config, index).complete() for index in range(len(config.losses))],
    }
    parts |= {name: plan.complete() for name, plan in plan_tracked(config).items()}
    if config.tracker is not None and "tracker" not in parts:
        parts["tracker"] = plan_part(TRACKER, config.tracker, "tracker").complete()
    return config_from_mapping(to_mapping(config) | parts, "this model")


def complete_model_options(config: ModelConfig) -> dict[str, Any]:
    """The model section as plain values, with the options that its parts have by default."""
    plan = plan_model(config)
    own = {name: value for name, value in to_mapping(config).items() if name not in config.options}
    return own | _with_weights(plan.complete(), config.options)


def _with_weights(options: dict[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Put back the initial weights of parts, which are not options of their constructors."""
    for name, value in given.items():
        if isinstance(value, Mapping) and value.get("weights") is not None:
            options[name] = options[name] | {"weights": value["weights"]}
    return options


def build_criterion(config: Config) -> Criterion:
    """Build the training loss, with the losses beside it; its matcher weighs costs as it weighs losses."""
    plan = plan_criterion(config)
    options = plan.complete()
    weights = {name: options[name] for name in _COST_WEIGHTS if name in options}
    criterion_type: type[Criterion] = plan.part
    provided = {"num_classes": config.model.num_classes, "matcher": criterion_type.matcher_type(**weights)}
    criterion: Criterion = plan.build(**provided)
    losses = [plan_loss(config, index).build(**provided) for index in range(len(config.losses))]
    return CombinedCriterion(criterion, losses) if losses else criterion


def plan_criterion(config: Config, origin: str = "the configuration") -> PartPlan:
    """Check the options of the criterion, which is the model's own where none is named, without building it."""
    mapping = {"name": config.loss.name or _own_criterion(config), **config.loss.options}
    return plan_part(CRITERION, mapping, "loss", provided=("num_classes", "matcher"), origin=origin)


def _own_criterion(config: Config) -> str:
    """The criterion of the stage that is trained: that of a refiner, of a learned tracker, or of the segmenter."""
    if config.refiner is not None:
        refiner: type[Refiner] = find_part(REFINER, config.refiner.name, "refiner.name")
        return refiner.criterion
    if config.tracker is not None and is_learned(config.tracker):
        tracker: type[LearnedTracker] = find_part(LEARNED_TRACKER, config.tracker.name, "tracker.name")
        return tracker.criterion
    if config.model.frame_by_frame:
        return "frame"
    segmenter: type[Segmenter] = find_part(SEGMENTER, config.model.name, "model.name")
    return segmenter.criterion


def plan_loss(config: Config, index: int, origin: str = "the configuration") -> PartPlan:
    """Check the options of a loss beside the criterion, without building it."""
    return plan_part(LOSS, config.losses[index], f"losses[{index}]", provided=("num_classes", "matcher"), origin=origin)


def load_initial_weights(model: Segmenter, config: Config) -> LoadReport | None:
    """Give a new model the weights that training starts from.

    ``training.init_weights``, a whole model, goes before ``model.backbone.weights``: a published backbone, or a whole
    model whose backbone is taken.

    Returns:
        What was loaded, None where the configuration names neither.
    """
    backbone = backbone_weights(config.model)
    if config.training.init_weights is not None:
        path, allow = config.training.init_weights, config.training.allow_class_mismatch
    elif backbone is not None:
        path, allow = backbone, False
    else:
        logger.info("training starts from random weights: neither init_weights nor backbone.weights is given")
        return None
    checkpoint = read_checkpoint(package_weights_path() if path == _PACKAGE_WEIGHTS else path)
    if config.training.init_weights is None:
        report = load_weights(model, checkpoint.weights, backbone_only=True)
    else:
        report = load_into(model, checkpoint, config, allow_class_mismatch=allow, allow_earlier_stage=True)
    logger.info("initial weights from %s\n%s", path, report.summary())
    return report


def load_into(
    model: Segmenter,
    checkpoint: Checkpoint,
    config: Config,
    *,
    allow_class_mismatch: bool = False,
    allow_partial: bool = False,
    allow_earlier_stage: bool = False,
) -> LoadReport:
    """As :func:`load_weights`, after the file of ``model.backbone.weights`` where a checkpoint builds on that.

    Args:
        model: Built as ``config`` says.
        checkpoint: For it.
        config: The whole configuration.
        allow_class_mismatch: See :func:`load_weights`.
        allow_partial: See :func:`load_weights`.
        allow_earlier_stage: See :func:`load_weights`.

    Raises:
        ValueError: If the checkpoint does not fit, or that backbone is not named.
    """
    needs_backbone = identify_format(checkpoint.weights, model.state_dict()).needs_backbone
    path = None
    if needs_backbone is not None and needs_backbone(checkpoint.weights):
        path = backbone_weights(config.model)
        if path is not None:
            logger.info("backbone from %s\n%s", path, load_weights(model, read_checkpoint(path).weights).summary())
    return load_weights(
        model,
        checkpoint.weights,
        allow_class_mismatch=allow_class_mismatch,
        allow_partial=allow_partial,
        has_backbone=path is not None,
        allow_earlier_stage=allow_earlier_stage,
    )


def backbone_weights(config: ModelConfig) -> str | None:
    """The file of ImageNet weights that ``model.backbone.weights`` names, None where there is none.

    Raises:
        ValueError: If it is not a name.
    """
    backbone = config.options.get("backbone")
    weights = backbone.get("weights") if isinstance(backbone, Mapping) else None
    if weights is not None and not isinstance(weights, str):
        raise ValueError(f"model.backbone.weights must be the name of a file, got {weights!r}.")
    return weights


def class_names_of(config: ModelConfig) -> tuple[str, ...]:
    """The names of the model's classes, empty where the configuration gives none.

    Raises:
        ValueError: If ``class_list`` is not a known list or does not have ``num_classes`` names.
    """
    if config.class_list is None:
        return config.class_names
    if config.class_list not in CLASS_NAMES:
        raise ValueError(f"class_list must be one of {', '.join(CLASS_NAMES)}, got {config.class_list!r}.")
    names = CLASS_NAMES[config.class_list]
    if len(names) != config.num_classes:
        raise ValueError(
            f"class_list {config.class_list!r} has {len(names)} classes, got {config.num_classes = }. "
            "Set model.class_list=null and model.class_names for custom classes."
        )
    return names
