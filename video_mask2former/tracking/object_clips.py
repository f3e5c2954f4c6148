"""What VITA and GenVIS have in common in training: objects made of the tokens of several layers of the image model."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from video_mask2former.losses.object_output import TokenLayerObjects
from video_mask2former.mask_logits import MaskLogits
from video_mask2former.models.object_aggregator import ObjectAggregator
from video_mask2former.models.object_decoder import ObjectPrediction
from video_mask2former.structures import ClipOutput


def object_tokens(output: ClipOutput, num_layers: int = 1) -> Tensor:
    """The image model's queries of each frame after its last layers, which go through everything as so many batches.

    Args:
        output: Of the image model, frame by frame.
        num_layers: L, how many of its layers; the last of them is the last one.

    Returns:
        ``(L * B, T, N, C)``.

    Raises:
        ValueError: If the output is not frame by frame, or has fewer layers.
    """
    layers = [*output.auxiliary, output][-num_layers:]
    tokens = [layer.frame_embeddings for layer in layers if layer.frame_embeddings is not None]
    if len(tokens) != num_layers:
        raise ValueError(
            f"expected the queries of each frame after {num_layers} layers of the image model, got those of "
            f"{len(tokens)}. It must run frame by frame, and with auxiliary predictions where it trains."
        )
    return torch.cat(tokens)


def pixel_features(output: ClipOutput) -> Tensor:
    """The maps that a tracker projects its own mask features from; mask features if a segmenter has no others."""
    return output.mask_logits.features if output.pixel_features is None else output.pixel_features


def token_layer_objects(
    aggregator: ObjectAggregator,
    encoded: Tensor,
    predictions: Sequence[ObjectPrediction],
    mask_features: Tensor,
    like: ClipOutput,
) -> tuple[TokenLayerObjects, ...]:
    """The objects of a clip, by the layer whose tokens they are made of.

    Args:
        aggregator: Embeds tokens and queries for the similarity loss.
        encoded: Tokens from its encoder, ``(L * B, T, N, C)``.
        predictions: From its decoder, of ``L * B`` clips.
        mask_features: ``(B, T, C, h, w)``, the same for all layers.
        like: An output with the sizes of the frames.
    """
    batch = mask_features.shape[0]
    token_similarity = aggregator.token_similarity(encoded).split(batch)
    query_similarity = aggregator.query_similarity(predictions[-1].embeddings).split(batch)
    layers = []
    for layer, (of_tokens, of_queries) in enumerate(zip(token_similarity, query_similarity, strict=True)):
        rows = slice(layer * batch, (layer + 1) * batch)
        outputs = tuple(
            ClipOutput(
                prediction.class_logits[rows],
                MaskLogits(prediction.mask_embeddings[rows], mask_features),
                prediction.embeddings[rows],
                prediction.queries[rows],
                like.frame_size,
                like.padded_size,
            )
            for prediction in predictions
        )
        layers.append(TokenLayerObjects(outputs, of_tokens, of_queries))
    return tuple(layers)
