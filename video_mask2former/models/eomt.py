"""EoMT: a vision transformer whose last blocks hold queries (arXiv:2503.19108). An image is a clip with T = 1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from torch import Tensor

from video_mask2former.models.backbones.vit import VisionTransformer, grid_of
from video_mask2former.models.segmenter import FrameOptions
from video_mask2former.models.vit_queries import (
    MaskAnnealing,
    QueryDecoder,
    clip_output,
    pad_with_black,
    starting_queries,
    tokens_of,
    unfold_frames,
)
from video_mask2former.models.vit_segmenter import InnerQuerySegmenter
from video_mask2former.option_values import Count, PositiveInt
from video_mask2former.structures import ClipFeatures, ClipOutput

try:
    from typing import Unpack
except ImportError:  # Python 3.10
    from typing_extensions import Unpack


class EoMT(InnerQuerySegmenter):
    """Finds objects in each frame by itself.

    In training each block that holds queries is preceded by a prediction, which the loss sees, and restricts each query
    to the mask of that prediction with a probability that falls to 0 over the training. Evaluation has neither, so that
    nothing is masked.

    Args:
        backbone: DINOv2 or DINOv3.
        num_classes: K, without "no object".
        num_queries: Q.
        num_query_blocks: How many blocks, the last ones, hold queries.
        annealing_starts: Step of the training at which each of these blocks begins to give up masked attention; empty
            for none from the start.
        annealing_ends: Step from which on it has none.
        frame_options: See :class:`Segmenter`.
    """

    default_parts: ClassVar[Mapping[str, str]] = {"backbone": "dinov2"}

    def __init__(
        self,
        backbone: VisionTransformer,
        num_classes: int,
        num_queries: PositiveInt = 200,
        num_query_blocks: PositiveInt = 4,
        annealing_starts: tuple[Count, ...] = (),
        annealing_ends: tuple[Count, ...] = (),
        **frame_options: Unpack[FrameOptions],
    ) -> None:
        super().__init__(backbone, num_classes, num_queries, num_query_blocks, **frame_options)
        self.annealing = MaskAnnealing(num_query_blocks, annealing_starts, annealing_ends)

    def normalise_and_pad(self, frames: Tensor | Sequence[Tensor]) -> tuple[Tensor, tuple[int, int]]:
        """As :meth:`Segmenter.normalise_and_pad`, with black pixels as padding."""
        clips = list(frames)
        normalised, _ = super().normalise_and_pad(pad_with_black(clips, self.size_divisibility))
        return normalised, (max(clip.shape[-2] for clip in clips), max(clip.shape[-1] for clip in clips))

    def decode(
        self,
        features: ClipFeatures,
        initial_queries: Tensor | None = None,
        position_scale: Tensor | float = 1.0,
    ) -> ClipOutput:
        """The blocks that hold queries, each frame by itself; arguments as in the base class."""
        tokens, grid = tokens_of(features), grid_of(features.padded_size)
        num_clips, num_frames = tokens.shape[:2]
        queries = starting_queries(self.queries.weight, initial_queries, num_clips)
        decoder = QueryDecoder(
            self.query_blocks,
            self.backbone.norm,
            self.heads,
            norms_earlier=True,
            num_earlier=len(self.query_blocks) if self.training else 0,
            annealing=self.annealing,
            recompute=self.backbone.recompute,
        )
        left, predictions = decoder.frame(
            tokens.flatten(0, 1),
            queries.repeat_interleave(num_frames, dim=0),
            self.backbone.rotary(grid, position_scale),
            grid,
        )
        frames = unfold_frames(predictions, num_clips)
        return clip_output(frames, left.unflatten(0, (num_clips, -1))[:, -1], features.frame_size, features.padded_size)

    def begin_step(self, step: int) -> None:
        """Take the probabilities of masked attention that this step of a training has."""
        self.annealing.set_step(step)
