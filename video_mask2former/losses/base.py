"""What every training loss offers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from video_mask2former.losses.matcher import HungarianMatcher
from video_mask2former.structures import ClipOutput, ClipTarget


class Criterion(nn.Module, ABC):
    """The loss that a kind of model is trained with.

    A custom criterion takes ``num_classes`` among the arguments of its constructor, and ``matcher`` if it matches
    queries with instances; its other arguments are options.

    Attributes:
        num_classes: K, without "no object".
        progress: Share of the training that is done, in [0, 1].
    """

    num_classes: int
    progress: float = 0.0
    # What the matcher is made of, from class_weight, mask_weight and dice_weight: costs are weighed as losses are
    matcher_type: ClassVar[type[HungarianMatcher]] = HungarianMatcher
    """What makes the matcher, of ``class_weight``, ``mask_weight`` and ``dice_weight``: costs weigh as losses do."""

    @abstractmethod
    def forward(self, output: ClipOutput, targets: Sequence[ClipTarget], normalizer: Any = None) -> dict[str, Tensor]:
        """Weighted losses by name; the total is their sum.

        Args:
            output: Of the model.
            targets: One per clip, masks at the clip's own size before padding.
            normalizer: Of the whole batch, where this is a part of it (see :meth:`normalizer`); None: this batch's own.
        """

    def begin_step(self, progress: float) -> None:
        """Told before each step of a training which share of it is done, for what changes in its course."""
        self.progress = progress

    @abstractmethod
    def normalizer(self, targets: Sequence[ClipTarget], num_queries: int) -> Any:
        """What sums over some clips are divided by; those of several parts of a batch are added and divided."""


class Loss(nn.Module, ABC):
    """A loss beside the criterion's, such as ``losses: [{name: panoptic_quality, weight: 1.0}]`` adds."""

    @abstractmethod
    def forward(self, output: ClipOutput, targets: Sequence[ClipTarget]) -> dict[str, Tensor]:
        """Weighted losses by name, means over the clips; arguments as in :meth:`Criterion.forward`."""


class CombinedCriterion(Criterion):
    """A criterion and losses beside it.

    Args:
        criterion: The loss of the model.
        losses: The others; no two may give losses of one name.
    """

    def __init__(self, criterion: Criterion, losses: Sequence[Loss]) -> None:
        super().__init__()
        self.num_classes = criterion.num_classes
        self.criterion = criterion
        self.losses = nn.ModuleList(losses)

    def forward(self, output: ClipOutput, targets: Sequence[ClipTarget], normalizer: Any = None) -> dict[str, Tensor]:
        """All losses by name; see :meth:`Criterion.forward`."""
        losses: dict[str, Tensor] = self.criterion(output, targets, normalizer)
        for extra in self.losses:
            further: dict[str, Tensor] = extra(output, targets)
            twice = sorted(losses.keys() & further.keys())
            if twice:
                raise ValueError(f"two losses have the name {twice[0]!r}. List each loss once.")
            losses = losses | further
        return losses

    def begin_step(self, progress: float) -> None:
        """Told to the criterion."""
        self.criterion.begin_step(progress)

    def normalizer(self, targets: Sequence[ClipTarget], num_queries: int) -> Any:
        """That of the criterion."""
        return self.criterion.normalizer(targets, num_queries)
