"""Classes for masks that come from elsewhere: class queries and mask tokens attend to each other and to the image."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from video_mask2former.models.layers import run_layer
from video_mask2former.models.position_encoding import sine_position_encoding

# Centre, size, area and quality of a mask
_NUM_MEASURES = 6
_MAX_SCALE = math.log(100.0)


class MaskClassifier(nn.Module):
    """One learned query per class and one for "no object"; the class of a mask is that of the query most like it.

    Args:
        num_classes: K, without "no object".
        level_channels: Channels of the image features at each level, finest first.
        hidden_dim: C.
        num_heads: Attention heads.
        feedforward_dim: Hidden features of the feed-forward networks.
        num_layers: Layers in which queries and masks attend.

    Attributes:
        recompute: Whether training recomputes activations in the backward pass to save memory.
    """

    recompute: bool = False

    def __init__(
        self,
        num_classes: int,
        level_channels: Sequence[int],
        *,
        hidden_dim: int = 256,
        num_heads: int = 8,
        feedforward_dim: int = 1024,
        num_layers: int = 3,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.hidden_dim = hidden_dim
        self.level_proj = nn.ModuleList(nn.Conv2d(channels, hidden_dim, kernel_size=1) for channels in level_channels)
        self.level_norm = nn.ModuleList(nn.LayerNorm(hidden_dim) for _ in level_channels)
        self.level_embed = nn.Parameter(torch.empty(len(level_channels), hidden_dim))
        self.geom = nn.Linear(_NUM_MEASURES, hidden_dim)
        self.token_proj = nn.Linear((len(level_channels) + 1) * hidden_dim, hidden_dim)
        self.token_norm = nn.LayerNorm(hidden_dim)
        self.class_query = nn.Embedding(num_classes + 1, hidden_dim)
        self.layers = nn.ModuleList(_ClassifierLayer(hidden_dim, num_heads, feedforward_dim) for _ in range(num_layers))
        self.t_out_norm = nn.LayerNorm(hidden_dim)
        self.t_out = nn.Linear(hidden_dim, hidden_dim, bias=False)
        self.q_out_norm = nn.LayerNorm(hidden_dim)
        self.q_out = nn.Linear(hidden_dim, hidden_dim, bias=False)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
        self.class_bias = nn.Parameter(torch.zeros(num_classes + 1))
        nn.init.normal_(self.level_embed, std=0.02)

    def forward(
        self, levels: Sequence[Tensor], mask_logits: Tensor, quality: Tensor, is_valid: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Classify the masks of clips.

        A mask of a clip is described by the mean over the frames of what is under it, weighted by its area.

        Args:
            levels: Image features, finest first, ``(B, T, C_l, h_l, w_l)``.
            mask_logits: ``(B, N, T, h, w)``.
            quality: What the masks are thought to be worth, in [0, 1], ``(B, N, T)``.
            is_valid: False where there is no mask, ``(B, N)``; such places are not attended to.

        Returns:
            Class logits ``(B, N, K + 1)``, "no object" last, and the embeddings they are made of, ``(B, N, C)``.
        """
        projected = [self._project(index, level) for index, level in enumerate(levels)]
        tokens = self.tokens(projected, mask_logits, quality)
        coarsest = projected[-1]  # (B, T, h, w, C)
        memory = coarsest.flatten(1, 3)
        size = (coarsest.shape[2], coarsest.shape[3])
        positions = sine_position_encoding(size, self.hidden_dim, device=memory.device)
        positions = positions.flatten(2).transpose(1, 2).repeat(1, coarsest.shape[1], 1).to(memory.dtype)
        queries = self.class_query.weight.expand(len(memory), -1, -1)
        for layer in self.layers:
            queries, tokens = run_layer(layer, queries, tokens, memory, positions, is_valid, recompute=self.recompute)
        masks = F.normalize(self.t_out(self.t_out_norm(tokens)), dim=-1)
        classes = F.normalize(self.q_out(self.q_out_norm(queries)), dim=-1)
        scale = self.logit_scale.clamp(max=_MAX_SCALE).exp()
        return scale * masks @ classes.transpose(1, 2) + self.class_bias, masks

    def tokens(self, projected: Sequence[Tensor], mask_logits: Tensor, quality: Tensor) -> Tensor:
        """One token per mask, ``(B, N, C)``, from projected levels ``(B, T, h_l, w_l, C)``."""
        weights = mask_logits.sigmoid()  # (B, N, T, h, w)
        is_inside = weights > 0.5
        area = is_inside.flatten(3).sum(dim=3)  # (B, N, T)
        share = area / area.sum(dim=2, keepdim=True).clamp(min=1)
        share = torch.where(area.sum(dim=2, keepdim=True) > 0, share, 1 / area.shape[2])
        parts = [(_pooled(level, weights) * share[..., None]).sum(dim=2) for level in projected]
        geometry = (mask_geometry(is_inside, quality) * share[..., None]).sum(dim=2)
        return self.token_norm(self.token_proj(torch.cat((*parts, self.geom(geometry)), dim=-1)))

    def _project(self, index: int, level: Tensor) -> Tensor:
        maps = self.level_proj[index](level.flatten(0, 1)).permute(0, 2, 3, 1)
        return (self.level_norm[index](maps) + self.level_embed[index]).unflatten(0, level.shape[:2])


class _ClassifierLayer(nn.Module):
    """Queries attend to the image and to themselves, then masks to the queries and to themselves; pre-norm."""

    def __init__(self, dim: int, num_heads: int, feedforward_dim: int) -> None:
        super().__init__()
        self.mem_norm = nn.LayerNorm(dim)
        self.q_norm1, self.q_norm2, self.q_norm3 = (nn.LayerNorm(dim) for _ in range(3))
        self.q_cross = nn.MultiheadAttention(dim, num_heads, batch_first=True)
        self.q_self = nn.MultiheadAttention(dim, num_heads, batch_first=True)
        self.q_ffn = _feed_forward(dim, feedforward_dim)
        self.t_norm1, self.t_norm2, self.t_norm3 = (nn.LayerNorm(dim) for _ in range(3))
        self.t_cross = nn.MultiheadAttention(dim, num_heads, batch_first=True)
        self.t_self = nn.MultiheadAttention(dim, num_heads, batch_first=True)
        self.t_ffn = _feed_forward(dim, feedforward_dim)

    def forward(
        self, queries: Tensor, tokens: Tensor, memory: Tensor, positions: Tensor, is_valid: Tensor
    ) -> tuple[Tensor, Tensor]:
        memory = self.mem_norm(memory)
        queries = queries + self.q_cross(self.q_norm1(queries), memory + positions, memory, need_weights=False)[0]
        normed = self.q_norm2(queries)
        queries = queries + self.q_self(normed, normed, normed, need_weights=False)[0]
        queries = queries + self.q_ffn(self.q_norm3(queries))
        tokens = tokens + self.t_cross(self.t_norm1(tokens), queries, queries, need_weights=False)[0]
        normed = self.t_norm2(tokens)
        attended = self.t_self(normed, normed, normed, key_padding_mask=~is_valid, need_weights=False)[0]
        tokens = tokens + attended
        return queries, tokens + self.t_ffn(self.t_norm3(tokens))


def _feed_forward(dim: int, hidden_dim: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(dim, hidden_dim), nn.GELU(), nn.Linear(hidden_dim, dim))


def mask_geometry(is_inside: Tensor, quality: Tensor) -> Tensor:
    """Where masks are and how large.

    Args:
        is_inside: ``(..., h, w)`` bool.
        quality: ``(...)``.

    Returns:
        Centre x and y, width and height of the box, all in [0, 1], logarithm of the share of the area, and the
        quality, ``(..., 6)``; zeros for an empty mask.
    """
    height, width = is_inside.shape[-2:]
    measures = []
    for axis, side in ((-2, width), (-1, height)):
        present = is_inside.any(dim=axis)
        centres = (torch.arange(side, device=is_inside.device, dtype=quality.dtype) + 0.5) / side
        low = torch.where(present, centres, math.inf).amin(dim=-1)
        high = torch.where(present, centres, -math.inf).amax(dim=-1)
        measures.append(((low + high) / 2, high - low + 1 / side))
    (x, box_width), (y, box_height) = measures
    area = is_inside.flatten(-2).sum(dim=-1)
    log_share = (area.to(quality.dtype).clamp(min=1) / (height * width)).log()
    geometry = torch.stack((x, y, box_width, box_height, log_share, quality), dim=-1)
    return torch.where((area > 0)[..., None], geometry, 0.0)


def _pooled(level: Tensor, weights: Tensor) -> Tensor:
    """Mean of features ``(B, T, h, w, C)`` under masks ``(B, N, T, H, W)``, ``(B, N, T, C)``."""
    size = (level.shape[2], level.shape[3])
    flat = weights.flatten(1, 2)
    if size[0] > flat.shape[2] or size[1] > flat.shape[3]:
        flat = F.interpolate(flat, size=size, mode="bilinear", align_corners=False)
    elif size != tuple(flat.shape[2:]):
        flat = F.adaptive_avg_pool2d(flat, size)
    resized = flat.unflatten(1, weights.shape[1:3])
    sums = torch.einsum("bnthw,bthwc->bntc", resized, level)
    return sums / (resized.flatten(3).sum(dim=3)[..., None] + 1e-6)
