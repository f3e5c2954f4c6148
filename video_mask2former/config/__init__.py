"""Configuration: immutable sections of documented options, read from strict YAML. Imports no other room."""

from __future__ import annotations

from video_mask2former.config.data import DataConfig
from video_mask2former.config.experiment import Config
from video_mask2former.config.inference import InferenceOptions, InferenceSettings
from video_mask2former.config.loader import Overrides, apply_overrides, config_from_mapping, load_config, to_yaml
from video_mask2former.config.loss import LossConfig
from video_mask2former.config.model import ModelConfig
from video_mask2former.config.schema import PartConfig, PartSection, Section, field_docs, option, to_mapping
from video_mask2former.config.training import TrainingConfig
from video_mask2former.option_values import Range

__all__ = [
    "Config",
    "DataConfig",
    "InferenceOptions",
    "InferenceSettings",
    "LossConfig",
    "ModelConfig",
    "Overrides",
    "PartConfig",
    "PartSection",
    "Range",
    "Section",
    "TrainingConfig",
    "apply_overrides",
    "config_from_mapping",
    "field_docs",
    "load_config",
    "option",
    "to_mapping",
    "to_yaml",
]
