"""Writing a model as a folder that transformers reads."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from video_mask2former.atomic import atomic_path
from video_mask2former.convert.checkpoint import write_checkpoint
from video_mask2former.convert.huggingface import MASK2FORMER
from video_mask2former.convert.huggingface_config import (
    HUGGINGFACE_CONFIG,
    HUGGINGFACE_PREPROCESSOR,
    make_huggingface_config,
)

HUGGINGFACE_WEIGHTS = "model.safetensors"


def write_huggingface_folder(
    folder: str | os.PathLike[str], weights: Mapping[str, Tensor], options: Mapping[str, Any]
) -> None:
    """Write ``config.json``, ``preprocessor_config.json`` and ``model.safetensors``.

    Args:
        folder: Made where it does not exist; other files in it stay.
        weights: All of a model's, under our names.
        options: Section to option to value, as in :func:`make_huggingface_config`.

    Raises:
        ValueError: If Hugging Face's Mask2Former has no such parts.
    """
    config, preprocessor = make_huggingface_config(options)
    theirs = MASK2FORMER.to_theirs(weights)
    class_weights = torch.ones(options["model"]["num_classes"] + 1)
    class_weights[-1] = options["loss"]["no_object_weight"]
    theirs["criterion.empty_weight"] = class_weights
    write_checkpoint(Path(folder) / HUGGINGFACE_WEIGHTS, theirs)
    for name, values in ((HUGGINGFACE_CONFIG, config), (HUGGINGFACE_PREPROCESSOR, preprocessor)):
        with atomic_path(Path(folder) / name) as temporary:
            temporary.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
