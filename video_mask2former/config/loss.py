"""The training loss: which, and its options."""

from __future__ import annotations

from dataclasses import dataclass

from video_mask2former.config.schema import PartSection, option


@dataclass(frozen=True)
class LossConfig(PartSection):
    """Which criterion, and its weights; matching costs are weighed alike. Further keys are the criterion's options."""

    name: str | None = option(
        None, "The kind of criterion, or module:Class, a subclass of Criterion; null is that of the model."
    )
