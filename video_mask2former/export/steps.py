"""The two halves of a segmenter as functions of plain tensors, which is what can be exported."""

from __future__ import annotations

from torch import Tensor, nn

from video_mask2former.models import Segmenter
from video_mask2former.structures import ClipFeatures, ClipOutput

FRAMES, QUERIES = "frames", "initial_queries"
MASK_EMBEDDINGS, MASK_FEATURES, OUTPUT_FEATURES = "mask_embeddings", "mask_features", "output_features"
_PER_FRAME = ("frame_class_logits", "frame_embeddings", "frame_queries")


def feature_names(features: ClipFeatures) -> list[str]:
    """A name of each tensor of some features, in their order."""
    named = {
        MASK_FEATURES: features.mask_features,
        **{f"level_{index}": level for index, level in enumerate(features.levels)},
        "tokens": features.tokens,
        "pixel_features": features.pixel_features,
    }
    return [name for name, tensor in named.items() if tensor is not None]


def output_tensors(output: ClipOutput, features: ClipFeatures) -> dict[str, Tensor]:
    """What a window's output consists of besides the features that went in."""
    tensors = {
        "class_logits": output.class_logits,
        MASK_EMBEDDINGS: output.mask_logits.embeddings,
        "query_embeddings": output.query_embeddings,
        "queries": output.queries,
    }
    tensors |= {name: value for name in _PER_FRAME if (value := getattr(output, name)) is not None}
    if output.mask_logits.features is not features.mask_features:
        tensors[OUTPUT_FEATURES] = output.mask_logits.features
    return tensors


class FrameStep(nn.Module):
    """Frames ``(T, 3, H, W)``, uint8 RGB, to their features, each ``(T, ...)``."""

    def __init__(self, model: Segmenter) -> None:
        super().__init__()
        self.model = model

    def forward(self, frames: Tensor) -> tuple[Tensor, ...]:
        """Encode the frames as one clip."""
        return tuple(part[0] for part in self.model.encode(frames[None]).tensors())


class WindowStep(nn.Module):
    """Features of the frames of a window, each ``(T, ...)``, to what is found in it, each ``(1, ...)``.

    Args:
        model: The segmenter.
        template: Features that it encoded; theirs are the sizes that are fixed in what is exported.
        has_queries: Whether queries to start from, ``(1, Q, C)``, come before the features.
    """

    def __init__(self, model: Segmenter, template: ClipFeatures, *, has_queries: bool) -> None:
        super().__init__()
        self.model = model
        self.template = template
        self.has_queries = has_queries
        self.output_names: tuple[str, ...] = ()

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Decode the window; sets :attr:`output_names`."""
        queries, parts = (tensors[0], tensors[1:]) if self.has_queries else (None, tensors)
        features = self.template.with_tensors(part[None] for part in parts)
        outputs = output_tensors(self.model.decode_window(features, queries), features)
        self.output_names = tuple(outputs)
        return tuple(outputs.values())
