"""Long clips in chunks: queries go on from chunk to chunk, gradients do not (truncated back-propagation through time).

What a step keeps in memory depends on the length of a chunk, not on that of the clip.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, cast

from torch import Tensor, nn

from video_mask2former.engine.plan import Criterion
from video_mask2former.engine.precision import to_float32
from video_mask2former.structures import ClipTarget

Context = Callable[[], contextlib.AbstractContextManager[Any]]


class PropagatingCriterion(Protocol):
    """A criterion whose objects keep their queries from one part of a clip to the next."""

    def __call__(
        self, output: Any, targets: Sequence[ClipTarget], normalizer: Any, assignments: Any = None
    ) -> dict[str, Tensor]:
        """Named scalar losses of one part."""

    def assign(self, output: Any, targets: Sequence[ClipTarget], before: Any = None) -> Any:
        """The queries of all objects that have appeared so far."""


def chunk_losses(
    network: nn.Module,
    criterion: Criterion,
    frames: Sequence[Tensor],
    targets: Sequence[ClipTarget],
    normalizer: Any,
    *,
    chunk: int,
    autocast: Context,
    without_reduction: Context,
    reduces: bool,
) -> Iterator[dict[str, Tensor]]:
    """Losses of a batch of clips, chunk by chunk; the caller goes back through each before it takes the next.

    An object that has not appeared by the end of a chunk has no loss in it.

    Args:
        network: Takes the clips of a chunk and the queries to start from.
        criterion: Of models whose queries propagate.
        frames: Each clip ``(T, 3, H, W)``.
        targets: One for each clip.
        normalizer: Of the whole clips, so that the losses of the chunks add up to those of the clips.
        chunk: Frames of a chunk.
        autocast: Made anew around each pass.
        without_reduction: Made around chunks whose gradients stay on their rank, until the last one.
        reduces: Whether gradients are averaged over the ranks after the last chunk.

    Raises:
        ValueError: If the criterion does not carry assignments from one part to the next.
    """
    if not hasattr(criterion, "assign"):
        raise ValueError(
            "training.propagation_frames is for models whose queries propagate, and the losses of this model are not "
            "made for that. Set it to 0."
        )
    propagating = cast(PropagatingCriterion, criterion)
    queries, assignments = None, None
    num_frames = len(frames[0])
    for start in range(0, num_frames, chunk):
        stop = min(start + chunk, num_frames)
        with contextlib.nullcontext() if reduces and stop == num_frames else without_reduction():
            with autocast():
                output = network([clip[start:stop] for clip in frames], queries)
            output = to_float32(output)
            parts = [_cut(target, start, stop) for target in targets]
            assignments = propagating.assign(output, parts, assignments)
            yield propagating(output, parts, normalizer, assignments)
            queries = output.queries.detach()


def _cut(target: ClipTarget, start: int, stop: int) -> ClipTarget:
    """The frames ``start:stop`` of a target, whose points are drawn on their own."""
    return dataclasses.replace(
        target,
        masks=target.masks[:, start:stop],
        ignored=None if target.ignored is None else target.ignored[start:stop],
        point_seed=None if target.point_seed is None else target.point_seed + start,
    )
