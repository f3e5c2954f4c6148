"""PMT: a frozen vision transformer and a plain mask decoder of a few more blocks (arXiv:2603.25398)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from video_mask2former.models.backbones.vit import VisionTransformer, grid_of
from video_mask2former.models.layers import SyncedBatchNorm1d
from video_mask2former.models.segmenter import FrameOptions, Segmenter
from video_mask2former.models.vit_layers import ViTBlock, rotary_table
from video_mask2former.models.vit_queries import (
    MaskAnnealing,
    QueryDecoder,
    QueryHeads,
    clip_output,
    pad_with_black,
    starting_queries,
    tokens_of,
)
from video_mask2former.option_values import Count, PositiveInt
from video_mask2former.structures import ClipFeatures, ClipOutput

try:
    from typing import Unpack
except ImportError:  # Python 3.10
    from typing_extensions import Unpack


class PMT(Segmenter):
    """Finds objects with what a frozen encoder sees, in images or, with queries that propagate, in videos.

    The encoder is never trained: it stays in evaluation mode, and no activation of it is kept. Differs from the
    published code, which jitters the rotary positions of the frozen encoder in training.

    Args:
        backbone: DINOv2 or DINOv3, frozen.
        num_classes: K, without "no object".
        num_queries: Q.
        tapped_blocks: Indices of the blocks of the encoder after which its tokens are taken.
        num_decoder_blocks: Blocks of the decoder.
        propagates_queries: For videos: a query is the same object on every frame, and the next frame starts from a
            linear map of the queries that the last one left, plus the learned ones. False: each frame by itself.
        annealing_starts: Step of the training at which each block of the decoder begins to give up masked attention,
            as in EoMT; not with queries that propagate.
        annealing_ends: Step from which on it has none.
        frame_options: See :class:`Segmenter`.
    """

    default_parts: ClassVar[Mapping[str, str]] = {"backbone": "dinov3"}
    preferred_tracker = "slots"
    criterion = "first_appearance"

    def __init__(
        self,
        backbone: VisionTransformer,
        num_classes: int,
        num_queries: PositiveInt = 200,
        tapped_blocks: tuple[Count, ...] = (5, 11, 17, 23),
        num_decoder_blocks: PositiveInt = 6,
        propagates_queries: bool = True,
        annealing_starts: tuple[Count, ...] = (),
        annealing_ends: tuple[Count, ...] = (),
        **frame_options: Unpack[FrameOptions],
    ) -> None:
        super().__init__(num_classes, **frame_options)
        if propagates_queries and annealing_starts:
            raise ValueError("masked attention is for images: annealing_starts needs propagates_queries=False.")
        self.backbone = backbone.requires_grad_(False).eval()
        dim = backbone.embed_dim
        self.laterals = LateralSum(dim, tapped_blocks, len(backbone.blocks))
        self.queries = nn.Embedding(num_queries, dim)
        self.blocks = nn.ModuleList(
            ViTBlock(dim, backbone.num_heads, dim, norm_eps=1e-5, has_key_bias=False, initial_scale=1.0)
            for _ in range(num_decoder_blocks)
        )
        self.norm = nn.LayerNorm(dim, eps=1e-5)
        self.heads = QueryHeads(dim, num_classes)
        self.propagates_queries = propagates_queries
        self.query_updater: nn.Module | None = self._make_updater(dim) if propagates_queries else None
        self.annealing = MaskAnnealing(num_decoder_blocks, annealing_starts, annealing_ends)
        self.recompute = False

    @property
    def num_queries(self) -> int:
        """Q."""
        return self.queries.num_embeddings

    def train(self, mode: bool = True) -> PMT:
        """Training mode for everything but the encoder."""
        super().train(mode)
        self.backbone.eval()
        return self

    def normalise_and_pad(self, frames: Tensor | Sequence[Tensor]) -> tuple[Tensor, tuple[int, int]]:
        """As :meth:`Segmenter.normalise_and_pad`; images are padded with black pixels."""
        if self.propagates_queries:
            return super().normalise_and_pad(frames)
        clips = list(frames)
        normalised, _ = super().normalise_and_pad(pad_with_black(clips, self.size_divisibility))
        return normalised, (max(clip.shape[-2] for clip in clips), max(clip.shape[-1] for clip in clips))

    def encode(self, frames: Tensor | Sequence[Tensor]) -> ClipFeatures:
        """The encoder, and the sum of its levels; arguments as in :meth:`.Segmenter.forward`."""
        normalised, frame_size = self.normalise_and_pad(frames)
        padded_size = (normalised.shape[3], normalised.shape[4])
        with torch.no_grad():
            taps = self._taps(normalised.flatten(0, 1), grid_of(padded_size))
        return ClipFeatures(
            mask_features=None,
            levels=(),
            frame_size=frame_size,
            padded_size=padded_size,
            tokens=self.laterals(taps).unflatten(0, normalised.shape[:2]),
        )

    def decode(self, features: ClipFeatures, initial_queries: Tensor | None = None) -> ClipOutput:
        """The plain mask decoder, frame after frame.

        Args:
            features: From :meth:`.Segmenter.encode`.
            initial_queries: Where queries propagate, ``queries`` of the output for the frames before, ``(B, Q, C)``.
        """
        tokens, grid = tokens_of(features), grid_of(features.padded_size)
        num_blocks = len(self.blocks)
        num_earlier = num_blocks - 1 if self.propagates_queries else num_blocks
        decoder = QueryDecoder(
            list(self.blocks),
            self.norm,
            self.heads,
            norms_earlier=not self.propagates_queries,
            num_earlier=num_earlier if self.training else 0,
            annealing=self.annealing,
            recompute=self.recompute,
        )
        head_dim = self.backbone.embed_dim // self.backbone.num_heads
        queries, frames = decoder.in_order(
            tokens,
            starting_queries(self.queries.weight, initial_queries, len(tokens)),
            rotary_table(grid, head_dim, device=tokens.device),
            grid,
            self._advance,
        )
        return clip_output(frames, queries, features.frame_size, features.padded_size)

    def begin_step(self, step: int) -> None:
        """Take the probabilities of masked attention that this step of a training has."""
        self.annealing.set_step(step)

    def _make_updater(self, dim: int) -> nn.Module:
        return nn.Linear(dim, dim)

    def _advance(self, left: Tensor, entered: Tensor) -> Tensor:
        """What the next frame starts from."""
        if self.query_updater is None:
            return entered
        updated: Tensor = self.query_updater(left)
        return updated + self.queries.weight

    def _taps(self, frames: Tensor, grid: tuple[int, int]) -> list[Tensor]:
        """Normalised tokens after each of the tapped blocks, ``(N, S, C)`` each."""
        rotary = self.backbone.rotary(grid)
        tokens, done, taps = self.backbone.embed(frames), 0, []
        for index in self.laterals.tapped_blocks:
            tokens = self.backbone.run_blocks(tokens, done, index + 1, rotary)
            done = index + 1
            taps.append(self.backbone.norm(tokens))
        return taps


class LateralSum(nn.Module):
    """Levels of a frozen encoder to one: a synced batch norm, a residual network and a scale for each, then their sum.

    Args:
        dim: C.
        tapped_blocks: Indices of the blocks that the levels come from, rising.
        depth: How many blocks there are.

    Raises:
        ValueError: If the indices do not rise, or there are no such blocks.
    """

    def __init__(self, dim: int, tapped_blocks: Sequence[int], depth: int) -> None:
        super().__init__()
        taps = tuple(tapped_blocks)
        if not taps or list(taps) != sorted(set(taps)) or not 0 <= taps[0] <= taps[-1] < depth:
            raise ValueError(f"tapped_blocks must rise and be indices of the {depth} blocks, got {taps}.")
        self.tapped_blocks = taps
        self.batch_norms = nn.ModuleList(SyncedBatchNorm1d(dim) for _ in taps)
        self.networks = nn.ModuleList(
            nn.Sequential(nn.Linear(dim, dim // 2), nn.GELU(), nn.Linear(dim // 2, dim)) for _ in taps
        )
        self.scales = nn.ParameterList(nn.Parameter(torch.ones(dim)) for _ in taps)

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """Map tokens of each level, ``(N, S, C)`` each, to ``(N, S, C)``."""
        total = torch.zeros_like(levels[0])
        for level, norm, network, scale in zip(levels, self.batch_norms, self.networks, self.scales, strict=True):
            level = norm(level.flatten(0, 1)).unflatten(0, level.shape[:2])
            total = total + scale * (level + network(level))
        return total
