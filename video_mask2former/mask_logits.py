"""Mask logits kept as the two factors of their product, and evaluated only where asked.

A mask logit is the dot product of a query's mask embedding with the mask feature of a pixel. Resizing and sampling
are linear in the features, so they commute with that product: the features can be resized or sampled once, for all
queries, and only what is asked for is ever multiplied out. The result is exact.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True, repr=False)
class MaskLogits:
    """Mask logits ``(B, Q, T, h, w)`` in factored form.

    Attributes:
        embeddings: Mask embedding of each query: one for the whole clip, ``(B, Q, C)``, or one for each of its frames,
            ``(B, T, Q, C)``.
        features: Mask features of each pixel, ``(B, T, C, h, w)``.
    """

    embeddings: Tensor
    features: Tensor

    def __post_init__(self) -> None:
        if self.embeddings.ndim not in (3, 4):
            raise ValueError(f"embeddings must be (B, Q, C) or (B, T, Q, C), got {tuple(self.embeddings.shape)}.")
        batch, channels = self.embeddings.shape[0], self.embeddings.shape[-1]
        if self.features.ndim != 5 or self.features.shape[0] != batch or self.features.shape[2] != channels:
            raise ValueError(
                f"features must be (B, T, C, h, w) with B = {batch} and C = {channels} as in embeddings, "
                f"got {tuple(self.features.shape)}."
            )
        if self.is_per_frame and self.embeddings.shape[1] != self.features.shape[1]:
            raise ValueError(
                f"embeddings (B, T, Q, C) must have the T = {self.features.shape[1]} of the features, "
                f"got {tuple(self.embeddings.shape)}."
            )

    def __repr__(self) -> str:
        dtype = str(self.features.dtype).removeprefix("torch.")
        return f"MaskLogits({self.shape} {dtype}, an embedding per {'frame' if self.is_per_frame else 'clip'})"

    @classmethod
    def from_dense(cls, logits: Tensor) -> MaskLogits:
        """Wrap logits that were already multiplied out, ``(B, Q, T, h, w)``."""
        if logits.ndim != 5:
            raise ValueError(f"logits must be (B, Q, T, h, w), got {tuple(logits.shape)}.")
        identity = torch.eye(logits.shape[1], dtype=logits.dtype, device=logits.device)
        return cls(identity.expand(logits.shape[0], -1, -1), logits.transpose(1, 2))

    @property
    def is_per_frame(self) -> bool:
        """Whether a query has an embedding for each frame, rather than one for the clip."""
        return self.embeddings.ndim == 4

    @property
    def num_queries(self) -> int:
        """Q."""
        return self.embeddings.shape[-2]

    @property
    def shape(self) -> tuple[int, int, int, int, int]:
        """``(B, Q, T, h, w)`` of the dense form."""
        batch, num_frames, _, height, width = self.features.shape
        return batch, self.num_queries, num_frames, height, width

    def clip(self, index: int) -> MaskLogits:
        """One clip of the batch, as a batch of one."""
        return MaskLogits(self.embeddings[index : index + 1], self.features[index : index + 1])

    def frames(self, start: int, stop: int) -> MaskLogits:
        """The frames ``start:stop`` of every clip."""
        embeddings = self.embeddings[:, start:stop] if self.is_per_frame else self.embeddings
        return MaskLogits(embeddings, self.features[:, start:stop])

    def select(self, query_indices: Tensor) -> MaskLogits:
        """Some of the queries, in the order given.

        Args:
            query_indices: ``(N,)``, the same queries of every clip, or ``(B, N)``, each clip's own.
        """
        if query_indices.ndim == 1:
            return MaskLogits(self.embeddings[..., query_indices, :], self.features)
        if query_indices.ndim != 2 or query_indices.shape[0] != self.embeddings.shape[0]:
            raise ValueError(
                f"query_indices must be (N,) or (B, N) with B = {self.embeddings.shape[0]}, "
                f"got {tuple(query_indices.shape)}."
            )
        rows = query_indices[..., None].expand(-1, -1, self.embeddings.shape[-1])
        if self.is_per_frame:
            rows = rows[:, None].expand(-1, self.embeddings.shape[1], -1, -1)
        return MaskLogits(self.embeddings.gather(-2, rows), self.features)

    def dense(self) -> Tensor:
        """All logits, ``(B, Q, T, h, w)``."""
        return multiply(self.embeddings, self.features)

    def exclusive(self) -> MaskLogits:
        """The same masks where queries compete for each pixel: above 0 where a query has the greatest logit.

        What lies half way between the two greatest logits of a pixel is taken from all of them, which changes neither
        the order nor the softmax of the queries; it has no gradient. It is one more channel, the last.
        """
        boundary = torch.zeros_like(self.features[:, :, :1])
        if self.num_queries > 1:
            with torch.no_grad():
                boundary = self.dense().topk(2, dim=1).values.mean(dim=1)[:, :, None]  # (B, T, 1, h, w)
        less = -torch.ones_like(self.embeddings[..., :1])
        return MaskLogits(torch.cat((self.embeddings, less), dim=-1), torch.cat((self.features, boundary), dim=2))

    def resized(self, size: tuple[int, int]) -> Tensor:
        """All logits bilinearly resized (``align_corners=False``) to ``size`` (height, width), ``(B, Q, T, *size)``.

        Whichever of features and product is cheaper to resize is resized; both give the same values.
        """
        batch, num_queries, num_frames, height, width = self.shape
        channels = self.embeddings.shape[-1]
        if size == (height, width):
            return self.dense()
        if size[0] * size[1] < height * width or channels <= num_queries:
            features = _resize(self.features.flatten(0, 1), size).unflatten(0, (batch, num_frames))
            return multiply(self.embeddings, features)
        logits = _resize(self.dense().flatten(0, 1), size)
        return logits.unflatten(0, (batch, num_queries))

    def at_points(self, points_xy: Tensor) -> Tensor:
        """All logits bilinearly sampled at points shared by the queries and frames of a clip.

        Args:
            points_xy: ``(B, P, 2)`` as (x, y) in [0, 1] of the padded frame; outside of it the logits fade to zero
                as in ``grid_sample`` with zero padding.

        Returns:
            ``(B, Q, T, P)`` in the wider of both types: half precision has too few bits for a point.
        """
        if points_xy.ndim != 3 or points_xy.shape[0] != self.embeddings.shape[0] or points_xy.shape[2] != 2:
            raise ValueError(
                f"points_xy must be (B, P, 2) with B = {self.embeddings.shape[0]}, got {tuple(points_xy.shape)}."
            )
        batch, _, num_frames, _, _ = self.shape
        dtype = torch.promote_types(self.features.dtype, points_xy.dtype)
        grid = (2.0 * points_xy.to(dtype) - 1.0)[:, None].expand(-1, num_frames, -1, -1).flatten(0, 1)[:, None]
        features = F.grid_sample(self.features.flatten(0, 1).to(dtype), grid, align_corners=False)  # (B * T, C, 1, P)
        features = features.squeeze(2).unflatten(0, (batch, num_frames))
        return multiply(self.embeddings.to(dtype), features)


def multiply(embeddings: Tensor, features: Tensor) -> Tensor:
    """Embeddings ``(B, Q, C)`` or ``(B, T, Q, C)`` times features ``(B, T, C, ...)``, ``(B, Q, T, ...)``."""
    equation = "bqc,btc...->bqt..." if embeddings.ndim == 3 else "btqc,btc...->bqt..."
    return torch.einsum(equation, embeddings, features)


def _resize(maps: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=False)
