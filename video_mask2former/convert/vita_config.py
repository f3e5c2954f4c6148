"""Configurations of VITA and GenVIS in detectron2's YAML: the keys that they have beside those of Mask2Former."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from video_mask2former.convert.config_rules import Built, Combined, Rule, Unused

REFINING, TRACKING = "Vita", "Genvis"

# Key to option of the refiner of VITA, or of the tracker of GenVIS
_OPTIONS = {
    "MODEL.VITA.NHEADS": "num_heads",
    "MODEL.VITA.DIM_FEEDFORWARD": "feedforward_dim",
    "MODEL.VITA.ENC_LAYERS": "num_encoder_layers",
    "MODEL.VITA.DEC_LAYERS": "num_decoder_layers",
    "MODEL.VITA.HIDDEN_DIM": "hidden_dim",
    "MODEL.VITA.NUM_OBJECT_QUERIES": "num_video_queries",
    "MODEL.VITA.LAST_LAYER_NUM": "num_token_layers",
}
_COMBINED = Combined(tuple(f"{part}.{name}" for part in ("refiner", "tracker") for name in _OPTIONS.values()))

VITA_KEYS: dict[str, Rule] = {
    **dict.fromkeys(_OPTIONS, _COMBINED),
    "MODEL.VITA.ENC_WINDOW_SIZE": Combined(("refiner.window",)),
    "MODEL.VITA.DROPOUT": Unused("the published module has no dropout whatever it says"),
    "MODEL.VITA.PRE_NORM": Built((False,), "layers are normalised after their residual"),
    "MODEL.VITA.ENFORCE_INPUT_PROJ": Built((True,), "tokens are projected before they are encoded"),
    "MODEL.VITA.NO_OBJECT_WEIGHT": Combined(("loss.no_object_weight",)),
    "MODEL.VITA.DEEP_SUPERVISION": Built((True,), "every layer's prediction has a loss"),
    "MODEL.VITA.MULTI_CLS_ON": Unused("the published code does not use it"),
    "MODEL.VITA.APPLY_CLS_THRES": Unused("the published code does not use it"),
    "MODEL.VITA.SIM_USE_CLIP": Built((True,), "the similarity loss compares queries with tokens"),
    "MODEL.VITA.SIM_WEIGHT": Combined(("loss.similarity_weight",)),
    "MODEL.VITA.FREEZE_DETECTOR": Combined(("training.freeze",)),
    "MODEL.VITA.TEST_RUN_CHUNK_SIZE": Combined(("inference.chunk_size",)),
    "MODEL.VITA.TEST_INTERPOLATE_CHUNK_SIZE": Unused("masks are upsampled in chunks chosen by memory"),
    "MODEL.GENVIS.LEN_CLIP_WINDOW": Combined(("tracker.clip_length",)),
}

# What the published code takes where a file does not say
_DEFAULTS: dict[str, Any] = {
    "MODEL.VITA.NHEADS": 8,
    "MODEL.VITA.DIM_FEEDFORWARD": 2048,
    "MODEL.VITA.ENC_LAYERS": 6,
    "MODEL.VITA.DEC_LAYERS": 3,
    "MODEL.VITA.HIDDEN_DIM": 256,
    "MODEL.VITA.NUM_OBJECT_QUERIES": 100,
    "MODEL.VITA.LAST_LAYER_NUM": 3,
    "MODEL.VITA.ENC_WINDOW_SIZE": 0,
    "MODEL.VITA.NO_OBJECT_WEIGHT": 0.1,
    "MODEL.VITA.SIM_WEIGHT": 0.5,
    "MODEL.VITA.FREEZE_DETECTOR": False,
    "MODEL.VITA.TEST_RUN_CHUNK_SIZE": 18,
    "MODEL.GENVIS.LEN_CLIP_WINDOW": 5,
}


def object_token_options(flat: Mapping[str, Any], origin: str) -> dict[str, Any]:
    """The options of VITA's refiner or GenVIS's tracker, and what differs in running and training them.

    Raises:
        ValueError: If two keys disagree, or GenVIS asks for windows in its encoder.
    """
    architecture = flat["MODEL.META_ARCHITECTURE"]
    if architecture not in (REFINING, TRACKING):
        return {}
    values = _DEFAULTS | {key: value for key, value in flat.items() if key in VITA_KEYS}
    weight, of_frames = values["MODEL.VITA.NO_OBJECT_WEIGHT"], flat["MODEL.MASK_FORMER.NO_OBJECT_WEIGHT"]
    if weight != of_frames:
        raise ValueError(
            f"MODEL.VITA.NO_OBJECT_WEIGHT must agree with MODEL.MASK_FORMER.NO_OBJECT_WEIGHT, {of_frames!r}, "
            f"got {weight!r} in {origin}."
        )
    options: dict[str, Any] = {
        "inference.top_k": flat["TEST.DETECTIONS_PER_IMAGE"],
        "inference.chunk_size": values["MODEL.VITA.TEST_RUN_CHUNK_SIZE"],
        "data.frame_sampling": "around_repeating",
    }
    if values["MODEL.VITA.SIM_WEIGHT"] != _DEFAULTS["MODEL.VITA.SIM_WEIGHT"]:
        options["loss.similarity_weight"] = float(values["MODEL.VITA.SIM_WEIGHT"])
    if values["MODEL.VITA.FREEZE_DETECTOR"]:
        options["training.freeze"] = ["segmenter"]
    part = "refiner" if architecture == REFINING else "tracker"
    options |= {f"{part}.{name}": values[key] for key, name in _OPTIONS.items()}
    window = values["MODEL.VITA.ENC_WINDOW_SIZE"]
    if architecture == REFINING:
        return options | {"refiner.name": "vita", "refiner.window": window, "inference.mode": "clip"}
    if window:
        raise ValueError(
            f"MODEL.VITA.ENC_WINDOW_SIZE must be 0 for GenVIS, got {window} in {origin}: a clip is one window."
        )
    length = values["MODEL.GENVIS.LEN_CLIP_WINDOW"]
    online = {"inference.mode": "online", "inference.window": length, "inference.remainder": "short"}
    return options | online | {"tracker.name": "genvis", "tracker.clip_length": length}
