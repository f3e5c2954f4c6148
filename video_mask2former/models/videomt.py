"""VidEoMT: EoMT over videos, frame by frame, each from the queries that the last one left (arXiv:2602.17807)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor, nn

from video_mask2former.models.backbones.vit import VisionTransformer, grid_of
from video_mask2former.models.segmenter import FrameOptions
from video_mask2former.models.vit_queries import (
    QueryDecoder,
    clip_output,
    starting_queries,
    tokens_of,
)
from video_mask2former.models.vit_segmenter import InnerQuerySegmenter
from video_mask2former.option_values import PositiveInt
from video_mask2former.structures import ClipFeatures, ClipOutput

try:
    from typing import Unpack
except ImportError:  # Python 3.10
    from typing_extensions import Unpack


class VidEoMT(InnerQuerySegmenter):
    """Finds and follows objects: a query is the same object on every frame.

    The queries of the next frame are a linear map of those after the last block, plus the learned ones. They are the
    whole state of a video: ``output.queries``, which ``decode`` takes as ``initial_queries`` of the next window.

    Predictions before the blocks, which only training makes, leave out that before the last block, as the published
    loss does.

    Args:
        backbone: DINOv2 or DINOv3.
        num_classes: K, without "no object".
        num_queries: Q.
        num_query_blocks: How many blocks, the last ones, hold queries.
        normalises_queries: Whether queries are normalised before they go on to the next frame, and before the earlier
            predictions; True in the published models of VIPSeg and VSPW with DINOv3.
        frame_options: See :class:`Segmenter`.
    """

    default_parts: ClassVar[Mapping[str, str]] = {"backbone": "dinov2"}
    preferred_tracker = "slots"
    criterion = "first_appearance"

    def __init__(
        self,
        backbone: VisionTransformer,
        num_classes: int,
        num_queries: PositiveInt = 200,
        num_query_blocks: PositiveInt = 3,
        normalises_queries: bool = False,
        **frame_options: Unpack[FrameOptions],
    ) -> None:
        super().__init__(backbone, num_classes, num_queries, num_query_blocks, **frame_options)
        self.normalises_queries = normalises_queries
        self.query_updater = nn.Linear(backbone.embed_dim, backbone.embed_dim)

    def decode(
        self,
        features: ClipFeatures,
        initial_queries: Tensor | None = None,
        position_scale: Tensor | float = 1.0,
    ) -> ClipOutput:
        """The blocks that hold queries, frame after frame.

        Args:
            features: From :meth:`.Segmenter.encode`.
            initial_queries: ``queries`` of the output for the frames before, ``(B, Q, C)``; None starts a video.
            position_scale: Of rotary positions, as given to :meth:`.Segmenter.encode`.
        """
        tokens, grid = tokens_of(features), grid_of(features.padded_size)
        decoder = QueryDecoder(
            self.query_blocks,
            self.backbone.norm,
            self.heads,
            norms_earlier=self.normalises_queries,
            num_earlier=len(self.query_blocks) - 1 if self.training else 0,
            recompute=self.backbone.recompute,
        )
        queries, frames = decoder.in_order(
            tokens,
            starting_queries(self.queries.weight, initial_queries, len(tokens)),
            self.backbone.rotary(grid, position_scale),
            grid,
            self._advance,
        )
        return clip_output(frames, queries, features.frame_size, features.padded_size)

    def _advance(self, left: Tensor, entered: Tensor) -> Tensor:
        if self.normalises_queries:
            left = self.backbone.norm(left)
        return self.query_updater(left) + self.queries.weight
