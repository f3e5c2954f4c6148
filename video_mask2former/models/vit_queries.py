"""Queries among the patch tokens of a vision transformer: what EoMT, VidEoMT, PMT and LVMT have in common.

EoMT, arXiv:2503.19108: the queries go through the last blocks together with the patches, and what comes out of both
makes classes and masks. No pixel decoder, no cross-attention.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from video_mask2former.mask_logits import MaskLogits
from video_mask2former.models.layers import MapLayerNorm, run_layer
from video_mask2former.models.vit_layers import RotaryTable
from video_mask2former.structures import ClipFeatures, ClipOutput

NUM_UPSCALE_BLOCKS = 2  # from stride 16 to stride 4
_ANNEALING_POWER = 0.9


@dataclass(frozen=True)
class FramePrediction:
    """What one frame of each clip holds, at one depth of the network.

    Attributes:
        class_logits: ``(N, Q, K + 1)``.
        mask_embeddings: ``(N, Q, C)``.
        mask_features: ``(N, C, h, w)`` at stride 4 of the padded frames.
        embeddings: The queries that the heads read, ``(N, Q, C)``.
    """

    class_logits: Tensor
    mask_embeddings: Tensor
    mask_features: Tensor
    embeddings: Tensor


class QueryHeads(nn.Module):
    """Class and mask embedding of each query, and mask features from the patches.

    Args:
        dim: C.
        num_classes: K, without "no object".
    """

    def __init__(self, dim: int, num_classes: int) -> None:
        super().__init__()
        self.class_head = nn.Linear(dim, num_classes + 1)
        self.mask_head = nn.Sequential(
            nn.Linear(dim, dim), nn.GELU(), nn.Linear(dim, dim), nn.GELU(), nn.Linear(dim, dim)
        )
        self.upscale = nn.Sequential(*(UpscaleBlock(dim) for _ in range(NUM_UPSCALE_BLOCKS)))

    def forward(self, tokens: Tensor, num_queries: int, grid: tuple[int, int]) -> FramePrediction:
        """Predict from tokens ``[queries, others, patches]``, ``(N, S, C)``; ``grid`` is that of the patches."""
        queries, patches = tokens[:, :num_queries], tokens[:, -grid[0] * grid[1] :]
        return FramePrediction(
            class_logits=self.class_head(queries),
            mask_embeddings=self.mask_head(queries),
            mask_features=self.upscale(patches.transpose(1, 2).unflatten(2, grid)),
            embeddings=queries,
        )


class UpscaleBlock(nn.Module):
    """Twice the height and width: transposed convolution, GELU, depthwise convolution, LayerNorm over channels.

    Args:
        dim: C.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.enlarge = nn.ConvTranspose2d(dim, dim, kernel_size=2, stride=2)
        self.depthwise = nn.Conv2d(dim, dim, kernel_size=3, padding=1, groups=dim, bias=False)
        self.norm = MapLayerNorm(dim, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, C, h, w)`` to ``(N, C, 2 h, 2 w)``."""
        return self.norm(self.depthwise(F.gelu(self.enlarge(x))))


class MaskAnnealing(nn.Module):
    """With which probability each block still restricts each query to its mask, over the course of a training.

    Args:
        num_blocks: Blocks that hold queries.
        starts: Step at which the probability of each block begins to fall from 1; none for no masked attention at all.
        ends: Step from which on it is 0.

    Raises:
        ValueError: If there are not as many starts and ends as blocks, or an end comes before its start.
    """

    probabilities: Tensor

    def __init__(self, num_blocks: int, starts: Sequence[int], ends: Sequence[int]) -> None:
        super().__init__()
        if len(starts) != len(ends) or (starts and len(starts) != num_blocks):
            raise ValueError(
                f"annealing starts and ends must have one step for each of {num_blocks} blocks or be empty, got "
                f"{tuple(starts)} and {tuple(ends)}."
            )
        if any(start >= end for start, end in zip(starts, ends, strict=True)):
            raise ValueError(f"annealing must end after it starts, got {tuple(starts)} and {tuple(ends)}.")
        self.starts, self.ends = tuple(starts), tuple(ends)
        self._values = self._at(0)
        self.register_buffer("probabilities", torch.tensor(self._values or (0.0,) * num_blocks))

    def set_step(self, step: int) -> None:
        """Take the probabilities of one step of a training."""
        self._values = self._at(step)
        if self._values:
            self.probabilities.copy_(torch.tensor(self._values))

    def probability(self, block: int) -> float:
        """Of one block, in training; nothing is masked in evaluation."""
        return self._values[block] if self.training and self._values else 0.0

    def _at(self, step: int) -> tuple[float, ...]:
        return tuple(
            1.0 if step < start else (1 - min((step - start) / (end - start), 1.0)) ** _ANNEALING_POWER
            for start, end in zip(self.starts, self.ends, strict=True)
        )


@dataclass(frozen=True)
class QueryDecoder:
    """The blocks that hold queries, and what reads them.

    Attributes:
        blocks: B of them.
        norm: Before the last prediction.
        heads: Make the predictions.
        norms_earlier: Whether predictions before the blocks are normalised too.
        num_earlier: How many of the B predictions before the blocks are made, from the first on.
        annealing: Masked attention in training, None where there never is any; it needs all B predictions.
        recompute: Whether training recomputes activations in the backward pass.
    """

    blocks: Sequence[nn.Module]
    norm: nn.Module
    heads: QueryHeads
    norms_earlier: bool
    num_earlier: int
    annealing: MaskAnnealing | None = None
    recompute: bool = False

    def frame(
        self, tokens: Tensor, queries: Tensor, rotary: RotaryTable | None, grid: tuple[int, int]
    ) -> tuple[Tensor, list[FramePrediction]]:
        """Decode one frame of each of N clips.

        Args:
            tokens: ``[class, registers, patches]``, ``(N, S, C)``.
            queries: ``(N, Q, C)``.
            rotary: Rotations of the patches, if any.
            grid: Height and width in patches.

        Returns:
            The queries after the last block, not normalised, ``(N, Q, C)``, and the predictions, the last one last.
        """
        num_queries = queries.shape[1]
        tokens = torch.cat([queries, tokens], dim=1)
        predictions = []
        for index, block in enumerate(self.blocks):
            may_attend = None
            if index < self.num_earlier:
                read = self.norm(tokens) if self.norms_earlier else tokens
                predictions.append(self.heads(read, num_queries, grid))
            probability = 0.0 if self.annealing is None else self.annealing.probability(index)
            if probability:
                may_attend = query_attention_mask(predictions[index], grid, tokens.shape[1], probability)
            tokens = run_layer(block, tokens, rotary, may_attend, recompute=self.recompute)
        predictions.append(self.heads(self.norm(tokens), num_queries, grid))
        return tokens[:, :num_queries], predictions

    def in_order(
        self,
        tokens: Tensor,
        queries: Tensor,
        rotary: RotaryTable | None,
        grid: tuple[int, int],
        advance: Callable[[Tensor, Tensor], Tensor],
    ) -> tuple[Tensor, list[list[FramePrediction]]]:
        """Decode the frames of B clips one after the other, each from what the one before it left.

        Args:
            tokens: ``(B, T, S, C)``.
            queries: What the first frame starts from, ``(B, Q, C)``.
            rotary: Rotations of the patches, if any.
            grid: Height and width in patches.
            advance: Maps the queries after the last block and those that entered to those of the next frame.

        Returns:
            What the next frame would start from, and the predictions of each frame.
        """
        frames = []
        for frame_tokens in tokens.unbind(1):
            left, predictions = self.frame(frame_tokens, queries, rotary, grid)
            queries = advance(left, queries)
            frames.append(predictions)
        return queries, frames


def clip_output(
    frames: Sequence[Sequence[FramePrediction]],
    queries: Tensor,
    frame_size: tuple[int, int],
    padded_size: tuple[int, int],
) -> ClipOutput:
    """The predictions of T frames of B clips as one: class logits are the mean over the frames.

    Args:
        frames: Predictions of each frame, the last one last.
        queries: What the next frame would start from, ``(B, Q, C)``.
        frame_size: Height and width of the frames that went in.
        padded_size: Those after padding.
    """
    depths = []
    for predictions in zip(*frames, strict=True):
        frame_logits = torch.stack([prediction.class_logits for prediction in predictions], dim=1)
        frame_embeddings = torch.stack([prediction.embeddings for prediction in predictions], dim=1)
        depths.append(
            ClipOutput(
                class_logits=frame_logits.mean(dim=1),
                mask_logits=MaskLogits(
                    torch.stack([prediction.mask_embeddings for prediction in predictions], dim=1),
                    torch.stack([prediction.mask_features for prediction in predictions], dim=1),
                ),
                query_embeddings=frame_embeddings.mean(dim=1),
                queries=queries,
                frame_size=frame_size,
                padded_size=padded_size,
                frame_class_logits=frame_logits,
                frame_embeddings=frame_embeddings,
            )
        )
    *earlier, last = depths
    return replace(last, auxiliary=tuple(earlier))


def pad_with_black(frames: Tensor | Sequence[Tensor], divisor: int) -> list[Tensor]:
    """Clips ``(T, 3, H_i, W_i)`` with black pixels right and below, up to multiples of ``divisor``.

    The image models of EoMT and PMT see such frames; padding after normalisation, as elsewhere, is the mean colour.
    """
    return [
        F.pad(clip, (0, -clip.shape[3] % divisor, 0, -clip.shape[2] % divisor))
        if isinstance(clip, Tensor) and clip.ndim == 4
        else clip  # which is refused for what it is
        for clip in frames
    ]


def starting_queries(learned: Tensor, given: Tensor | None, num_clips: int) -> Tensor:
    """The learned queries ``(Q, C)`` for each clip, or those given, ``(B, Q, C)``.

    Raises:
        ValueError: If those given have another shape.
    """
    queries = learned.expand(num_clips, -1, -1)
    if given is None:
        return queries
    if given.shape != queries.shape:
        raise ValueError(f"initial_queries must be (B, Q, C) = {tuple(queries.shape)}, got {tuple(given.shape)}.")
    return given.to(queries.device, queries.dtype)


def tokens_of(features: ClipFeatures) -> Tensor:
    """The tokens of each frame, ``(B, T, S, C)``.

    Raises:
        ValueError: If the features are those of another kind of model.
    """
    if features.tokens is None:
        raise ValueError("features have no tokens. Decode what encode of the same model gave.")
    return features.tokens


def unfold_frames(predictions: Sequence[FramePrediction], num_clips: int) -> list[list[FramePrediction]]:
    """Predictions of ``B * T`` frames that were decoded at once, as those of each of T frames."""
    parts = [
        [field.unflatten(0, (num_clips, -1)).unbind(1) for field in vars(prediction).values()]
        for prediction in predictions
    ]
    num_frames = len(parts[0][0])
    return [[FramePrediction(*(field[index] for field in part)) for part in parts] for index in range(num_frames)]


@torch.no_grad()
def query_attention_mask(
    prediction: FramePrediction, grid: tuple[int, int], num_tokens: int, probability: float
) -> Tensor:
    """Each query sees the patches of its predicted mask only, and all that are not patches; patches see everything.

    Args:
        prediction: Made from the tokens that are about to attend.
        grid: Height and width in patches.
        num_tokens: S, queries and patches included.
        probability: Of each query to be restricted at all.

    Returns:
        True where attention is allowed, ``(N, 1, S, S)``.
    """
    mask_logits = torch.einsum("nqc,nchw->nqhw", prediction.mask_embeddings, prediction.mask_features)
    mask_logits = F.interpolate(mask_logits, size=grid, mode="bilinear", align_corners=False)
    is_inside = mask_logits.flatten(2) > 0  # (N, Q, h * w)
    if probability < 1:
        is_inside |= torch.rand(is_inside.shape[:2], device=is_inside.device)[..., None] > probability
    num_clips, num_queries, num_patches = is_inside.shape
    may_attend = torch.ones(num_clips, 1, num_tokens, num_tokens, dtype=torch.bool, device=is_inside.device)
    may_attend[:, 0, :num_queries, num_tokens - num_patches :] = is_inside
    return may_attend
