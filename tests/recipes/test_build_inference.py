"""The inference section of a configuration to settings."""

from __future__ import annotations

from dataclasses import asdict, fields

from video_mask2former.config import InferenceConfig
from video_mask2former.recipes.inference import build_settings

OF_IMAGE_TASKS = {"task", "object_mask_threshold", "overlap_threshold"}  # read where those are predicted


def test_every_option_reaches_the_settings() -> None:
    values = {
        "mode": "online",
        "window": 5,
        "overlap": 2,
        "remainder": "short",
        "tracker": "propagate",
        "short_side": 100,
        "max_side": 200,
        "top_k": 3,
        "score_threshold": 0.25,
        "one_label_per_query": True,
        "keep_empty": False,
        "classes": ("cat",),
        "resolve_overlaps": True,
        "chunk_size": 2,
        "dtype": "bfloat16",
        "feature_dtype": "float16",
        "feature_device": "cpu",
        "video_backend": "decord",
        "compile": True,
    }
    assert values.keys() == {field.name for field in fields(InferenceConfig)} - OF_IMAGE_TASKS
    defaults = asdict(InferenceConfig())
    assert all(value != defaults[name] for name, value in values.items()), "each must tell itself from the default"
    settings = asdict(build_settings(InferenceConfig(**values)))
    settings["compile"] = settings.pop("compile_model")
    assert {name: settings[name] for name in values} == values
    assert settings.keys() == values.keys()
