"""Model and criterion from their configuration."""

from __future__ import annotations

import logging

from video_mask2former.config import BackboneConfig, Config, ModelConfig
from video_mask2former.convert import LoadReport, load_weights, package_weights_path, read_checkpoint
from video_mask2former.data.class_names import CLASS_NAMES
from video_mask2former.losses import HungarianMatcher, SetCriterion
from video_mask2former.models import (
    Backbone,
    EfficientNetLite0,
    MaskedAttentionDecoder,
    MSDeformAttnPixelDecoder,
    ResNet,
    SwinTransformer,
    VideoMask2Former,
)
from video_mask2former.recipes.class_path import import_class

logger = logging.getLogger(__name__)

_PACKAGE_WEIGHTS = "package"


def build_model(config: ModelConfig, input_sides: tuple[int, int] = (360, 1333)) -> VideoMask2Former:
    """Build a model with initial weights, in training mode.

    Args:
        config: What it is made of.
        input_sides: Short side that frames should be resized to for it, and most that the long side may have.

    Raises:
        ValueError: If ``class_list`` is no known list or does not have ``num_classes`` names.
    """
    backbone = build_backbone(config.backbone)
    pixel_decoder = MSDeformAttnPixelDecoder(
        backbone.feature_info,
        hidden_dim=config.hidden_dim,
        mask_dim=config.pixel_decoder.mask_dim,
        num_layers=config.pixel_decoder.num_layers,
        num_heads=config.num_heads,
        num_points=config.pixel_decoder.num_points,
        feedforward_dim=config.pixel_decoder.feedforward_dim,
    )
    decoder = MaskedAttentionDecoder(
        config.num_classes,
        hidden_dim=config.hidden_dim,
        mask_dim=config.pixel_decoder.mask_dim,
        num_queries=config.num_queries,
        num_layers=config.num_decoder_layers,
        num_heads=config.num_heads,
        feedforward_dim=config.feedforward_dim,
        temporal_position_encoding=config.temporal_position_encoding,
    )
    model = VideoMask2Former(
        backbone,
        pixel_decoder,
        decoder,
        pixel_mean=config.pixel_mean,
        pixel_std=config.pixel_std,
        size_divisibility=config.size_divisibility,
        class_names=class_names_of(config),
        input_sides=input_sides,
    )
    model.recompute_activations(config.activation_checkpointing)
    return model


def build_backbone(config: BackboneConfig) -> Backbone:
    """Build a backbone with initial weights.

    Raises:
        ImportError: If it is somebody's own and Python does not find its module.
        ValueError: If it is somebody's own and no backbone.
    """
    if ":" in config.name:
        return import_class(config.name, Backbone)()  # type: ignore[type-abstract]
    if config.name == "resnet":
        return ResNet(depth=config.resnet.depth)
    if config.name == "efficientnet_lite0":
        return EfficientNetLite0()
    return SwinTransformer(
        embed_dim=config.swin.embed_dim,
        depths=config.swin.depths,
        num_heads=config.swin.num_heads,
        window_size=config.swin.window_size,
        drop_path_rate=config.swin.drop_path,
    )


def build_criterion(config: Config) -> SetCriterion:
    """Build the training loss; its matcher weighs costs as it weighs losses."""
    loss = config.loss
    matcher = HungarianMatcher(loss.class_weight, loss.mask_weight, loss.dice_weight)
    return SetCriterion(
        config.model.num_classes,
        matcher,
        class_weight=loss.class_weight,
        mask_weight=loss.mask_weight,
        dice_weight=loss.dice_weight,
        no_object_weight=loss.no_object_weight,
        num_points=loss.num_points,
        oversample_ratio=loss.oversample_ratio,
        importance_sample_ratio=loss.importance_sample_ratio,
    )


def load_initial_weights(model: VideoMask2Former, config: Config) -> LoadReport | None:
    """Give a new model the weights that training starts from.

    ``training.init_weights``, a whole model, goes before ``model.backbone.weights``, an ImageNet backbone.

    Returns:
        What was loaded, None where the configuration names neither.
    """
    if config.training.init_weights is not None:
        path, allow = config.training.init_weights, config.training.allow_class_mismatch
    elif config.model.backbone.weights is not None:
        path, allow = config.model.backbone.weights, False
    else:
        logger.info("training starts from random weights: neither init_weights nor backbone.weights is given")
        return None
    checkpoint = read_checkpoint(package_weights_path() if path == _PACKAGE_WEIGHTS else path)
    report = load_weights(model, checkpoint.weights, allow_class_mismatch=allow)
    logger.info("initial weights from %s\n%s", path, report.summary())
    return report


def class_names_of(config: ModelConfig) -> tuple[str, ...]:
    """The names of the model's classes, empty where the configuration gives none.

    Raises:
        ValueError: If ``class_list`` is no known list or does not have ``num_classes`` names.
    """
    if config.class_list is None:
        return config.class_names
    if config.class_list not in CLASS_NAMES:
        raise ValueError(f"class_list must be one of {', '.join(CLASS_NAMES)}, got {config.class_list!r}.")
    names = CLASS_NAMES[config.class_list]
    if len(names) != config.num_classes:
        raise ValueError(
            f"class_list {config.class_list!r} has {len(names)} classes, got {config.num_classes = }. "
            "Set model.class_list=null and model.class_names for classes of your own."
        )
    return names
