"""Masked-attention decoder whose queries are born at pixels: at the centres of objects that a heat map shows.

Learned queries share out the objects of a frame among themselves, which takes them very many steps of training; before
that, one of them takes all people of a frame. A query that comes from a pixel has an object of its own from the start
(two-stage Deformable DETR, arXiv:2010.04159; FastInst, arXiv:2303.08594), and a window around that pixel keeps its mask
there, as relative coordinates do in CondInst (arXiv:2003.05664). The heat map is that of CenterNet (arXiv:1904.07850).
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from video_mask2former.models.decoders.masked_attention import MaskedAttentionDecoder, QueryStart
from video_mask2former.models.layers import ConvNorm
from video_mask2former.models.position_encoding import sine_position_encoding, sine_time_encoding
from video_mask2former.option_values import PositiveInt
from video_mask2former.structures import ClipFeatures, ClipOutput

_RARE = 0.01  # share of pixels that the heat maps take for centres before training
_UNIT = 0.1  # of the longer side of the padded frame: places are counted in it, so that window widths are near 1
_WIDE = -3.0  # windows before training: softplus of this is 0.05
_BELOW = 1e4  # what is no peak comes after all peaks


class PeakQueryDecoder(MaskedAttentionDecoder):
    """Masked-attention decoder whose queries start from the peaks of heat maps of object centres.

    The heat maps are trained by the loss ``losses: [{name: centres}]``; without it, queries are born anywhere. This
    decoder is made for single frames, which a tracker joins. Over a clip of several frames, peaks are taken over all
    frames together, and a window is at the same place on each of them: an object that is seen on several frames gets
    several queries, of which training must choose one. Windows, differences of large numbers, are computed in float32
    whatever the precision of the model.

    Args:
        num_classes: K, without "no object".
        hidden_dim: C.
        mask_dim: Channels of the mask features, without those of the window.
        num_queries: Q, the peaks taken.
        num_layers: Decoder layers; there is one prediction more, that of the queries as they are born.
        num_heads: Attention heads.
        feedforward_dim: Hidden features of the feed-forward networks.
        temporal_position_encoding: True for video models, (x, y, t); False for image models, (x, y).
        centre_dim: Hidden channels of the heat maps' head, a multiple of 32.
        has_window: Whether each query's mask is limited by a learned window around the query's own place.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        hidden_dim: PositiveInt = 256,
        mask_dim: PositiveInt = 256,
        num_queries: PositiveInt = 100,
        num_layers: PositiveInt = 9,
        num_heads: PositiveInt = 8,
        feedforward_dim: PositiveInt = 2048,
        temporal_position_encoding: bool = False,
        centre_dim: PositiveInt = 64,
        has_window: bool = True,
    ) -> None:
        super().__init__(
            num_classes,
            hidden_dim=hidden_dim,
            mask_dim=mask_dim,
            num_queries=num_queries,
            num_layers=num_layers,
            num_heads=num_heads,
            feedforward_dim=feedforward_dim,
            temporal_position_encoding=temporal_position_encoding,
        )
        if centre_dim % 32:
            raise ValueError(f"centre_dim must be a multiple of 32, for group norm, got {centre_dim}.")
        del self.query_feat, self.query_embed  # queries come from pixels
        to_classes = nn.Conv2d(centre_dim, num_classes, kernel_size=1)
        to_classes.bias = nn.Parameter(torch.full((num_classes,), -math.log(1 / _RARE - 1)))
        self.centre_embed = nn.Sequential(ConvNorm(hidden_dim, centre_dim, kernel_size=3, has_relu=True), to_classes)
        self.birth = nn.Sequential(nn.Linear(hidden_dim, hidden_dim), nn.LayerNorm(hidden_dim))
        self.place = nn.Linear(hidden_dim, hidden_dim)
        self.window_embed = nn.Linear(hidden_dim, 4) if has_window else None
        if self.window_embed is not None:
            nn.init.zeros_(self.window_embed.weight)
            self.window_embed.bias = nn.Parameter(torch.tensor([0.0, 0.0, _WIDE, _WIDE]))

    def forward(self, features: ClipFeatures, initial_queries: Tensor | None = None) -> ClipOutput:
        """Decode a batch of clips; see :meth:`MaskedAttentionDecoder.forward`.

        Raises:
            ValueError: If ``initial_queries`` are given: queries of another clip have no pixel of this one.
        """
        if initial_queries is not None:
            raise ValueError(
                "queries that are born at pixels cannot go on from those of another clip: choose a tracker that does "
                "not propagate queries, such as tracker: {name: query}."
            )
        finest = features.levels[-1]
        centre_logits = self.centre_embed(finest.flatten(0, 1)).unflatten(0, finest.shape[:2])
        start = self._born_at(find_peaks(centre_logits, self.num_queries), features)
        if self.window_embed is not None:
            features = replace(features, mask_features=with_places(features.pixels))
        return replace(self._decode(features, start), centre_logits=centre_logits)

    def _born_at(self, peaks: Tensor, features: ClipFeatures) -> QueryStart:
        """Queries that start from some pixels ``(B, Q)`` of the finest level, counted through all its frames."""
        finest = features.levels[-1]
        height, width = finest.shape[3:]
        tokens = finest.flatten(3).transpose(2, 3).flatten(1, 2)  # (B, T * h * w, C)
        born = tokens.gather(1, peaks[..., None].expand(-1, -1, tokens.shape[2]))
        # Looked up, not computed: the remainder by a size that is not known yet has no place in an exported graph.
        pixel = torch.arange(height * width, device=peaks.device).expand(finest.shape[1], -1).flatten()[peaks]
        places = sine_position_encoding((height, width), self.hidden_dim, device=peaks.device)
        positions = places[0].flatten(1).T[pixel]  # (B, Q, C)
        if self.temporal_position_encoding:
            time = sine_time_encoding(features.num_frames, self.hidden_dim, device=peaks.device)
            positions = positions + time[peaks // (height * width)]
        centres = _places((height, width), peaks.device).flatten(1).T[pixel]
        return QueryStart(self.birth(born), self.place(positions.to(self.place.weight.dtype)), centres)

    def _mask_embeddings(self, embeddings: Tensor, start: QueryStart) -> Tensor:
        """With the channels of the window, ``(B, Q, mask_dim + 5)``."""
        mask_embeddings = super()._mask_embeddings(embeddings, start)
        if self.window_embed is None:
            return mask_embeddings
        assert start.centres is not None
        shift, steepness = self.window_embed(embeddings).float().split(2, dim=2)
        window = window_embeddings(start.centres + shift, F.softplus(steepness))
        return torch.cat([mask_embeddings.to(window.dtype), window], dim=2)


@torch.no_grad()
def find_peaks(logits: Tensor, number: int) -> Tensor:
    """The highest peaks of a clip's heat maps: pixels that no neighbour surpasses, whatever the classes.

    Args:
        logits: ``(B, T, K, h, w)``.
        number: Q. Where there are fewer peaks, the highest of the other pixels follow, and where there are fewer
            pixels, the first of them again.

    Returns:
        Pixels, counted through all frames, ``(B, Q)``, the highest first.
    """
    highest = logits.float().amax(dim=2)  # (B, T, h, w)
    is_peak = highest == F.max_pool2d(highest, 3, stride=1, padding=1)
    order = torch.where(is_peak, highest, highest - _BELOW).flatten(1)
    # Padded, so that a graph that takes frames of any size has one number of queries.
    best = F.pad(order, (0, number), value=-torch.inf).topk(number, dim=1).indices
    pixels = F.pad(torch.arange(order.shape[1], device=order.device), (0, number))
    return pixels[best]


def with_places(mask_features: Tensor) -> Tensor:
    """Mask features ``(B, T, C, h, w)`` with the channels that windows are made of, ``(B, T, C + 5, h, w)`` float32."""
    batch, num_frames, _, height, width = mask_features.shape
    places = _places((height, width), mask_features.device)
    channels = torch.cat([places, places.square(), torch.ones_like(places[:1])])
    channels = channels.expand(batch, num_frames, -1, -1, -1)
    return torch.cat([mask_features.to(torch.promote_types(mask_features.dtype, channels.dtype)), channels], dim=2)


def window_embeddings(centres: Tensor, steepness: Tensor) -> Tensor:
    """The part of mask embeddings that lowers logits with the distance from a centre.

    Its product with the channels of :func:`with_places` is ``-s_x (x - c_x)^2 - s_y (y - c_y)^2``.

    Args:
        centres: ``c``, (x, y) in the units of :func:`with_places`, ``(B, Q, 2)``.
        steepness: ``s``, (x, y), positive, ``(B, Q, 2)``.

    Returns:
        ``(B, Q, 5)``.
    """
    offset = (steepness * centres.square()).sum(dim=2, keepdim=True)
    return torch.cat([2 * steepness * centres, -steepness, -offset], dim=2)


def _places(size: tuple[int, int], device: torch.device) -> Tensor:
    """(x, y) of the middle of each pixel of a map, from the middle of the frame, ``(2, h, w)``."""
    height, width = size
    unit = _UNIT * max(size)
    y = (torch.arange(height, device=device) + 0.5 - height / 2) / unit
    x = (torch.arange(width, device=device) + 0.5 - width / 2) / unit
    return torch.stack([x.expand(height, -1), y[:, None].expand(-1, width)])
