"""The interface that every measure of quality has: fed video by video, merged over processes, read at the end."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol, TypeVar

SampleT = TypeVar("SampleT", contravariant=True)


class Evaluator(Protocol[SampleT]):
    """Accumulates predictions beside their ground truth.

    What it returns depends only on the set of samples it was given, not on their order, nor on how they were spread
    over processes. In several processes, each feeds its own evaluator, all gather the ``state()`` of each, and
    ``merge`` takes them; samples that two processes saw (samplers pad) count once.
    """

    def reset(self) -> None:
        """Forget everything."""

    def process(self, prediction: SampleT, ground_truth: SampleT) -> None:
        """Take one sample (a video or an image) and its ground truth, and keep only what the result needs."""

    def state(self) -> Any:
        """What was kept so far: small, and can be pickled."""

    def merge(self, states: Iterable[Any]) -> None:
        """Put the samples of several states in place of what was kept so far."""

    def evaluate(self) -> dict[str, float]:
        """The figures over all samples; fractions, -1 where there is nothing to measure."""


def check_new(sample_id: int, seen: Iterable[int]) -> None:
    """Raise ValueError if a sample was processed before."""
    if sample_id in seen:
        raise ValueError(
            f"sample {sample_id} was already processed. Call reset() between evaluations; each video counts once."
        )
