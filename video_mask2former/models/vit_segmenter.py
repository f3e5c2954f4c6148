"""What EoMT and VidEoMT share: blocks of a ViT that see frames alone, then blocks with queries among the patches."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from torch import Tensor, nn

from video_mask2former.models.backbones.vit import VisionTransformer, grid_of
from video_mask2former.models.segmenter import FrameOptions, Segmenter
from video_mask2former.models.vit_queries import QueryHeads
from video_mask2former.structures import ClipFeatures, ClipOutput

try:
    from typing import Unpack
except ImportError:  # Python 3.10
    from typing_extensions import Unpack


class InnerQuerySegmenter(Segmenter):
    """A vision transformer whose last blocks hold queries.

    Args:
        backbone: DINOv2 or DINOv3.
        num_classes: K, without "no object".
        num_queries: Q.
        num_query_blocks: How many blocks, the last ones, hold queries.
        frame_options: See :class:`Segmenter`.

    Raises:
        ValueError: If the backbone has fewer blocks.
    """

    def __init__(
        self,
        backbone: VisionTransformer,
        num_classes: int,
        num_queries: int,
        num_query_blocks: int,
        **frame_options: Unpack[FrameOptions],
    ) -> None:
        super().__init__(num_classes, **frame_options)
        depth = len(backbone.blocks)
        if not 1 <= num_query_blocks <= depth:
            raise ValueError(
                f"num_query_blocks must be from 1 to the {depth} blocks of the backbone, got {num_query_blocks}."
            )
        self.backbone = backbone
        self.first_query_block = depth - num_query_blocks
        self.queries = nn.Embedding(num_queries, backbone.embed_dim)
        self.heads = QueryHeads(backbone.embed_dim, num_classes)

    @property
    def num_queries(self) -> int:
        """Q."""
        return self.queries.num_embeddings

    @property
    def query_blocks(self) -> list[nn.Module]:
        """The blocks that hold queries."""
        return list(self.backbone.blocks[self.first_query_block :])

    def forward(self, frames: Tensor | Sequence[Tensor], initial_queries: Tensor | None = None) -> ClipOutput:
        """As :meth:`Segmenter.forward`; in training with one draw of the jitter of positions for all blocks."""
        scale = self.backbone.draw_scale()
        return self.decode(self.encode(frames, scale), initial_queries, scale)

    def encode(self, frames: Tensor | Sequence[Tensor], position_scale: Tensor | float = 1.0) -> ClipFeatures:
        """The blocks before the queries come, all frames at once.

        Args:
            frames: As in :meth:`.Segmenter.forward`.
            position_scale: Factor on rotary positions.
        """
        normalised, frame_size = self.normalise_and_pad(frames)
        padded_size = (normalised.shape[3], normalised.shape[4])
        rotary = self.backbone.rotary(grid_of(padded_size), position_scale)
        tokens = self.backbone.embed(normalised.flatten(0, 1))
        return ClipFeatures(
            mask_features=None,
            levels=(),
            frame_size=frame_size,
            padded_size=padded_size,
            tokens=self.backbone.run_blocks(tokens, 0, self.first_query_block, rotary).unflatten(
                0, normalised.shape[:2]
            ),
        )

    @abstractmethod
    def decode(
        self,
        features: ClipFeatures,
        initial_queries: Tensor | None = None,
        position_scale: Tensor | float = 1.0,
    ) -> ClipOutput:
        """The blocks that hold queries.

        Args:
            features: From :meth:`.Segmenter.encode`.
            initial_queries: What the first frame starts from, ``(B, Q, C)``, in place of the learned queries.
            position_scale: As given to :meth:`.Segmenter.encode`.
        """
