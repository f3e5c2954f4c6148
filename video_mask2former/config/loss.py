"""Options of the matcher and of the losses (M2F, arXiv:2112.01527, section 4.1)."""

from __future__ import annotations

from dataclasses import dataclass

from video_mask2former.config.schema import Section, option


@dataclass(frozen=True)
class LossConfig(Section):
    """Weights of the three terms, of the matching costs alike, and the points they are computed on."""

    class_weight: float = option(2.0, "Weight of the classification term.", at_least=0)
    mask_weight: float = option(5.0, "Weight of the mask cross-entropy.", at_least=0)
    dice_weight: float = option(5.0, "Weight of the dice term.", at_least=0)
    no_object_weight: float = option(0.1, "Weight of the class 'no object' in the cross-entropy.", at_least=0)
    num_points: int = option(12544, "Points of each mask that costs and losses are computed on.", at_least=1)
    oversample_ratio: float = option(3.0, "Candidates drawn for each point of the loss.", at_least=1)
    importance_sample_ratio: float = option(
        0.75, "Share of the points taken from the most uncertain candidates.", at_least=0, at_most=1
    )
