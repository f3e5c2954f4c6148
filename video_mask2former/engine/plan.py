"""What a training is given: its length and manner, and what it asks of loader and criterion."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from torch import Tensor, nn

from video_mask2former.engine.optimizer import LearningRateSchedule
from video_mask2former.structures import ClipTarget


class Batch(Protocol):
    """Some clips and what is annotated in them."""

    @property
    def frames(self) -> Sequence[Tensor]:
        """Each clip ``(T, 3, H, W)``."""

    @property
    def targets(self) -> Sequence[ClipTarget]:
        """One for each clip."""

    @property
    def sources(self) -> Sequence[str]:
        """Where each clip comes from, for people."""


class Loader(Protocol):
    """Batches, and the position in their order; iterated again where it ends."""

    def __iter__(self) -> Iterator[Any]:
        """This rank's batches from the current position on."""

    def state_dict(self) -> dict[str, Any]:
        """The position after the last batch that was handed out."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go to a saved position."""


class Criterion(Protocol):
    """Losses whose sum is minimised, divided by a normaliser that parts of a batch can share."""

    def __call__(self, output: Any, targets: Sequence[ClipTarget], normalizer: Any) -> dict[str, Tensor]:
        """Named scalar losses."""

    def normalizer(self, targets: Sequence[ClipTarget], num_queries: int) -> Any:
        """The normaliser of some clips; those of parts can be added, and divided by a number."""


Evaluate = Callable[[nn.Module, int], Mapping[str, float]]


@dataclass(frozen=True)
class TrainingPlan:
    """How long and how to train.

    Attributes:
        max_steps: Optimizer steps in all.
        schedule: Of the learning rate.
        num_queries: Of the model; the normaliser of the class loss depends on it.
        accumulation_steps: Batches of the loader that make one step.
        clip_norm: Largest norm of the whole model's gradient, 0 for no limit.
        dtype: Type of autocast; "float32" is none.
        checkpoint_period: Steps between checkpoints; the last step always has one.
        evaluation_period: Steps between evaluations, 0 for the end only.
        best_metric: Name of the metric whose highest value marks the best model.
        max_skipped_steps: Steps in a row with a loss or gradient that is not finite, before training stops.
        use_compile: Whether the model is compiled for training.
        propagation_frames: Frames of the chunks that clips are trained in, 0 for whole clips (see ``truncated.py``).
    """

    max_steps: int
    schedule: LearningRateSchedule
    num_queries: int
    accumulation_steps: int = 1
    clip_norm: float = 0.01
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    checkpoint_period: int = 1000
    evaluation_period: int = 0
    best_metric: str = "AP"
    max_skipped_steps: int = 20
    use_compile: bool = False
    propagation_frames: int = 0


@dataclass(frozen=True)
class TrainingResult:
    """How a training ended.

    Attributes:
        step: Steps done.
        signal_number: The signal that stopped it, 0 where it ran to its end.
        metrics: Of the last evaluation, empty where there was none.
    """

    step: int
    signal_number: int
    metrics: Mapping[str, float]
