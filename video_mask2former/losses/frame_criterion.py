"""Losses of models that are trained frame by frame, on clips whose frames they decode by themselves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor
from typing_extensions import Unpack

from video_mask2former.losses.criterion import CriterionOptions, LossNormalizer, SetCriterion
from video_mask2former.losses.first_appearance import frame_targets, frames_as_clips, is_seen
from video_mask2former.losses.matcher import HungarianMatcher
from video_mask2former.structures import ClipOutput, ClipTarget

AbsentObjects = Literal["left_out", "empty"]


class FrameCriterion(SetCriterion):
    """Each frame of a clip is matched by itself, like an image (MinVIS, arXiv:2208.02245; CTVIS; DVIS++).

    Args:
        num_classes: K, without "no object".
        matcher: Assigns queries to instances.
        absent_objects: Objects of the clip that are not on a frame are left out there (CTVIS), or are trained with
            their class and an ``empty`` mask (DVIS++).
        options: See :class:`SetCriterion`.
    """

    def __init__(
        self,
        num_classes: int,
        matcher: HungarianMatcher,
        *,
        absent_objects: AbsentObjects = "left_out",
        **options: Unpack[CriterionOptions],
    ) -> None:
        super().__init__(num_classes, matcher, **options)
        self.absent_objects = absent_objects

    def forward(
        self, output: ClipOutput, targets: Sequence[ClipTarget], normalizer: LossNormalizer | None = None
    ) -> dict[str, Tensor]:
        """Losses named as in :meth:`SetCriterion.forward`.

        Raises:
            ValueError: If the output is not one of single frames.
        """
        self._check_targets(output, targets)
        if output.frame_class_logits is None:
            raise ValueError(
                "frames can be matched one by one only where the model decodes them so: set model.frame_by_frame=true."
            )
        return super().forward(frames_as_clips(output), self._frames(targets), normalizer)

    def normalizer(self, targets: Sequence[ClipTarget], num_queries: int) -> LossNormalizer:
        """The normaliser of some clips; every object counts on each frame that it is trained on."""
        return super().normalizer(self._frames(targets), num_queries)

    def _frames(self, targets: Sequence[ClipTarget]) -> list[ClipTarget]:
        frames = frame_targets(targets)
        if self.absent_objects == "empty":
            return frames
        return [target.select(is_seen(target)[:, 0]) for target in frames]
