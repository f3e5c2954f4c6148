"""A whole configuration: one section for each part of the work."""

# ruff: noqa: RUF009 (option() makes a dataclass field)
from __future__ import annotations

from dataclasses import dataclass

from video_mask2former.config.data import DataConfig
from video_mask2former.config.inference import DEFAULT_SIDES, InferenceSettings
from video_mask2former.config.loss import LossConfig
from video_mask2former.config.model import ModelConfig
from video_mask2former.config.schema import PartConfig, Section, option
from video_mask2former.config.training import TrainingConfig


@dataclass(frozen=True)
class Config(Section):
    """Everything that a YAML file can say."""

    model: ModelConfig = option(ModelConfig(), "What is built.")
    tracker: PartConfig | None = option(
        None,
        "What gives objects their ids across windows: query (similarity of queries), overlap (masks on shared frames), "
        "motion (similarity, and boxes where they are expected), "
        "propagate (queries that start the next window), minvis (the published rule), bytetrack and others on "
        "boxes, a learned one, or module:Class; null is overlap where windows overlap, else query.",
    )
    refiner: PartConfig | None = option(None, "What looks at the whole video afterwards; null is nothing.")
    task: PartConfig = option(PartConfig("instance"), "What is made of the masks, and how it is measured.")
    losses: tuple[PartConfig, ...] = option((), "Losses beside that of the matched masks, each with its weight.")
    loss: LossConfig = option(LossConfig(), "Matcher and losses.")
    data: DataConfig = option(DataConfig(), "Datasets, frame sampling and transforms.")
    training: TrainingConfig = option(TrainingConfig(), "The training recipe.")
    inference: InferenceSettings = option(
        InferenceSettings.published(short_side=DEFAULT_SIDES[0], max_side=DEFAULT_SIDES[1]), "How the model is run."
    )
