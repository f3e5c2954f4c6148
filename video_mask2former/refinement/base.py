"""What every refiner is: the queries of a whole video in, one answer per object for the whole video out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar

from torch import Tensor, nn

from video_mask2former.mask_logits import MaskLogits
from video_mask2former.option_values import MaskQualityChoice
from video_mask2former.structures import ClipFeatures, ClipOutput


@dataclass(frozen=True)
class QueryHistory:
    """The queries of every frame of a batch of videos: all that a refiner sees. Small enough to keep for long videos.

    Attributes:
        embeddings: Those of the tracker, in which a query is one object throughout; without a tracker those of the
            segmenter, ``(B, T, Q, C)``.
        memory: Those of the segmenter, frame by frame, ``(B, T, Q', C)``.
        class_logits: Of ``embeddings``, ``(B, T, Q, K + 1)``.
        is_scratch: Whether a refiner may write over ``embeddings``, since nothing else will read them. Of a long video
            a copy of them is most of what refining takes.
    """

    embeddings: Tensor
    memory: Tensor
    class_logits: Tensor
    is_scratch: bool = False

    def __post_init__(self) -> None:
        shapes = [tuple(part.shape) for part in (self.embeddings, self.memory, self.class_logits)]
        if any(len(shape) != 4 or shape[:2] != shapes[0][:2] for shape in shapes) or shapes[2][2] != shapes[0][2]:
            raise ValueError(
                "embeddings and memory must be (B, T, Q, C) and class_logits (B, T, Q, K + 1), of the same B and T, "
                f"got {shapes[0]}, {shapes[1]} and {shapes[2]}."
            )

    @property
    def num_frames(self) -> int:
        """T."""
        return self.embeddings.shape[1]


@dataclass(frozen=True)
class Refinement:
    """What a refiner says of a batch of videos.

    Attributes:
        class_logits: One answer for the whole video, ``(B, Q, K + 1)``.
        mask_embeddings: ``(B, Q, C)`` for the video or ``(B, T, Q, C)`` for each frame; to be multiplied with
            :meth:`Refiner.project_mask_features`.
        embeddings: What the heads read, ``(B, Q, C)`` or ``(B, T, Q, C)``.
        auxiliary: Of earlier layers, in training.
    """

    class_logits: Tensor
    mask_embeddings: Tensor
    embeddings: Tensor
    auxiliary: tuple[Refinement, ...] = ()


class Refiner(nn.Module, ABC):
    """Looks at the queries of the whole video when all its frames have been seen.

    A subclass writes :meth:`refine`. It does not see mask features, which are large: they stay where they are kept
    until masks are made of its mask embeddings, some frames at a time. Its weights are in the model's checkpoint under
    ``refiner.``.

    Attributes:
        criterion: Name of the training loss, where a configuration names none.
        reads_pixel_features: Whether it wants the maps that mask features are projected from.
        mask_quality: How scores count the quality of masks where nothing is said, see :class:`InferenceSettings`.
    """

    criterion: ClassVar[str] = "refiner"
    reads_pixel_features: bool = False
    mask_quality: MaskQualityChoice = "none"

    @abstractmethod
    def refine(self, history: QueryHistory) -> Refinement:
        """Look at whole videos at once."""

    def source_features(self, features: ClipFeatures) -> Tensor:
        """What masks are made of, ``(B, T, C, h, w)``, and so what is kept of every frame; by default mask features."""
        return features.pixels

    def project_mask_features(self, source_features: Tensor) -> Tensor:
        """Features as this refiner's mask embeddings want them; by default as they are."""
        return source_features

    def forward(self, output: ClipOutput, history: QueryHistory, source_features: Tensor) -> ClipOutput:
        """Refine a whole clip; for training, and for videos that fit into memory.

        Args:
            output: Of the tracker, or of the segmenter frame by frame where there is none.
            history: Of the same frames.
            source_features: From :meth:`source_features`.
        """
        refinement = self.refine(history)
        features = self.project_mask_features(source_features)

        def answer(part: Refinement, auxiliary: tuple[ClipOutput, ...]) -> ClipOutput:
            is_per_frame = part.embeddings.ndim == 4
            return replace(
                output,
                class_logits=part.class_logits,
                mask_logits=MaskLogits(part.mask_embeddings, features),
                query_embeddings=part.embeddings.mean(dim=1) if is_per_frame else part.embeddings,
                queries=part.embeddings.mean(dim=1) if is_per_frame else part.embeddings,
                auxiliary=auxiliary,
                frame_class_logits=None,
                frame_embeddings=part.embeddings if is_per_frame else None,
                frame_queries=None,
                contrast_embeddings=part.embeddings if is_per_frame and self.training else None,
                guide=None,
                class_scores=None,
                pixel_features=None,
            )

        return answer(refinement, tuple(answer(part, ()) for part in refinement.auxiliary))
