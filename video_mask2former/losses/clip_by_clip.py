"""Losses that each clip has by itself; that of a batch is their mean."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from video_mask2former.losses.base import Criterion
from video_mask2former.losses.criterion import LossNormalizer
from video_mask2former.structures import ClipOutput, ClipTarget


class ClipByClipCriterion(Criterion):
    """A criterion of which only :meth:`clip_losses` is to be written."""

    @abstractmethod
    def clip_losses(self, output: ClipOutput, target: ClipTarget) -> dict[str, Tensor]:
        """Weighted losses of one clip by name, float32 at least; always the same names, or fewer.

        Args:
            output: A batch of one clip.
            target: Of it, masks at its own size before padding.
        """

    def normalizer(self, targets: Sequence[ClipTarget], num_queries: int) -> LossNormalizer:
        """The number of clips, as both divisors."""
        return LossNormalizer(num_instances=float(len(targets)), class_weight=float(len(targets)))

    def forward(
        self, output: ClipOutput, targets: Sequence[ClipTarget], normalizer: LossNormalizer | None = None
    ) -> dict[str, Tensor]:
        """The mean over the clips of :meth:`clip_losses`, in full precision.

        Args:
            output: Of the model.
            targets: One per clip, masks at the clip's own size before padding.
            normalizer: Of the whole batch, where this is a part of it; None: this batch's own.

        Raises:
            ValueError: If there is not one target per clip.
        """
        if len(targets) != len(output.class_logits):
            raise ValueError(f"expected one target per clip, {len(output.class_logits)}, got {len(targets)}.")
        num_clips = len(targets) if normalizer is None else normalizer.num_instances
        totals: dict[str, Tensor] = {}
        with torch.autocast(output.class_logits.device.type, enabled=False):
            for index, target in enumerate(targets):
                for name, loss in self.clip_losses(output.clip(index), target).items():
                    totals[name] = totals.get(name, loss.new_zeros(())) + loss / num_clips
        return totals
