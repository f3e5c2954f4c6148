"""Self-attention among the object tokens of neighbouring frames (VITA, arXiv:2206.04403, section 3.2)."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from video_mask2former.models.attention_layers import FeedForwardLayer, SelfAttentionLayer

# Windows that attend, and frames that are projected, at once where no gradient is wanted: memory stays bounded
WINDOWS_PER_CHUNK = 4
FRAMES_PER_CHUNK = 32


class TokenEncoder(nn.Module):
    """The tokens of a video exchange information within windows of frames.

    Frames are taken in windows that follow one another, and every token attends to all tokens of its window. In
    evaluation the windows of every other layer are shifted by half a window, so that information passes on; frames that
    the shift brings together from the two ends of the video do not see each other. In training nothing is shifted, as
    published: training clips are one window. (In evaluation even a video of a single window is cut in two by the
    shifted layers; the published results have it so.) There is no encoding of positions.

    Args:
        hidden_dim: C.
        num_layers: Encoder layers.
        num_heads: Attention heads.
        feedforward_dim: Hidden features of the feed-forward networks.
        window: Frames of a window; 0: all frames are one.
        token_dim: Channels of the tokens that come in.
    """

    def __init__(
        self,
        hidden_dim: int,
        num_layers: int,
        num_heads: int,
        feedforward_dim: int,
        window: int,
        token_dim: int,
    ) -> None:
        super().__init__()
        if window < 0:
            raise ValueError(f"window must not be negative, got {window}. 0 makes one window of all frames.")
        self.window = window
        self.input_projection = nn.Linear(token_dim, hidden_dim)
        self.layers = nn.ModuleList(
            TokenEncoderLayer(hidden_dim, num_heads, feedforward_dim) for _ in range(num_layers)
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens ``(B, T, N, token_dim)`` to ``(B, T, N, C)``."""
        num_frames = tokens.shape[1]
        window = self.window or num_frames
        tokens = self._projected(tokens, padded_frames=num_frames + -num_frames % window)
        for index, layer in enumerate(self.layers):
            is_shifted = index % 2 == 1 and self.window > 0 and not self.training
            shift = (window + 1) // 2 if is_shifted else 0
            # Windows do not overlap, so without a gradient each can be written over what it was made of.
            updated = torch.empty_like(tokens) if torch.is_grad_enabled() else tokens
            for frames, may_attend in _windows(num_frames, tokens.shape[1], window, shift):
                updated[:, frames.flatten()] = _attend(layer, tokens[:, frames.flatten()], len(frames), may_attend)
            tokens = updated
        return tokens[:, :num_frames]

    def _projected(self, tokens: Tensor, padded_frames: int) -> Tensor:
        """Projected tokens, with frames of zeros after them; without a gradient in one piece of memory."""
        if torch.is_grad_enabled():
            return F.pad(self.input_projection(tokens), (0, 0, 0, 0, 0, padded_frames - tokens.shape[1]))
        parts = (self.input_projection(part) for part in tokens.split(FRAMES_PER_CHUNK, dim=1))
        first = next(parts)
        projected = first.new_zeros(tokens.shape[0], padded_frames, *first.shape[2:])
        for index, part in enumerate(itertools.chain([first], parts)):
            projected[:, index * FRAMES_PER_CHUNK :][:, : part.shape[1]] = part
        return projected


class TokenEncoderLayer(nn.Module):
    """Self-attention and a feed-forward network.

    Args:
        hidden_dim: C.
        num_heads: Attention heads.
        feedforward_dim: Hidden features of the feed-forward network.
    """

    def __init__(self, hidden_dim: int, num_heads: int, feedforward_dim: int) -> None:
        super().__init__()
        self.self_attention = SelfAttentionLayer(hidden_dim, num_heads)
        self.feed_forward = FeedForwardLayer(hidden_dim, feedforward_dim)

    def forward(self, tokens: Tensor, may_attend: Tensor | None) -> Tensor:
        """Map ``(B, S, C)`` to the same shape; ``may_attend`` is True where a token may attend, ``(S, S)``."""
        return self.feed_forward(self.self_attention(tokens, may_attend=may_attend))


def _attend(layer: nn.Module, tokens: Tensor, num_windows: int, may_attend: Tensor | None) -> Tensor:
    """Apply a layer within each of some windows, ``(B, T, N, C)`` to the same shape.

    ``may_attend`` says which frames of a window see each other, ``(window, window)`` bool.
    """
    batch, num_frames, num_tokens, _ = tokens.shape
    if may_attend is not None:
        may_attend = may_attend.repeat_interleave(num_tokens, 0).repeat_interleave(num_tokens, 1).to(tokens.device)
    windows = tokens.reshape(batch * num_windows, -1, tokens.shape[3])
    return layer(windows, may_attend).reshape(batch, num_frames, num_tokens, -1)


def _windows(num_frames: int, padded_frames: int, window: int, shift: int) -> Iterator[tuple[Tensor, Tensor | None]]:
    """Windows that can be computed at once: their frames ``(n, window)``, and who sees whom where not all see all.

    The frames from ``num_frames`` on are padding. It is not seen, but sees everything, so that its attention stays
    finite; nothing is made of it. With a shift the first window begins with the last frames.
    """
    frames = torch.arange(padded_frames).roll(shift).unflatten(0, (-1, window))
    is_real = frames < num_frames
    came_round = torch.zeros_like(is_real)
    came_round[0, :shift] = True
    sees = (came_round[:, :, None] == came_round[:, None]) & is_real[:, None] | ~is_real[:, :, None]
    most = len(frames) if torch.is_grad_enabled() else WINDOWS_PER_CHUNK
    is_open = sees.flatten(1).all(dim=1)
    for part in frames[is_open].split(most):
        if len(part):
            yield part, None
    for index in (~is_open).nonzero()[:, 0].tolist():
        yield frames[index : index + 1], sees[index]
