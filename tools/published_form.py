"""The model in the form that published code has, as the baseline of benchmarks: same parameters, same numbers.

Mask logits of all queries and layers are multiplied out and kept, attention masks are resized from them and repeated
for every head, matching and losses sample them layer by layer. Where asked, the rest has its published form too:
deformable attention as a chain of ``grid_sample`` whose samples of all levels are stacked, decoder attention that
makes its weights and averages them over the heads, frozen normalisation apart from the convolution, frames with
channels first, matching costs in two sums, and no activation recomputed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from video_mask2former.losses import SetCriterion, matcher
from video_mask2former.losses.mask_losses import dice, sigmoid_cross_entropy
from video_mask2former.models import VideoMask2Former
from video_mask2former.models.backbones import resnet
from video_mask2former.models.decoders import masked_attention
from video_mask2former.models.decoders.masked_attention import NUM_LEVELS
from video_mask2former.models.layers import FrozenBatchNorm2d
from video_mask2former.models.pixel_decoders import deformable
from video_mask2former.models.position_encoding import sine_position_encoding
from video_mask2former.ops import point_sample, select_uncertain_points
from video_mask2former.structures import ClipFeatures, ClipTarget


@dataclass(frozen=True)
class DensePrediction:
    """Class logits ``(B, Q, K + 1)`` and mask logits ``(B, Q, T, h, w)`` of one layer."""

    class_logits: Tensor
    mask_logits: Tensor


class DenseModel(nn.Module):
    """A model whose every prediction is dense; parameters are shared with ``model``."""

    def __init__(self, model: VideoMask2Former) -> None:
        super().__init__()
        self.model = model

    def forward(self, frames: Tensor) -> list[DensePrediction]:
        """Predictions of the learned queries and of each layer."""
        features = self.model.encode(frames)
        decoder = self.model.decoder
        memory = [
            level.permute(0, 1, 3, 4, 2).flatten(1, 3) + embed
            for level, embed in zip(features.levels, decoder.level_embed.weight, strict=True)
        ]  # (B, T * h * w, C) each
        positions = [self._positions(level) for level in features.levels]
        queries = decoder.query_feat.weight.expand(frames.shape[0], -1, -1)
        predictions = [self._predict(queries, features)]
        for index, layer in enumerate(decoder.layers):
            level = index % NUM_LEVELS
            size = (features.num_frames, *features.levels[level].shape[-2:])
            may_attend = dense_attention_mask(predictions[-1].mask_logits, size)
            placed = queries + decoder.query_embed.weight
            attended = layer.cross_attention(
                placed, memory[level] + positions[level], memory[level], may_attend[:, None]
            )
            queries = layer.cross_attention_norm(queries + attended)
            placed = queries + decoder.query_embed.weight
            queries = layer.self_attention_norm(queries + layer.self_attention(placed, placed, queries))
            queries = layer.ffn_norm(queries + layer.linear2(F.relu(layer.linear1(queries))))
            predictions.append(self._predict(queries, features))
        return predictions

    def _positions(self, level: Tensor) -> Tensor:
        """Positional encoding of every position of every frame, ``(1, T * h * w, C)``."""
        _, num_frames, channels, height, width = level.shape
        time = num_frames if self.model.decoder.temporal_position_encoding else None
        encoding = sine_position_encoding((height, width), channels, num_frames=time, device=level.device)
        encoding = encoding.expand(num_frames, -1, -1, -1)
        return encoding.permute(0, 2, 3, 1).flatten(0, 2)[None].to(level.dtype)

    def _predict(self, queries: Tensor, features: ClipFeatures) -> DensePrediction:
        decoder = self.model.decoder
        embeddings = decoder.norm(queries)
        masks = torch.einsum("bqc,btchw->bqthw", decoder.mask_embed(embeddings), features.mask_features)
        return DensePrediction(decoder.class_embed(embeddings), masks)


def dense_attention_mask(mask_logits: Tensor, size: tuple[int, int, int]) -> Tensor:
    """True where a query may attend, ``(B, Q, T * h * w)``, resized from dense logits."""
    resized = F.interpolate(mask_logits.flatten(1, 2), size[1:], mode="bilinear", align_corners=False)
    forbidden = (resized.unflatten(1, (-1, size[0])).sigmoid().flatten(2) < 0.5).detach()
    forbidden[forbidden.all(dim=-1)] = False
    return ~forbidden


class DenseCriterion:
    """The loss, layer by layer, on dense predictions; settings as in ``criterion``."""

    def __init__(self, criterion: SetCriterion) -> None:
        self.criterion = criterion

    def __call__(self, predictions: Sequence[DensePrediction], targets: Sequence[ClipTarget]) -> Tensor:
        """The total loss."""
        return torch.stack([self._layer_loss(prediction, targets) for prediction in predictions]).sum()

    def _layer_loss(self, prediction: DensePrediction, targets: Sequence[ClipTarget]) -> Tensor:
        settings = self.criterion
        size = [4 * side for side in prediction.mask_logits.shape[-2:]]
        device = prediction.class_logits.device
        classes = torch.full(prediction.class_logits.shape[:2], settings.num_classes, device=device)
        logits, maps = [], []
        for clip, target in enumerate(targets):
            masks = prediction.mask_logits[clip]
            padding = (0, size[1] - target.masks.shape[3], 0, size[0] - target.masks.shape[2])
            padded = F.pad(target.masks.float(), padding)
            points = torch.rand(1, settings.num_points, 2, device=device)
            with torch.no_grad():
                point_logits = point_sample(masks, points.expand(len(masks), -1, -1)).flatten(1)
                point_targets = point_sample(padded, points.expand(len(padded), -1, -1)).flatten(1)
            queries, instances = settings.matcher(
                prediction.class_logits[clip], point_logits, target.labels, point_targets
            )
            classes[clip, queries] = target.labels[instances]
            logits.append(masks[queries].flatten(0, 1))
            maps.append(padded[instances].flatten(0, 1))
        rows, target_rows = torch.cat(logits)[:, None], torch.cat(maps)[:, None]
        points = select_uncertain_points(rows.detach(), settings.num_points)
        point_logits, point_targets = point_sample(rows, points)[:, 0], point_sample(target_rows, points)[:, 0]
        num_instances = max(sum(len(target) for target in targets), 1)
        mask_loss = sigmoid_cross_entropy(point_logits, point_targets).sum() / num_instances
        dice_loss = dice(point_logits, point_targets).sum() / num_instances
        class_loss = F.cross_entropy(prediction.class_logits.flatten(0, 1), classes.flatten(), settings.class_weights)
        return settings.class_weight * class_loss + settings.mask_weight * mask_loss + settings.dice_weight * dice_loss


def use_published_operations() -> None:
    """Replace the fast operations of this process's models by their published forms."""
    deformable.ms_deform_attn = stacked_grid_sample_attention
    deformable.run_layer = lambda layer, *inputs, recompute: layer(*inputs)
    masked_attention.F.scaled_dot_product_attention = attention_with_weights
    resnet.conv_frozen_norm = convolution_then_norm
    matcher.pairwise_sigmoid_cross_entropy = two_sided_cross_entropy
    torch.channels_last = torch.contiguous_format  # published code leaves frames in the layout they come in


def stacked_grid_sample_attention(
    value: Tensor, spatial_shapes: Sequence[tuple[int, int]], locations: Tensor, weights: Tensor
) -> Tensor:
    """Deformable attention as one ``grid_sample`` per level, the samples of all levels stacked."""
    N, _, M, D = value.shape
    _, Lq, _, L, P, _ = locations.shape
    grids = 2 * locations - 1
    sampled = []
    parts = value.split([height * width for height, width in spatial_shapes], dim=1)
    for level, (part, (height, width)) in enumerate(zip(parts, spatial_shapes, strict=True)):
        maps = part.flatten(2).transpose(1, 2).reshape(N * M, D, height, width)
        grid = grids[:, :, :, level].transpose(1, 2).flatten(0, 1)
        sampled.append(F.grid_sample(maps, grid, align_corners=False))
    rows = weights.transpose(1, 2).reshape(N * M, 1, Lq, L * P)
    output = (torch.stack(sampled, dim=-2).flatten(-2) * rows).sum(-1).view(N, M * D, Lq)
    return output.transpose(1, 2).contiguous()


def attention_with_weights(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, dropout_p: float = 0.0
) -> Tensor:
    """``scaled_dot_product_attention`` step by step, with a float mask per head and weights that are returned too."""
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)
    if attn_mask is not None:
        forbidden = (~attn_mask).repeat(1, query.shape[1], 1, 1)
        scores = scores + torch.zeros_like(scores).masked_fill_(forbidden, float("-inf"))
    weights = F.dropout(scores.softmax(dim=-1), dropout_p)
    weights.mean(dim=1)  # what nn.MultiheadAttention returns beside its output, used by no one
    return weights @ value


def two_sided_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Pairwise cross-entropy as the sum of its foreground and its background part."""
    foreground = F.binary_cross_entropy_with_logits(logits, torch.ones_like(logits), reduction="none")
    background = F.binary_cross_entropy_with_logits(logits, torch.zeros_like(logits), reduction="none")
    return (foreground @ targets.T + background @ (1 - targets).T) / logits.shape[1]


def convolution_then_norm(x: Tensor, conv: nn.Conv2d, norm: FrozenBatchNorm2d) -> Tensor:
    """Frozen normalisation as two passes over the convolution's output."""
    scale, shift = norm.scale_and_shift()
    return conv(x) * scale[:, None, None] + shift[:, None, None]
