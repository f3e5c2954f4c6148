"""The refiner of VITA (arXiv:2206.04403): the objects of a video from the object tokens of all its frames."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from video_mask2former.losses.object_output import ObjectOutput
from video_mask2former.models.object_aggregator import ObjectAggregator
from video_mask2former.models.object_decoder import ObjectPrediction
from video_mask2former.option_values import MaskQualityChoice
from video_mask2former.refinement.base import QueryHistory, Refinement, Refiner
from video_mask2former.structures import ClipFeatures, ClipOutput
from video_mask2former.tracking.object_clips import object_tokens, token_layer_objects


class VitaRefiner(Refiner):
    """Video queries gather one object each from the segmenter's queries of all frames; pixels are not looked at.

    It stands on a segmenter that goes frame by frame, without a tracker: queries need not be the same object on two
    frames, and its own queries are other ones.

    Args:
        num_classes: K, without "no object".
        num_queries: Queries of the segmenter on each frame.
        embedding_dim: Channels of those.
        pixel_dim: Channels of the maps that the segmenter's mask features are projected from.
        hidden_dim: C.
        num_video_queries: Q, the most objects of a video.
        num_encoder_layers: Layers in which tokens exchange information.
        num_decoder_layers: Layers in which queries gather it.
        num_heads: Attention heads.
        feedforward_dim: Hidden features of the feed-forward networks.
        window: Frames of a window of the encoder; 0: all frames are one.
        num_token_layers: Last layers of the segmenter whose queries are tokens in training.
    """

    criterion = "objects"
    reads_pixel_features = True
    mask_quality: MaskQualityChoice = "model"

    def __init__(
        self,
        num_classes: int,
        *,
        num_queries: int = 100,
        embedding_dim: int = 256,
        pixel_dim: int = 256,
        hidden_dim: int = 256,
        num_video_queries: int = 100,
        num_encoder_layers: int = 6,
        num_decoder_layers: int = 3,
        num_heads: int = 8,
        feedforward_dim: int = 2048,
        window: int = 6,
        num_token_layers: int = 3,
    ) -> None:
        super().__init__()
        if num_token_layers < 1:
            raise ValueError(f"num_token_layers must be at least 1, got {num_token_layers}.")
        self.num_token_layers = num_token_layers
        self.aggregator = ObjectAggregator(
            num_classes,
            token_dim=embedding_dim,
            pixel_dim=pixel_dim,
            hidden_dim=hidden_dim,
            num_queries=num_video_queries,
            num_tokens=num_queries,
            num_encoder_layers=num_encoder_layers,
            num_decoder_layers=num_decoder_layers,
            num_heads=num_heads,
            feedforward_dim=feedforward_dim,
            window=window,
        )

    def refine(self, history: QueryHistory) -> Refinement:
        """Look at the tokens of whole videos."""
        return _refinement(self.aggregator.decoder(self.aggregator.encoder(history.embeddings))[-1])

    def source_features(self, features: ClipFeatures) -> Tensor:
        """The maps before the segmenter's own projection; its mask features where it has no such maps."""
        return features.pixels if features.pixel_features is None else features.pixel_features

    def project_mask_features(self, source_features: Tensor) -> Tensor:
        """Mask features of its own, made of :meth:`source_features`."""
        return self.aggregator.mask_features(source_features)

    def forward(self, output: ClipOutput, history: QueryHistory, source_features: Tensor) -> ClipOutput:
        """Refine a whole clip.

        In training the result is an :class:`~video_mask2former.losses.object_output.ObjectOutput`.
        """
        if not self.training:
            return super().forward(output, history, source_features)
        encoded = self.aggregator.encoder(object_tokens(output, self.num_token_layers))
        predictions = self.aggregator.decoder(encoded)
        features = self.project_mask_features(source_features)
        layers = token_layer_objects(self.aggregator, encoded, predictions, features, output)
        last = layers[-1].predictions[-1]
        fields: dict[str, Any] = {name: getattr(last, name) for name in ClipOutput.__dataclass_fields__}
        return ObjectOutput(**fields, clips=(layers,), segmenter=output)


def _refinement(prediction: ObjectPrediction) -> Refinement:
    return Refinement(prediction.class_logits, prediction.mask_embeddings, prediction.embeddings)
