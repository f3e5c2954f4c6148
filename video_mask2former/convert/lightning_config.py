"""Configurations of EoMT and of PMT for images in the YAML of Lightning's command line, by a table of keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from video_mask2former.convert.config_rules import (
    Built,
    Combined,
    Option,
    Rule,
    Unused,
    apply_rules,
    check_known,
    nest,
)
from video_mask2former.convert.vit_config import published_backbone
from video_mask2former.messages import shortened

_TABLE = "video_mask2former/convert/lightning_config.py"
_MODEL, _NETWORK, _DATA = "model.init_args", "model.init_args.network.init_args", "data.init_args"
_ENCODER = f"{_NETWORK}.encoder.init_args"
_NETWORKS = {"models.eomt.EoMT": "eomt", "models.pmt.PMT": "pmt"}
_TASKS = {
    f"training.mask_classification_{task}.MaskClassification{task.capitalize()}": task
    for task in ("panoptic", "instance", "semantic")
}


@dataclass(frozen=True)
class _Dataset:
    """What the published code knows of a dataset without being told.

    Attributes:
        class_list: Its classes.
        num_classes: How many.
        image_size: Side of training images.
        train: Where it is.
        test: Where what is measured on is.
        steps: Steps of 16 images in an epoch.
        scales: Of the resizing at random.
        changes_colors: Whether colours are changed at random.
    """

    class_list: str
    num_classes: int
    image_size: int
    train: str
    test: str
    steps: int
    scales: tuple[float, float] = (0.1, 2.0)
    changes_colors: bool = False


_ADE20K = "datasets/ADEChallengeData2016"
_DATASETS = {
    "datasets.coco_panoptic.COCOPanoptic": _Dataset(
        "coco_panoptic", 133, 640, "coco_2017_train_panoptic", "coco_2017_val_panoptic", 7391
    ),
    "datasets.coco_instance.COCOInstance": _Dataset("coco_instance", 80, 640, "coco_2017_train", "coco_2017_val", 7329),
    "datasets.ade20k_panoptic.ADE20KPanoptic": _Dataset(
        "ade20k_semantic",
        150,
        640,
        f"{_ADE20K}/images/training::{_ADE20K}/ade20k_panoptic_train.json",
        f"{_ADE20K}/images/validation::{_ADE20K}/ade20k_panoptic_val.json",
        1262,
        changes_colors=True,
    ),
    "datasets.ade20k_semantic.ADE20KSemantic": _Dataset(
        "ade20k_semantic", 150, 512, "ade20k_sem_seg_train", "ade20k_sem_seg_val", 1262, (0.5, 2.0), True
    ),
    "datasets.cityscapes_semantic.CityscapesSemantic": _Dataset(
        "cityscapes_semantic",
        19,
        1024,
        "cityscapes_fine_sem_seg_train",
        "cityscapes_fine_sem_seg_val",
        186,
        (0.5, 2.0),
        True,
    ),
}
_IMAGES_OF_A_STEP = 16
_LONGEST_SIDE = 4096  # of frames that are seen through windows; the published code has no limit

_PRECISIONS = {"16-mixed": "float16", "bf16-mixed": "bfloat16", "32-true": "float32"}


def _amp_dtype(precision: Any) -> str:
    if precision not in _PRECISIONS:
        raise ValueError(f"trainer.precision must be one of {', '.join(_PRECISIONS)}, got {shortened(precision)}.")
    return _PRECISIONS[precision]


_CHOSEN_HERE = Unused("chosen on the command line or by the trainer")
KEYS: dict[str, Rule] = {
    "trainer.max_epochs": Combined(("training.max_steps",)),
    "trainer.check_val_every_n_epoch": Combined(("training.eval_period",)),
    "trainer.devices": Combined(("training.batch_size",)),
    "trainer.gradient_clip_val": Option("training.clip_norm", float),
    "trainer.gradient_clip_algorithm": Built(("norm",), "the norm of the gradient is clipped"),
    "trainer.precision": Option("training.amp_dtype", _amp_dtype),
    **dict.fromkeys(
        (
            *("trainer.logger", "trainer.logger.class_path", "trainer.accelerator", "trainer.enable_model_summary"),
            *(f"trainer.logger.init_args.{name}" for name in ("resume", "project", "name", "save_dir", "version")),
            *("trainer.strategy", "trainer.num_nodes", "compile_disabled", "ckpt_path"),
        ),
        _CHOSEN_HERE,
    ),
    "seed_everything": Option("training.seed", int),
    "model.class_path": Combined(("task",)),
    f"{_MODEL}.attn_mask_annealing_enabled": Combined(("model.annealing_starts",)),
    f"{_MODEL}.attn_mask_annealing_start_steps": Combined(("model.annealing_starts",)),
    f"{_MODEL}.attn_mask_annealing_end_steps": Combined(("model.annealing_ends",)),
    f"{_MODEL}.lr": Option("training.learning_rate", float),
    f"{_MODEL}.llrd": Combined(("training.layer_decay",)),
    f"{_MODEL}.llrd_l2_enabled": Combined(("training.full_rate_blocks",)),
    f"{_MODEL}.lr_mult": Combined(("training.full_rate_blocks",)),
    f"{_MODEL}.weight_decay": Option("training.weight_decay", float),
    f"{_MODEL}.poly_power": Option("training.polynomial_power", float),
    f"{_MODEL}.warmup_steps": Combined(("training.warmup_steps", "training.backbone_warmup_steps")),
    f"{_MODEL}.min_lr": Unused("the cosine ends at 0, and 1e-9 is as good as that"),
    f"{_MODEL}.num_points": Option("loss.num_points"),
    f"{_MODEL}.oversample_ratio": Option("loss.oversample_ratio", float),
    f"{_MODEL}.importance_sample_ratio": Option("loss.importance_sample_ratio", float),
    f"{_MODEL}.no_object_coefficient": Option("loss.no_object_weight", float),
    f"{_MODEL}.mask_coefficient": Option("loss.mask_weight", float),
    f"{_MODEL}.dice_coefficient": Option("loss.dice_weight", float),
    f"{_MODEL}.class_coefficient": Option("loss.class_weight", float),
    f"{_MODEL}.mask_thresh": Combined(("task.object_mask_threshold",)),
    f"{_MODEL}.overlap_thresh": Combined(("task.overlap_threshold",)),
    f"{_MODEL}.ignore_idx": Unused("pixels without a label are no target"),
    f"{_MODEL}.ckpt_path": Option("training.init_weights"),
    f"{_MODEL}.load_ckpt_class_head": Unused("the class head starts anew where classes differ"),
    f"{_MODEL}.delta_weights": Unused("files of differences are known by what is in them"),
    f"{_MODEL}.network.class_path": Combined(("model.name",)),
    f"{_NETWORK}.num_q": Option("model.num_queries"),
    f"{_NETWORK}.num_blocks": Combined(("model.num_query_blocks", "model.num_decoder_blocks")),
    f"{_NETWORK}.masked_attn_enabled": Combined(("model.annealing_starts",)),
    f"{_NETWORK}.interaction_indices": Combined(("model.tapped_blocks",)),
    f"{_NETWORK}.hidden_dim": Combined(("model.backbone",)),
    f"{_NETWORK}.lateral_bn": Built((True,), "each level has a batch norm"),
    f"{_NETWORK}.lateral_projection": Built(("mlp",), "levels go through a residual network"),
    f"{_NETWORK}.residual_projection": Built((True,), "levels go through a residual network"),
    f"{_NETWORK}.fuse_decoder_qkv": Unused("queries, keys and values are always made at once"),
    f"{_NETWORK}.encoder.class_path": Built(("models.vit.ViT",), "the encoder is DINOv2 or DINOv3"),
    f"{_ENCODER}.backbone_name": Combined(("model.backbone",)),
    f"{_ENCODER}.patch_size": Built((16,), "patches are 16x16"),
    f"{_ENCODER}.frozen_encoder": Combined(("model.name",)),
    f"{_ENCODER}.ckpt_path": Unused("weights of the encoder are model.backbone.weights"),
    "data.class_path": Combined(("data.train", "data.test", "model.class_list")),
    f"{_DATA}.path": Unused("the folder of the datasets is data.root"),
    f"{_DATA}.num_workers": Option("data.num_workers"),
    f"{_DATA}.batch_size": Combined(("training.batch_size",)),
    f"{_DATA}.img_size": Combined(("model.size_divisibility", "data.crop_size", "inference.short_side")),
    f"{_DATA}.num_classes": Combined(("model.num_classes",)),
    f"{_DATA}.stuff_classes": Unused("which classes are stuff is known of each list of classes"),
    f"{_DATA}.color_jitter_enabled": Option("data.color_jitter"),
    f"{_DATA}.scale_range": Option("data.jitter_scales", list),
    f"{_DATA}.check_empty_targets": Built((True,), "images without an object are drawn again"),
}


def is_lightning_config(values: Mapping[str, Any]) -> bool:
    """Whether a mapping is a configuration of Lightning's command line: its parts have paths of classes."""
    model = values.get("model")
    return isinstance(model, Mapping) and "class_path" in model


def convert_lightning_config(values: Mapping[str, Any], origin: str) -> dict[str, Any]:
    """Our options for those of a configuration of EoMT or PMT for images.

    Keys that it does not give have the published code's defaults.

    Args:
        values: What the file holds.
        origin: Name of the file, for errors.

    Returns:
        Section to option to value.

    Raises:
        ValueError: If a key is unknown, or asks for something that these models do not do.
    """
    flat = _flatten(values)
    check_known(flat, KEYS, _TABLE, origin)
    model = _known("model.init_args.network.class_path", _NETWORKS, flat, origin)
    task = _known("model.class_path", _TASKS, flat, origin)
    dataset = _known("data.class_path", _DATASETS, flat, origin)
    side = _image_size(flat, dataset, origin)
    options = _published(model, dataset) | _network(model, flat, side, origin) | _schedule(model, flat, origin)
    options |= _answer(task, side, flat) | apply_rules(flat, KEYS, origin)
    return nest(options | _steps(dataset, flat, origin))


def _steps(dataset: _Dataset, flat: Mapping[str, Any], origin: str) -> dict[str, Any]:
    """Epochs and batches of a device as steps of all devices."""
    counts: dict[str, Any] = {
        "trainer.max_epochs": None,
        "trainer.devices": 1,
        f"{_DATA}.batch_size": _IMAGES_OF_A_STEP,
        "trainer.check_val_every_n_epoch": 1,
    }
    for key, default in counts.items():
        counts[key] = flat.get(key, default)
        if type(counts[key]) is not int or counts[key] < 1:
            raise ValueError(f"{key} must be a number above 0, got {shortened(counts[key])} in {origin}.")
    epochs, devices, batch_size, period = counts.values()
    batch_size *= devices
    steps = dataset.steps * _IMAGES_OF_A_STEP // batch_size
    options = {"training.batch_size": batch_size, "training.max_steps": epochs * steps}
    if "trainer.check_val_every_n_epoch" in flat:
        options["training.eval_period"] = period * steps
    return options


def _flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _known(key: str, known: Mapping[str, Any], flat: Mapping[str, Any], origin: str) -> Any:
    value = flat.get(key)
    if not isinstance(value, str) or value not in known:
        raise ValueError(f"{key} must be one of {', '.join(known)}, got {shortened(value)} in {origin}.")
    return known[value]


def _image_size(flat: Mapping[str, Any], dataset: _Dataset, origin: str) -> int:
    """Side of the square that images are fitted to."""
    size = flat.get(f"{_DATA}.img_size", [dataset.image_size] * 2)
    if not isinstance(size, Sequence) or len(size) != 2 or size[0] != size[1] or type(size[0]) is not int:
        raise ValueError(f"{_DATA}.img_size must be two equal sides, got {shortened(size)} in {origin}.")
    num_classes = flat.get(f"{_DATA}.num_classes", dataset.num_classes)
    if num_classes != dataset.num_classes:
        raise ValueError(
            f"{_DATA}.num_classes must be {dataset.num_classes}, as {dataset.class_list} has it, got "
            f"{shortened(num_classes)} in {origin}."
        )
    return int(size[0])


def _published(model: str, dataset: _Dataset) -> dict[str, Any]:
    """What the published code does where a file does not say."""
    return {
        "model.name": model,
        "model.num_queries": 100,
        "model.num_classes": dataset.num_classes,
        "model.class_list": dataset.class_list,
        "data.train": [dataset.train],
        "data.test": [dataset.test],
        "data.num_frames": 1,
        "data.frame_range": 0,
        "data.resize": "large_scale_jitter",
        "data.jitter_scales": list(dataset.scales),
        "data.color_jitter": dataset.changes_colors,
        "training.learning_rate": 1e-4,
        "training.weight_decay": 0.05,
        "training.polynomial_power": 0.9,
        "training.decay_steps": [],
        "training.clip_norm": 0.01,
        "training.amp_dtype": "float16",
    }


def _network(model: str, flat: Mapping[str, Any], side: int, origin: str) -> dict[str, Any]:
    key = f"{_ENCODER}.backbone_name"
    backbone = published_backbone(flat.get(key, "vit_large_patch14_reg4_dinov2"), key, origin)
    options: dict[str, Any] = {f"model.backbone.{name}": value for name, value in backbone.options(side).items()}
    is_frozen = flat.get(f"{_ENCODER}.frozen_encoder", model == "pmt")
    if is_frozen != (model == "pmt"):
        raise ValueError(
            f"{_ENCODER}.frozen_encoder must be {model == 'pmt'} for {model}, got {shortened(is_frozen)} in {origin}."
        )
    if model == "pmt":
        hidden_dim = flat.get(f"{_NETWORK}.hidden_dim")
        if hidden_dim != backbone.embed_dim:
            raise ValueError(
                f"{_NETWORK}.hidden_dim must be that of the backbone, {backbone.embed_dim}, got "
                f"{shortened(hidden_dim)} in {origin}."
            )
        options |= {
            "loss.name": "clip",
            "model.propagates_queries": False,
            "model.num_decoder_blocks": flat.get(f"{_NETWORK}.num_blocks", 6),
            "model.tapped_blocks": flat.get(f"{_NETWORK}.interaction_indices", [5, 11, 17, 23]),
        }
    else:
        options["model.num_query_blocks"] = flat.get(f"{_NETWORK}.num_blocks", 4)
    is_masked = flat.get(f"{_NETWORK}.masked_attn_enabled", True)
    if is_masked != flat.get(f"{_MODEL}.attn_mask_annealing_enabled"):
        raise ValueError(
            f"{_MODEL}.attn_mask_annealing_enabled must be {is_masked}, as masked_attn_enabled of the network is, in "
            f"{origin}: masked attention always ends before the training does."
        )
    for ours, theirs in (("starts", "start_steps"), ("ends", "end_steps")):
        options[f"model.annealing_{ours}"] = flat.get(f"{_MODEL}.attn_mask_annealing_{theirs}") if is_masked else []
    return options


def _schedule(model: str, flat: Mapping[str, Any], origin: str) -> dict[str, Any]:
    """The learning rate: EoMT's falls from block to block, PMT's encoder has none."""
    given = flat.get(f"{_MODEL}.warmup_steps", [500, 1000] if model == "eomt" else 6000)
    steps = list(given) if isinstance(given, Sequence) else [given]
    if len(steps) != (2 if model == "eomt" else 1) or not all(type(step) is int for step in steps):
        expected = "two numbers of steps" if model == "eomt" else "a number of steps"
        raise ValueError(f"{_MODEL}.warmup_steps must be {expected}, got {shortened(given)} in {origin}.")
    if model == "pmt":
        return {
            "training.layer_decay": 1.0,
            "training.schedule": "cosine",
            "training.warmup_steps": steps[0],
            "training.warmup_factor": 0.0,
        }
    # What lr_mult is meant to do is out of reach in the published code: it only has the effect of the other key.
    leaves_out = not flat.get(f"{_MODEL}.llrd_l2_enabled", True) or flat.get(f"{_MODEL}.lr_mult", 1.0) != 1.0
    return {
        "training.layer_decay": float(flat.get(f"{_MODEL}.llrd", 0.8)),
        "training.full_rate_blocks": flat.get(f"{_NETWORK}.num_blocks", 4) if leaves_out else 0,
        "training.schedule": "two_part",
        "training.warmup_steps": steps[0],
        "training.backbone_warmup_steps": steps[1],
    }


def _answer(task: str, side: int, flat: Mapping[str, Any]) -> dict[str, Any]:
    options: dict[str, Any] = {
        "task.name": task,
        "model.size_divisibility": side,
        "data.crop_size": [side, side],
        "inference.mode": "online",
        "inference.window": 1,
        "inference.top_k": 100,
        "inference.short_side": side,
        "inference.max_side": side,
    }
    if task == "semantic":  # through windows along the long side
        options |= {"inference.max_side": _LONGEST_SIDE, "inference.tile_side": side}
    if task == "panoptic":
        options["task.object_mask_threshold"] = float(flat.get(f"{_MODEL}.mask_thresh", 0.8))
        options["task.overlap_threshold"] = float(flat.get(f"{_MODEL}.overlap_thresh", 0.8))
    return options
