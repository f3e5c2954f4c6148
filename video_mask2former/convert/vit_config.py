"""Configurations of VidEoMT, PMT for videos and LVMT in detectron2's YAML, by an explicit table of keys.

They have detectron2's keys for data and training, and what is theirs under ``MODEL.BACKBONE``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from video_mask2former.convert.config_rules import Built, Combined, Option, Rule, Unused, apply_rules, nest
from video_mask2former.convert.detectron2_config import class_list, read_values, resizing
from video_mask2former.convert.detectron2_keys import DATA_KEYS, DEFAULTS, SOLVER_KEYS
from video_mask2former.convert.tracked_config import TRACKED_KEYS
from video_mask2former.messages import shortened

ARCHITECTURES = {"videomt_online": "videomt", "pmt_online": "pmt", "lvmt_online": "lvmt"}
_TASKS = {"vis": "instance", "vps": "video_panoptic", "vss": "video_semantic"}
_SIZES = {"small": (384, 12, 6), "base": (768, 12, 12), "large": (1024, 24, 16), "giant": (1536, 40, 24)}
# Weights that the base files are left with from the models of MinVIS that they were made of
_LEFT_OVER_WEIGHTS = ("detectron2://", "model_final_3c8ec9.pkl")

_UNREAD = Unused("the published code does not use it")
_NOT_IN_VIDEOS = Unused("masked attention is not used in videos")
_OWN_SCHEDULE = Unused("the learning rate has a schedule of its own: SOLVER.WARMUP_STEPS and POLY_POWER")

_UNREAD_NAMES = (
    *("DEC_LAYERS", "ENC_LAYERS", "NUM_Q", "TRACKER_BLOCKS", "REID_BRANCH", "CONTEXT_FILTER_SIZE", "MASKED"),
    *("DYNAMIC_EVAL", "NHEADS", "DROPOUT", "DIM_FEEDFORWARD", "PRE_NORM", "TRANSFORMER_IN_FEATURE"),
    *("ENFORCE_INPUT_PROJ", "WINDOW_INFERENCE", "RESIDUAL_PATH", "TEST.SEMANTIC_ON", "TEST.INSTANCE_ON"),
    *("TEST.PANOPTIC_ON", "TEST.SEM_SEG_POSTPROCESSING_BEFORE_INFERENCE", "TORCH_COMPILE_MODE"),
)
_BACKBONE: dict[str, Rule] = {
    "NAME": Built(("VidEoMT", "PMT", "LVMT"), "MODEL.META_ARCHITECTURE says which model it is"),
    "MODEL_NAME": Combined(("model.backbone",)),
    "IMG_SIZE": Combined(("model.backbone.image_size",)),
    "PATCH_SIZE": Built((16,), "patches are 16x16"),
    "NUM_CLASSES": Option("model.num_classes"),
    "NUM_OBJECT_QUERIES": Option("model.num_queries"),
    "SIZE_DIVISIBILITY": Option("model.size_divisibility"),
    "SEGMENTER_BLOCKS": Combined(("model.num_query_blocks",)),
    "NORM_QUERIES": Combined(("model.normalises_queries",)),
    "NUM_BLOCKS": Combined(("model.num_decoder_blocks",)),
    "INTERACTION_INDICES": Combined(("model.tapped_blocks",)),
    "HIDDEN_DIM": Combined(("model.backbone",)),
    "TQP_CHUNK_SIZE": Combined(("training.propagation_frames",)),
    "DEEP_SUPERVISION": Built((True,), "predictions before the blocks have a loss"),
    "DECODER_TYPE": Built(("online",), "queries propagate from frame to frame"),
    "FROZEN_ENCODER": Built((True,), "the encoder is not trained"),
    "EXTRA_BN": Built((True,), "each level has a batch norm"),
    "LATERAL_PROJECTION": Built(("mlp",), "levels go through a residual network"),
    "RESIDUAL_PROJECTION": Built((True,), "levels go through a residual network"),
    "LEVEL_SCALERS": Built((True,), "each level has a factor for each channel"),
    "DECODER_PE": Built(("rope",), "positions are rotary"),
    "NO_OBJECT_WEIGHT": Option("loss.no_object_weight", float),
    "CLASS_WEIGHT": Option("loss.class_weight", float),
    "MASK_WEIGHT": Option("loss.mask_weight", float),
    "DICE_WEIGHT": Option("loss.dice_weight", float),
    "TRAIN_NUM_POINTS": Option("loss.num_points"),
    "OVERSAMPLE_RATIO": Option("loss.oversample_ratio", float),
    "IMPORTANCE_SAMPLE_RATIO": Option("loss.importance_sample_ratio", float),
    "TORCH_COMPILE": Option("training.compile"),
    "FUSED_QKV": Unused("queries, keys and values are always made at once"),
    "TEST.TASK": Combined(("task",)),
    "TEST.MAX_NUM": Option("inference.top_k"),
    "TEST.OBJECT_MASK_THRESHOLD": Combined(("task",)),
    "TEST.OVERLAP_THRESHOLD": Combined(("task",)),
    "TEST.WINDOW_INFERENCE": Unused("frames are decoded one after the other"),
    "TEST.WINDOW_SIZE": Unused("results do not depend on it"),
    **dict.fromkeys(("MASKED_ATTN_ENABLED", "ATTN_MASK_ANNEALING_ENABLED", "START_STEPS", "END_STEPS"), _NOT_IN_VIDEOS),
    **dict.fromkeys(_UNREAD_NAMES, _UNREAD),
}
KEYS: dict[str, Rule] = {
    "MODEL.META_ARCHITECTURE": Combined(("model.name",)),
    "MODEL.WEIGHTS": Combined(("training.init_weights",)),
    "MODEL.PIXEL_MEAN": Option("model.pixel_mean"),
    "MODEL.PIXEL_STD": Option("model.pixel_std"),
    "MODEL.DEVICE": Unused("the device is chosen where the model is loaded"),
    "MODEL.MASK_ON": Unused("there are always masks"),
    **{f"MODEL.BACKBONE.{name}": rule for name, rule in _BACKBONE.items()},
    **dict.fromkeys(
        (f"MODEL.RESNETS.{name}" for name in ("DEPTH", "STEM_OUT_CHANNELS", "STRIDE_IN_1X1", "OUT_FEATURES")),
        Unused("there is no ResNet"),
    ),
    **DATA_KEYS,
    **SOLVER_KEYS,
    **{key: rule for key, rule in TRACKED_KEYS.items() if key.startswith(("DATASETS.", "INPUT."))},
    **dict.fromkeys(
        (
            f"SOLVER.{name}"
            for name in ("STEPS", "GAMMA", "LR_SCHEDULER_NAME", "WARMUP_ITERS", "WARMUP_FACTOR", "BACKBONE_MULTIPLIER")
        ),
        _OWN_SCHEDULE,
    ),
    "SOLVER.WARMUP_STEPS": Combined(("training.warmup_steps", "training.backbone_warmup_steps")),
    "SOLVER.POLY_POWER": Option("training.polynomial_power", float),
    "SOLVER.LLRD": Combined(("training.layer_decay",)),
}
_DEFAULTS: dict[str, Any] = {
    **{key: value for key, value in DEFAULTS.items() if key in KEYS},
    "MODEL.META_ARCHITECTURE": "videomt_online",
    "MODEL.BACKBONE.MODEL_NAME": "vit_large_patch14_reg4_dinov2",
    "MODEL.BACKBONE.IMG_SIZE": 640,
    "MODEL.BACKBONE.NUM_CLASSES": 133,
    "MODEL.BACKBONE.NUM_OBJECT_QUERIES": 100,
    "MODEL.BACKBONE.SIZE_DIVISIBILITY": 32,
    "MODEL.BACKBONE.SEGMENTER_BLOCKS": [20, 21, 22, 23],
    "MODEL.BACKBONE.NORM_QUERIES": False,
    "MODEL.BACKBONE.NUM_BLOCKS": 6,
    "MODEL.BACKBONE.INTERACTION_INDICES": [5, 11, 17, 23],
    "MODEL.BACKBONE.HIDDEN_DIM": 1024,
    "MODEL.BACKBONE.TQP_CHUNK_SIZE": 0,
    "MODEL.BACKBONE.NO_OBJECT_WEIGHT": 0.1,
    "MODEL.BACKBONE.CLASS_WEIGHT": 1.0,
    "MODEL.BACKBONE.MASK_WEIGHT": 20.0,
    "MODEL.BACKBONE.DICE_WEIGHT": 1.0,
    "MODEL.BACKBONE.TEST.TASK": "vis",
    "MODEL.BACKBONE.TEST.MAX_NUM": 20,
    "MODEL.BACKBONE.TEST.OBJECT_MASK_THRESHOLD": 0.0,
    "MODEL.BACKBONE.TEST.OVERLAP_THRESHOLD": 0.0,
    "INPUT.REVERSE_AGU": False,
    "SOLVER.LLRD": 0.8,
    "SOLVER.POLY_POWER": 0.9,
}


@dataclass(frozen=True)
class PublishedBackbone:
    """A vision transformer by its published name.

    Attributes:
        name: ``dinov2`` or ``dinov3``.
        embed_dim: Channels of a token.
        depth: Number of blocks.
        num_heads: Attention heads.
        has_gate: Whether the feed-forward networks are gated.
    """

    name: str
    embed_dim: int
    depth: int
    num_heads: int
    has_gate: bool

    def options(self, image_size: Any) -> dict[str, Any]:
        """As options of ``model.backbone``; ``image_size`` is that of the stored positions, where there are any."""
        options: dict[str, Any] = {
            "name": self.name,
            "embed_dim": self.embed_dim,
            "depth": self.depth,
            "num_heads": self.num_heads,
        }
        if self.has_gate:
            options["has_gate"] = True
        return options | ({"image_size": image_size} if self.name == "dinov2" else {})


def published_backbone(name: object, key: str, origin: str) -> PublishedBackbone:
    """The transformer that timm or Hugging Face has under a name.

    Raises:
        ValueError: If it is none of those that the published models are built on.
    """
    for size, (embed_dim, depth, num_heads) in _SIZES.items():
        if name == f"vit_{size}_patch14_reg4_dinov2":
            return PublishedBackbone("dinov2", embed_dim, depth, num_heads, has_gate=size == "giant")
        if size != "giant" and name == f"facebook/dinov3-vit{size[0]}16-pretrain-lvd1689m":
            return PublishedBackbone("dinov3", embed_dim, depth, num_heads, has_gate=False)
    raise ValueError(
        f"{key} must be vit_SIZE_patch14_reg4_dinov2 or facebook/dinov3-vitX16-pretrain-lvd1689m, got "
        f"{shortened(name)} in {origin}."
    )


def is_vit_config(values: Mapping[str, Any]) -> bool:
    """Whether the merged values of detectron2's YAML are those of one of these models."""
    model = values.get("MODEL")
    return isinstance(model, Mapping) and model.get("META_ARCHITECTURE") in ARCHITECTURES


def convert_vit_config(values: Mapping[str, Any], origin: str) -> dict[str, Any]:
    """Our options for those of a configuration of VidEoMT, PMT or LVMT.

    Keys that the configuration does not give have the published code's defaults.

    Args:
        values: The merged configuration.
        origin: Name of the file, for errors.

    Returns:
        Section to option to value.

    Raises:
        ValueError: If a key is unknown, or asks for something that these models do not do.
    """
    flat = read_values(values, KEYS, _DEFAULTS, origin)
    model = ARCHITECTURES[flat["MODEL.META_ARCHITECTURE"]]
    options = apply_rules(flat, KEYS, origin)
    options |= _model(model, flat, origin) | _frames(flat) | _task(flat, origin) | resizing(flat, origin)
    options |= _schedule(model, flat, origin)
    options |= class_list(flat["DATASETS.TRAIN"][-1:], options["model.num_classes"])
    weights = flat["MODEL.WEIGHTS"]
    if weights and not weights.startswith(_LEFT_OVER_WEIGHTS):
        options["training.init_weights"] = weights
    return nest(options)


def _model(model: str, flat: Mapping[str, Any], origin: str) -> dict[str, Any]:
    key = "MODEL.BACKBONE.MODEL_NAME"
    backbone = published_backbone(flat[key], key, origin)
    options: dict[str, Any] = {
        f"model.backbone.{name}": value for name, value in backbone.options(flat["MODEL.BACKBONE.IMG_SIZE"]).items()
    }
    options |= {"model.name": model, "tracker.name": "slots"}
    if model == "videomt":
        blocks = flat["MODEL.BACKBONE.SEGMENTER_BLOCKS"]
        if not blocks or blocks != list(range(backbone.depth - len(blocks), backbone.depth)):
            raise ValueError(
                f"MODEL.BACKBONE.SEGMENTER_BLOCKS must be the last of {backbone.depth} blocks, got {shortened(blocks)} "
                f"in {origin}."
            )
        return options | {
            "model.num_query_blocks": len(blocks),
            "model.normalises_queries": flat["MODEL.BACKBONE.NORM_QUERIES"],
        }
    if flat["MODEL.BACKBONE.HIDDEN_DIM"] != backbone.embed_dim:
        raise ValueError(
            f"MODEL.BACKBONE.HIDDEN_DIM must be that of the backbone, {backbone.embed_dim}, got "
            f"{shortened(flat['MODEL.BACKBONE.HIDDEN_DIM'])} in {origin}."
        )
    return options | {
        "model.tapped_blocks": flat["MODEL.BACKBONE.INTERACTION_INDICES"],
        "model.num_decoder_blocks": flat["MODEL.BACKBONE.NUM_BLOCKS"],
    }


def _frames(flat: Mapping[str, Any]) -> dict[str, Any]:
    """A range that leaves no choice asks for neighbouring frames."""
    is_contiguous = 2 * flat["INPUT.SAMPLING_FRAME_RANGE"] + 1 == flat["INPUT.SAMPLING_FRAME_NUM"]
    return {
        "data.frame_sampling": "contiguous" if is_contiguous else "around",
        "data.reverse_probability": 0.5 if is_contiguous and flat["INPUT.REVERSE_AGU"] else 0.0,
        "inference.mode": "online",
        "inference.window": 1,
    }


def _task(flat: Mapping[str, Any], origin: str) -> dict[str, Any]:
    asked = flat["MODEL.BACKBONE.TEST.TASK"]
    if asked not in _TASKS:
        raise ValueError(f"MODEL.BACKBONE.TEST.TASK must be {' or '.join(_TASKS)}, got {shortened(asked)} in {origin}.")
    options: dict[str, Any] = {"task.name": _TASKS[asked]}
    if asked == "vps":
        for name in ("object_mask_threshold", "overlap_threshold"):
            options[f"task.{name}"] = float(flat[f"MODEL.BACKBONE.TEST.{name.upper()}"])
    return options


def _schedule(model: str, flat: Mapping[str, Any], origin: str) -> dict[str, Any]:
    """The rise and fall of the learning rate; encoders that are not trained have no layer decay and no own warm-up."""
    is_trained = model == "videomt"
    given = flat.get("SOLVER.WARMUP_STEPS", [500, 1000] if is_trained else 6000)
    steps = list(given) if isinstance(given, Sequence) else [given]
    if len(steps) != (2 if is_trained else 1) or not all(type(step) is int for step in steps):
        expected = "two numbers of steps" if is_trained else "a number of steps"
        raise ValueError(f"SOLVER.WARMUP_STEPS must be {expected}, got {shortened(given)} in {origin}.")
    clips = flat["SOLVER.CLIP_GRADIENTS.ENABLED"]
    return {
        "training.schedule": "two_part",
        "training.decay_steps": [],
        "training.warmup_steps": steps[0],
        "training.backbone_warmup_steps": steps[1] if is_trained else 0,
        "training.layer_decay": float(flat["SOLVER.LLRD"]) if is_trained else 1.0,
        "training.clip_norm": flat["SOLVER.CLIP_GRADIENTS.CLIP_VALUE"] if clips else 0.0,
        "training.propagation_frames": flat["MODEL.BACKBONE.TQP_CHUNK_SIZE"] if model == "lvmt" else 0,
    }
