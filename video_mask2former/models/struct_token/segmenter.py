"""StructToken as a whole: a semantic segmenter whose queries are its classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import Unpack

from video_mask2former.mask_logits import MaskLogits
from video_mask2former.models.backbones import Backbone
from video_mask2former.models.segmenter import FrameOptions, Segmenter
from video_mask2former.models.struct_token.head import Interaction, StructTokenHead
from video_mask2former.option_values import PositiveInt, Share
from video_mask2former.structures import ClipFeatures, ClipOutput

# Class logit of a query for its own class; the others have 0.
_CERTAIN = 20.0


class StructToken(Segmenter):
    """Semantic segmentation from one learned map per class (StructToken, arXiv:2203.12612).

    Query and class are the same thing, on every frame: query 3 is where class 3 is. Mask logits are the published
    logits less what lies half way between the two greatest of a position, so that a mask is where its class is the
    likeliest; which class that is does not change, nor does a softmax over the classes.

    Args:
        num_classes: K.
        backbone: Frames to features; the coarsest level counts.
        interaction: See ``StructTokenHead``.
        num_layers: Number of layers of the head.
        token_size: Height and width of the learned maps: a sixteenth of the training images.
        expansion: Hidden channels of the head's feed-forward networks per channel.
        head_drop_path_rate: Stochastic depth of the head's last layer.
        frame_options: See :class:`Segmenter`.
    """

    default_parts: ClassVar = {"backbone": "plain_vit"}

    criterion: ClassVar = "semantic"
    queries_are_classes: ClassVar = True
    preferred_tracker: ClassVar = "slots"

    def __init__(
        self,
        num_classes: int,
        backbone: Backbone,
        *,
        interaction: Interaction = "pwe",
        num_layers: PositiveInt = 4,
        token_size: tuple[int, int] = (32, 32),
        expansion: PositiveInt = 4,
        head_drop_path_rate: Share = 0.1,
        **frame_options: Unpack[FrameOptions],
    ) -> None:
        super().__init__(num_classes, **frame_options)
        self.backbone = backbone
        self.level = list(backbone.feature_info)[-1]
        self.head = StructTokenHead(
            num_classes,
            backbone.feature_info[self.level].channels,
            interaction=interaction,
            num_layers=num_layers,
            token_size=token_size,
            expansion=expansion,
            drop_path_rate=head_drop_path_rate,
        )

    @property
    def num_queries(self) -> int:
        """Q, which is K."""
        return self.num_classes

    def encode(self, frames: Tensor | Sequence[Tensor]) -> ClipFeatures:
        """The part that looks at each frame by itself; arguments as in :meth:`.Segmenter.forward`."""
        normalised, frame_size = self.normalise_and_pad(frames)
        batch = normalised.shape[:2]
        features = self.backbone(normalised.flatten(0, 1))[self.level].unflatten(0, batch)
        return ClipFeatures(None, (features,), frame_size, (normalised.shape[3], normalised.shape[4]))

    def decode(self, features: ClipFeatures, initial_queries: Tensor | None = None) -> ClipOutput:
        """Where each class is on each frame.

        Args:
            features: From :meth:`.Segmenter.encode`.
            initial_queries: ``queries`` of the frame before, ``(B, K, h * w)``, to start the first frame from, and
                each frame from the one before; None: every frame starts from the learned maps.
        """
        maps = features.levels[0]
        batch, num_frames = maps.shape[:2]
        if initial_queries is None:
            logits, tokens = self.head(maps.flatten(0, 1))
            logits, tokens = logits.unflatten(0, (batch, num_frames)), tokens.unflatten(0, (batch, num_frames))[:, -1]
        else:
            tokens = initial_queries.unflatten(2, maps.shape[3:])
            frames = []
            for index in range(num_frames):
                frame, tokens = self.head(maps[:, index], tokens)
                frames.append(frame)
            logits = torch.stack(frames, dim=1)
        return self._output(logits, tokens, features)

    def _output(self, logits: Tensor, tokens: Tensor, features: ClipFeatures) -> ClipOutput:
        identity = torch.eye(self.num_classes, dtype=logits.dtype, device=logits.device)
        identity = identity.expand(len(logits), -1, -1)
        nothing = identity.new_zeros(*identity.shape[:2], 1)
        return ClipOutput(
            class_logits=_CERTAIN * torch.cat((identity, nothing), dim=2),
            mask_logits=MaskLogits(identity, logits).exclusive(),
            query_embeddings=identity,
            queries=tokens.flatten(2),
            frame_size=features.frame_size,
            padded_size=features.padded_size,
        )
