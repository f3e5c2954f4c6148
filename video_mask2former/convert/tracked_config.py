"""Configurations of CTVIS, DVIS and DVIS++ in detectron2's YAML: the keys that they have beside Mask2Former's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from video_mask2former.convert.config_rules import Built, Combined, Rule, Unused

CTVIS = "CTVISModel"
FRAMES = ("MinVIS", "CTMinVIS")
DVIS = ("DVIS_online", "DVIS_offline")
DVIS_PLUS = ("DVIS_Plus_online", "DVIS_Plus_offline")
ARCHITECTURES = (CTVIS, *FRAMES, *DVIS, *DVIS_PLUS)

# Decoders of these systems; all decode every frame by itself
DECODERS = (
    "CLMultiScaleMaskedTransformerDecoder",
    "VideoMultiScaleMaskedTransformerDecoder_minvis",
    "VideoMultiScaleMaskedTransformerDecoder_dvis",
    "VideoMultiScaleMaskedTransformerDecoder_dvisPlus",
)
_WITHOUT_REID = DECODERS[1:3]

_NOISES = {"none": "none", "rs": "permute", "wa": "blend", "cc": "cut"}
_TASKS = {"vis": "instance", "vps": "video_panoptic", "vss": "video_semantic"}
_MEMORIES = {
    "similarity_guided": "similarity_guided",
    "momentum": "momentum",
    "last": "last",
    "temporally_weighted_softmax": "weighted",
}
# Key of CTVIS's tracker to option of ours
_CTVIS_OPTIONS = {
    "MATCH_METRIC": "similarity",
    "MATCH_TYPE": "matching",
    "MATCH_SCORE_THR": "match_threshold",
    "INFERENCE_SELECT_THR": "select_threshold",
    "INIT_SCORE_THR": "birth_threshold",
    "MASK_NMS_THR": "nms_iou",
    "FRAME_WEIGHT": "weigh_by_age",
    "TEMPORAL_SCORE_TYPE": "class_logits",
    "MEMORY_BANK.NUM_DEAD_FRAMES": "patience",
    "MEMORY_BANK.maximum_cache": "memory_size",
}
_SHORT_TRACKS = ("NOISE_FRAME_NUM", "SUPPRESS_FRAME_NUM", "NONE_FRAME_NUM")

_DEFAULTS: dict[str, Any] = {
    "MODEL.MASK_FORMER.REID_BRANCH": True,
    "MODEL.MASK_FORMER.REID_HIDDEN_DIM": 256,
    "MODEL.MASK_FORMER.NUM_REID_HEAD_LAYERS": 3,
    "MODEL.MASK_FORMER.TEST.TASK": "vis",
    "MODEL.MASK_FORMER.TEST.MAX_NUM": 20,
    "MODEL.TRACKER.DECODER_LAYERS": 6,
    "MODEL.TRACKER.NOISE_MODE": "none",
    "MODEL.TRACKER.NOISE_RATIO": 0.5,
    "MODEL.TRACKER.USE_CL": True,
    "MODEL.TRACKER.MATCH_METRIC": "bisoftmax",
    "MODEL.TRACKER.MATCH_TYPE": "greedy",
    "MODEL.TRACKER.MATCH_SCORE_THR": 0.2,
    "MODEL.TRACKER.INFERENCE_SELECT_THR": 0.01,
    "MODEL.TRACKER.INIT_SCORE_THR": 0.01,
    "MODEL.TRACKER.MASK_NMS_THR": 0.6,
    "MODEL.TRACKER.FRAME_WEIGHT": True,
    "MODEL.TRACKER.TEMPORAL_SCORE_TYPE": "mean",
    "MODEL.TRACKER.NOISE_FRAME_NUM": 8,
    "MODEL.TRACKER.SUPPRESS_FRAME_NUM": 3,
    "MODEL.TRACKER.NONE_FRAME_NUM": 2,
    "MODEL.TRACKER.MEMORY_BANK.NUM_DEAD_FRAMES": 20,
    "MODEL.TRACKER.MEMORY_BANK.EMBED_TYPE": "similarity_guided",
    "MODEL.TRACKER.MEMORY_BANK.maximum_cache": 10,
    "MODEL.REFINER.DECODER_LAYERS": 6,
    "MODEL.REFINER.USE_CL": True,
    "MODEL.CL_PLUGIN.CL_PLUGIN_NAME": "CTCLPlugin",
    "MODEL.CL_PLUGIN.REID_WEIGHT": 2.0,
    "MODEL.CL_PLUGIN.AUX_REID_WEIGHT": 3.0,
    "MODEL.CL_PLUGIN.NUM_NEGATIVES": 99,
    "MODEL.CL_PLUGIN.ONE_DIRECTION": True,
    "MODEL.CL_PLUGIN.MOMENTUM_EMBED": True,
    "INPUT.REVERSE_AGU": False,
}
_TEST_CHUNKS = ("TO_CPU_FRAMES", "TEST_INTERPOLATE_CHUNK_SIZE", "TEST_INSTANCE_CHUNK_SIZE")

# Beginning of a key to the options that it makes
_MADE: dict[str, tuple[str, ...]] = {
    "MODEL.MASK_FORMER.TEST.TASK": ("task",),
    "MODEL.MASK_FORMER.TEST.MAX_NUM": ("inference.top_k",),
    "MODEL.MASK_FORMER.": ("model.decoder.embeddings", "model.decoder.reid_dim", "model.decoder.reid_layers"),
    "MODEL.TRACKER.DECODER_LAYERS": ("tracker.num_layers",),
    "MODEL.TRACKER.NOISE_MODE": ("tracker.noise",),
    "MODEL.TRACKER.NOISE_RATIO": ("tracker.noise_probability",),
    "MODEL.TRACKER.USE_CL": ("loss.contrast_weight",),
    "MODEL.TRACKER.": (*(f"tracker.{name}" for name in _CTVIS_OPTIONS.values()), "tracker.memory"),
    "MODEL.REFINER.USE_CL": ("loss.contrast_weight",),
    "MODEL.REFINER.": ("refiner.num_layers",),
    "MODEL.CL_PLUGIN.": ("losses",),
    "INPUT.REVERSE_AGU": ("data.reverse_probability",),
}


def _options_of(key: str) -> tuple[str, ...]:
    return next(options for beginning, options in _MADE.items() if key.startswith(beginning))


TRACKED_KEYS: dict[str, Rule] = {
    **{key: Combined(_options_of(key)) for key in _DEFAULTS},
    "MODEL.TRACKER.TRACKER_NAME": Built(("SimpleTracker",), "CTVIS has one tracker"),
    "MODEL.TRACKER.NOISE_FRAME_RATIO": Unused("the published code does not use it"),
    "MODEL.TRACKER.REID_WEIGHT": Unused("the loss has its weight from MODEL.CL_PLUGIN"),
    "MODEL.TRACKER.AUX_REID_WEIGHT": Unused("the loss has its weight from MODEL.CL_PLUGIN"),
    "MODEL.CL_PLUGIN.FUSION_LOSS": Unused("the published code does not use it"),
    "MODEL.CL_PLUGIN.BIO_CL": Unused("the published code does not use it"),
    "MODEL.CL_PLUGIN.NOISE_EMBED": Built((False,), "embeddings are not exchanged at random"),
    "DATASETS.DATASET_NEED_MAP": Unused("classes are matched by their names"),
    "DATASETS.DATASET_TYPE": Unused("the annotations say what they are"),
    "DATASETS.DATASET_TYPE_TEST": Unused("the annotations say what they are"),
    "TEST.NUM_CLIP_FRAMES": Unused("frames are encoded in chunks of inference.chunk_size"),
    **dict.fromkeys((f"TEST.{name}" for name in _TEST_CHUNKS), Unused("chunks are chosen by memory")),
}


def tracked_options(flat: Mapping[str, Any], origin: str) -> dict[str, Any]:
    """The options of trackers, refiners and re-ID heads, and what differs in running and training them.

    Raises:
        ValueError: If a value is none of those that the published code knows.
    """
    architecture = flat["MODEL.META_ARCHITECTURE"]
    if architecture not in ARCHITECTURES:
        return {}
    values = _DEFAULTS | {key: value for key, value in flat.items() if key in TRACKED_KEYS}
    options = _decoder(flat, values) | _frames(flat, values) | _answer(flat, values, origin)
    if architecture == CTVIS:
        return options | _ctvis(values, origin)
    if architecture in FRAMES:
        losses: dict[str, Any] = {}
        if architecture == "CTMinVIS":
            losses["losses"] = [_contrast(values, origin, "own")]
        losses["loss.absent_objects"] = "empty"
        return options | losses | {"model.frame_by_frame": True, "tracker.name": "minvis", "inference.top_k": 10}
    options["inference.top_k"] = values["MODEL.MASK_FORMER.TEST.MAX_NUM"]
    is_plus = architecture in DVIS_PLUS
    options |= {
        "tracker.name": "dvis_plus" if is_plus else "dvis",
        "tracker.num_layers": values["MODEL.TRACKER.DECODER_LAYERS"],
    }
    part = "TRACKER" if architecture.endswith("online") else "REFINER"
    contrasts = is_plus and values[f"MODEL.{part}.USE_CL"]
    options["loss.contrast_weight"] = 2.0 if contrasts else 0.0
    options["loss.classes_of_last_frame"] = not is_plus
    if architecture.endswith("online"):
        noise = _choice(values, "MODEL.TRACKER.NOISE_MODE", _NOISES, origin)
        probability = float(values["MODEL.TRACKER.NOISE_RATIO"])
        noises = {"tracker.noise": noise, "tracker.noise_probability": probability} if is_plus else {}
        return options | noises | {"training.freeze": ["segmenter"]}
    return options | {
        "refiner.name": "temporal",
        "refiner.num_layers": values["MODEL.REFINER.DECODER_LAYERS"],
        "training.freeze": ["segmenter", "tracker"],
    }


def _decoder(flat: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    name = flat["MODEL.MASK_FORMER.TRANSFORMER_DECODER_NAME"]
    if name in _WITHOUT_REID or not values["MODEL.MASK_FORMER.REID_BRANCH"]:
        return {}
    return {
        "model.decoder.name": "masked_attention_reid",
        "model.decoder.embeddings": "reid" if flat["MODEL.META_ARCHITECTURE"] == CTVIS else "both",
        "model.decoder.reid_dim": values["MODEL.MASK_FORMER.REID_HIDDEN_DIM"],
        "model.decoder.reid_layers": values["MODEL.MASK_FORMER.NUM_REID_HEAD_LAYERS"],
    }


def _frames(flat: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Clips of neighbours are asked for by a range that leaves no choice; only those are played backwards."""
    is_contiguous = 2 * flat["INPUT.SAMPLING_FRAME_RANGE"] + 1 == flat["INPUT.SAMPLING_FRAME_NUM"]
    if not is_contiguous:
        return {"data.frame_sampling": "around"}
    reverse = 0.5 if values["INPUT.REVERSE_AGU"] else 0.0
    return {"data.frame_sampling": "contiguous", "data.reverse_probability": reverse}


def _answer(flat: Mapping[str, Any], values: Mapping[str, Any], origin: str) -> dict[str, Any]:
    task = _choice(values, "MODEL.MASK_FORMER.TEST.TASK", _TASKS, origin)
    options: dict[str, Any] = {"task.name": task, "inference.mode": "clip"}
    if task == "video_panoptic":
        for name in ("object_mask_threshold", "overlap_threshold"):
            options[f"task.{name}"] = float(flat[f"MODEL.MASK_FORMER.TEST.{name.upper()}"])
    return options


def _ctvis(values: Mapping[str, Any], origin: str) -> dict[str, Any]:
    tracker = {name: values[f"MODEL.TRACKER.{key}"] for key, name in _CTVIS_OPTIONS.items()}
    tracker["memory"] = _choice(values, "MODEL.TRACKER.MEMORY_BANK.EMBED_TYPE", _MEMORIES, origin)
    tracker["short_tracks"] = [values[f"MODEL.TRACKER.{key}"] for key in _SHORT_TRACKS]
    return {
        "model.frame_by_frame": True,
        "tracker.name": "ctvis",
        **{f"tracker.{name}": value for name, value in tracker.items()},
        "losses": [_contrast(values, origin, "no_object") | {"pads_targets": False}],
    }


def _contrast(values: Mapping[str, Any], origin: str, absent_class: str) -> dict[str, Any]:
    plugins = {"CTCLPlugin": "consecutive", "MultiRefCLPlugin": "all"}
    pairs = _choice(values, "MODEL.CL_PLUGIN.CL_PLUGIN_NAME", plugins, origin)
    if pairs == "all" and values["MODEL.CL_PLUGIN.ONE_DIRECTION"]:
        pairs = "first"
    return {
        "name": "contrastive",
        "weight": float(values["MODEL.CL_PLUGIN.REID_WEIGHT"]),
        "cosine_weight": float(values["MODEL.CL_PLUGIN.AUX_REID_WEIGHT"]),
        "pairs": pairs,
        "num_negatives": values["MODEL.CL_PLUGIN.NUM_NEGATIVES"],
        "memory_probability": 0.5 if values["MODEL.CL_PLUGIN.MOMENTUM_EMBED"] else 0.0,
        "absent_class": absent_class,
    }


def _choice(values: Mapping[str, Any], key: str, known: Mapping[str, str], origin: str) -> str:
    value = values[key]
    if value not in known:
        raise ValueError(f"{key} must be one of {', '.join(known)}, got {value!r} in {origin}.")
    return known[value]
