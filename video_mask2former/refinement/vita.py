"""The refiner of VITA (arXiv:2206.04403): the objects of a video from the object tokens of all its frames."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from typing_extensions import Unpack

from video_mask2former.losses.object_output import ObjectOutput
from video_mask2former.models.object_aggregator import AggregatorOptions, ObjectAggregator
from video_mask2former.models.object_decoder import ObjectPrediction
from video_mask2former.option_values import Count, MaskQualityChoice, PositiveInt
from video_mask2former.refinement.base import QueryHistory, Refinement, Refiner
from video_mask2former.structures import ClipFeatures, ClipOutput
from video_mask2former.tracking.object_clips import object_tokens, token_layer_objects


class VitaRefiner(Refiner):
    """Video queries gather one object each from the segmenter's queries of all frames; pixels are not looked at.

    It stands on a segmenter that goes frame by frame, without a tracker: queries need not be the same object on two
    frames, and its own queries are other ones.

    Args:
        num_classes: K, without "no object".
        window: Frames of a window of the encoder; 0: all frames are one.
        num_token_layers: Last layers of the segmenter whose queries are tokens in training.
        options: See :class:`~video_mask2former.models.object_aggregator.ObjectAggregator`.
    """

    options_of = ObjectAggregator
    criterion = "objects"
    reads_pixel_features = True
    mask_quality: MaskQualityChoice = "model"

    def __init__(
        self,
        num_classes: int,
        *,
        window: Count = 6,
        num_token_layers: PositiveInt = 3,
        **options: Unpack[AggregatorOptions],
    ) -> None:
        super().__init__()
        if num_token_layers < 1:
            raise ValueError(f"num_token_layers must be at least 1, got {num_token_layers}.")
        self.num_token_layers = num_token_layers
        self.aggregator = ObjectAggregator(num_classes, window=window, **options)

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
