"""Training: the loop, the optimizer, checkpoints and logs. Receives built objects; imports no model and no data."""

from __future__ import annotations

from video_mask2former.engine.checkpoint import CheckpointFolder, load_state, save_state
from video_mask2former.engine.curves import draw_curves
from video_mask2former.engine.ema import ExponentialMovingAverage
from video_mask2former.engine.layer_decay import layerwise_parameter_groups
from video_mask2former.engine.logging import TrainingLog, log_to_file, read_records
from video_mask2former.engine.optimizer import LearningRateSchedule, clip_gradient_norm, freeze, parameter_groups
from video_mask2former.engine.plan import TrainingPlan, TrainingResult
from video_mask2former.engine.sharding import shard
from video_mask2former.engine.trainer import Trainer

__all__ = [
    "CheckpointFolder",
    "ExponentialMovingAverage",
    "LearningRateSchedule",
    "Trainer",
    "TrainingLog",
    "TrainingPlan",
    "TrainingResult",
    "clip_gradient_norm",
    "draw_curves",
    "freeze",
    "layerwise_parameter_groups",
    "load_state",
    "log_to_file",
    "parameter_groups",
    "read_records",
    "save_state",
    "shard",
]
