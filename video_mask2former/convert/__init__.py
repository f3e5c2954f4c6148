"""Checkpoints and configurations of other code bases, by explicit tables of names."""

from __future__ import annotations

from video_mask2former.convert.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from video_mask2former.convert.detectron2_config import convert_detectron2_config, read_detectron2_yaml
from video_mask2former.convert.efficientnet_lite import package_weights_path
from video_mask2former.convert.formats import DETECTRON2, FORMATS, HUGGINGFACE, OURS, CheckpointFormat, identify_format
from video_mask2former.convert.huggingface_config import HUGGINGFACE_CONFIG, read_huggingface_config
from video_mask2former.convert.huggingface_folder import write_huggingface_folder
from video_mask2former.convert.key_map import Concatenation, Converted, Ignored, KeyMap, Rename
from video_mask2former.convert.lightning_config import convert_lightning_config, is_lightning_config
from video_mask2former.convert.report import LoadReport, convert_weights, load_weights
from video_mask2former.convert.vit_config import convert_vit_config, is_vit_config

__all__ = [
    "DETECTRON2",
    "FORMATS",
    "HUGGINGFACE",
    "HUGGINGFACE_CONFIG",
    "OURS",
    "Checkpoint",
    "CheckpointFormat",
    "Concatenation",
    "Converted",
    "Ignored",
    "KeyMap",
    "LoadReport",
    "Rename",
    "convert_detectron2_config",
    "convert_lightning_config",
    "convert_vit_config",
    "convert_weights",
    "identify_format",
    "is_lightning_config",
    "is_vit_config",
    "load_weights",
    "package_weights_path",
    "read_checkpoint",
    "read_detectron2_yaml",
    "read_huggingface_config",
    "write_checkpoint",
    "write_huggingface_folder",
]
