"""The containers that travel between rooms, checked when they are made.

Shape legend, used in every file::

    B clips in the batch   T frames in a clip   C channels   H, W height, width
    h, w height, width at a feature level (stride 4, 8, 16 or 32 of the padded frames)
    Q queries   N instances   K classes (class logits have K + 1 columns, "no object" last)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor

from video_mask2former.mask_logits import MaskLogits
from video_mask2former.rle import Rle, rle_area, rle_box


@dataclass(frozen=True)
class ClipTarget:
    """The annotated instances of one clip.

    Attributes:
        labels: Class of each instance, one for the whole clip whatever frames it is visible in, ``(N,)`` int64.
        masks: Where each instance is, all false on frames it is absent from, ``(N, T, H, W)`` bool.
        instance_ids: The annotation's own id of each instance, ``(N,)`` int64, or None where there are none.
        point_seed: Seed of the points at which its loss is sampled, so that the loss of a clip does not depend on the
            batch, the accumulation step or the rank that it is computed in; None draws from torch's own generator.
        labelled_classes: The classes of which every instance in view is annotated, ``(L,)`` int64; of the others,
            "not annotated" does not mean "not there". None: all classes.
        ignored: Pixels of which the annotation says nothing (void, crowd), ``(T, H, W)`` bool; None: there are none.
    """

    labels: Tensor
    masks: Tensor
    instance_ids: Tensor | None = None
    point_seed: int | None = None
    labelled_classes: Tensor | None = None
    ignored: Tensor | None = None

    def __post_init__(self) -> None:
        if self.masks.ndim != 4 or self.masks.dtype != torch.bool:
            raise ValueError(
                f"masks must be (N, T, H, W) bool, got {tuple(self.masks.shape)} {self.masks.dtype}. "
                "Threshold soft masks first, and add a time axis with masks[:, None] for images."
            )
        if self.labels.shape != self.masks.shape[:1] or self.labels.dtype != torch.int64:
            raise ValueError(
                f"labels must be (N,) int64 with N = {self.masks.shape[0]} as in masks, "
                f"got {tuple(self.labels.shape)} {self.labels.dtype}."
            )
        if self.instance_ids is not None and self.instance_ids.shape != self.labels.shape:
            raise ValueError(
                f"instance_ids must have the shape of labels, {tuple(self.labels.shape)}, "
                f"got {tuple(self.instance_ids.shape)}."
            )
        classes = self.labelled_classes
        if classes is not None and (classes.ndim != 1 or classes.dtype != torch.int64):
            raise ValueError(f"labelled_classes must be (L,) int64, got {tuple(classes.shape)} {classes.dtype}.")
        ignored = self.ignored
        if ignored is not None and (ignored.shape != self.masks.shape[1:] or ignored.dtype != torch.bool):
            raise ValueError(
                f"ignored must be (T, H, W) = {tuple(self.masks.shape[1:])} bool as in masks, "
                f"got {tuple(ignored.shape)} {ignored.dtype}."
            )

    def __len__(self) -> int:
        return self.labels.shape[0]

    def to(self, device: torch.device | str) -> ClipTarget:
        """This target on another device."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> ClipTarget:
        """This target in page-locked memory, from which copies to a GPU can run beside other work."""
        return self._map(lambda tensor: tensor.pin_memory())

    def map_masks(self, function: Callable[[Tensor], Tensor]) -> ClipTarget:
        """The same instances with other masks.

        Args:
            function: Masks ``(N, T, H, W)`` bool of any N to others of the same N; the ignored pixels are given to it
                as the mask of one instance more.
        """
        ignored = None if self.ignored is None else function(self.ignored[None])[0]
        return replace(self, masks=function(self.masks), ignored=ignored)

    def select(self, instances: Tensor) -> ClipTarget:
        """Some of the instances, by a mask ``(N,)`` bool or by their indices."""
        ids = None if self.instance_ids is None else self.instance_ids[instances]
        return replace(self, labels=self.labels[instances], masks=self.masks[instances], instance_ids=ids)

    def _map(self, function: Callable[[Tensor], Tensor]) -> ClipTarget:
        def optional(part: Tensor | None) -> Tensor | None:
            return None if part is None else function(part)

        return replace(
            self,
            labels=function(self.labels),
            masks=function(self.masks),
            instance_ids=optional(self.instance_ids),
            labelled_classes=optional(self.labelled_classes),
            ignored=optional(self.ignored),
        )


@dataclass(frozen=True)
class ClipFeatures:
    """What the decoder needs to know of the frames; made frame by frame, so it can be made in chunks of frames.

    Attributes:
        mask_features: ``(B, T, C, h, w)`` at stride 4 of the padded frames; None where decoding makes them.
        levels: Features at strides 32, 16 and 8, coarsest first, each ``(B, T, C, h, w)``.
        frame_size: Height and width of the frames that went in.
        padded_size: Height and width after padding.
        tokens: Those of a vision transformer, ``(B, T, S, C)``.
        pixel_features: The maps that mask features are projected from, ``(B, T, C, h, w)``; only where a tracker or
            refiner projects mask features of its own.
    """

    mask_features: Tensor | None
    levels: tuple[Tensor, ...]
    frame_size: tuple[int, int]
    padded_size: tuple[int, int]
    tokens: Tensor | None = None
    pixel_features: Tensor | None = None

    def __post_init__(self) -> None:
        tensors = self.tensors()
        if not tensors or any(tensor.shape[:2] != tensors[0].shape[:2] for tensor in tensors):
            raise ValueError(
                "features must be at least one tensor, mask_features and levels (B, T, C, h, w), tokens (B, T, S, C), "
                f"all of the same B and T, got {[tuple(tensor.shape) for tensor in tensors]}."
            )

    @property
    def num_frames(self) -> int:
        """T."""
        return self.tensors()[0].shape[1]

    @property
    def pixels(self) -> Tensor:
        """The mask features.

        Raises:
            ValueError: If there are none.
        """
        if self.mask_features is None:
            raise ValueError("these features have no mask features. Decode them with the model that encoded them.")
        return self.mask_features

    def tensors(self) -> list[Tensor]:
        """Those that are there, mask features first, then levels, tokens and pixel features."""
        every = (self.mask_features, *self.levels, self.tokens, self.pixel_features)
        return [tensor for tensor in every if tensor is not None]

    def with_tensors(self, tensors: Iterable[Tensor]) -> ClipFeatures:
        """The same with other tensors, as many as there are and in the order of :meth:`tensors`."""
        given = iter(tensors)
        return replace(
            self,
            mask_features=None if self.mask_features is None else next(given),
            levels=tuple(next(given) for _ in self.levels),
            tokens=None if self.tokens is None else next(given),
            pixel_features=None if self.pixel_features is None else next(given),
        )

    def frames(self, start: int, stop: int) -> ClipFeatures:
        """The frames ``start:stop`` of every clip."""
        return self.with_tensors(part[:, start:stop] for part in self.tensors())

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> ClipFeatures:
        """The same features elsewhere, or in another precision."""
        return self.with_tensors(part.to(device=device, dtype=dtype) for part in self.tensors())

    @staticmethod
    def concatenate(parts: Sequence[ClipFeatures]) -> ClipFeatures:
        """Join chunks of frames of the same clips, in the order given."""
        sizes = {(part.frame_size, part.padded_size) for part in parts}
        if len(sizes) != 1:
            raise ValueError(f"chunks of one clip must have one frame and padded size, got {sorted(sizes)}.")
        rows = zip(*(part.tensors() for part in parts), strict=True)
        return parts[0].with_tensors(torch.cat(row, dim=1) for row in rows)


@dataclass(frozen=True)
class ClipOutput:
    """What the model says of a batch of clips: one prediction per query for the whole clip.

    Models that predict frame by frame fill the fields of single frames as well, and give mask embeddings per frame.

    Attributes:
        class_logits: ``(B, Q, K + 1)``, "no object" last.
        mask_logits: Mask of each query on each frame, kept factored; see :class:`MaskLogits`.
        query_embeddings: The LayerNormed queries that the prediction heads read, or what a re-ID head makes of them,
            ``(B, Q, C)``; what trackers compare.
        queries: The decoder's state behind them, before that LayerNorm, ``(B, Q, C)``; what starts the next clip
            when queries are propagated.
        frame_size: Height and width of the frames that went in.
        padded_size: Height and width after padding, which ``mask_logits`` cover.
        auxiliary: Earlier predictions, first that of the learned queries, then one per decoder layer but the last.
            Their ``auxiliary`` is empty. Where they share one tensor of mask features, losses multiply it out once.
        frame_class_logits: ``(B, T, Q, K + 1)``; ``class_logits`` is their mean unless a model says otherwise.
        frame_embeddings: As ``query_embeddings``, frame by frame, ``(B, T, Q, C)``.
        frame_queries: As ``queries``, frame by frame, ``(B, T, Q, C)``.
        class_scores: Score of each class where it is not the softmax of ``class_logits`` (the greatest of several
            clips', or of a tracker's and a refiner's), ``(B, Q, K)``; see :meth:`class_probabilities`.
        contrast_embeddings: What contrastive losses compare between frames, ``(B, T, Q, C)``; for training.
        pixel_features: Those of :class:`ClipFeatures`.
        semantic_logits: Class of each pixel from a head of its own, ``(B, T, K + 1, h, w)``, "nothing" last; for
            training.
        guide: What an earlier stage predicts of the same queries, by which a criterion may match them while they are
            still poor; for training.
    """

    class_logits: Tensor
    mask_logits: MaskLogits
    query_embeddings: Tensor
    queries: Tensor
    frame_size: tuple[int, int]
    padded_size: tuple[int, int]
    auxiliary: tuple[ClipOutput, ...] = ()
    frame_class_logits: Tensor | None = None
    frame_embeddings: Tensor | None = None
    frame_queries: Tensor | None = None
    class_scores: Tensor | None = None
    contrast_embeddings: Tensor | None = None
    pixel_features: Tensor | None = None
    semantic_logits: Tensor | None = None
    guide: ClipOutput | None = None

    def __post_init__(self) -> None:
        batch, num_queries, num_frames, _, _ = self.mask_logits.shape
        if self.class_logits.ndim != 3 or self.class_logits.shape[:2] != (batch, num_queries):
            raise ValueError(
                f"class_logits must be (B, Q, K + 1) with (B, Q) = {(batch, num_queries)} "
                f"as in mask_logits, got {tuple(self.class_logits.shape)}."
            )
        for name in _FRAME_FIELDS:
            value = getattr(self, name)
            if value is not None and (value.ndim != 4 or value.shape[:3] != (batch, num_frames, num_queries)):
                raise ValueError(
                    f"{name} must be (B, T, Q, ...) with (B, T, Q) = {(batch, num_frames, num_queries)}, "
                    f"got {tuple(value.shape)}."
                )

    @property
    def num_classes(self) -> int:
        """K, without "no object"."""
        return self.class_logits.shape[2] - 1

    def class_probabilities(self) -> Tensor:
        """Probability of each class, ``(B, Q, K + 1)``, "no object" last, in float32 at least.

        Classes have their ``class_scores`` where there are any, and may then add up to more than one with "no object".
        """
        return class_probabilities(self.class_logits, self.class_scores)

    def clip(self, index: int) -> ClipOutput:
        """The output of one clip of the batch, as a batch of one."""
        part = slice(index, index + 1)
        return self._cut(lambda value: value[part])

    def joined_frames(self, num_frames: int) -> ClipOutput:
        """Clips of one frame, ``num_frames`` of which follow each other in one video, as the frames of longer clips.

        Queries keep their index, whatever they show on each frame: what is the same object is for a tracker to find.

        Args:
            num_frames: T; this output is a batch of ``B * T`` clips of one frame each.
        """
        if self.mask_logits.features.shape[1] != 1 or len(self.class_logits) % num_frames:
            raise ValueError(
                f"expected a batch of clips of one frame each, a multiple of {num_frames = } of them, got "
                f"{len(self.class_logits)} clips of {self.mask_logits.features.shape[1]} frames."
            )
        features = _OnceEach(lambda value: value.squeeze(1).unflatten(0, (-1, num_frames)))

        def join(output: ClipOutput, auxiliary: tuple[ClipOutput, ...]) -> ClipOutput:
            embeddings = output.mask_logits.embeddings
            if output.mask_logits.is_per_frame:
                embeddings = embeddings.squeeze(1)
            logits, query_embeddings, queries, embeddings = (
                value.unflatten(0, (-1, num_frames))
                for value in (output.class_logits, output.query_embeddings, output.queries, embeddings)
            )
            return replace(
                output,
                class_logits=logits.mean(dim=1),
                mask_logits=MaskLogits(embeddings, features(output.mask_logits.features)),
                query_embeddings=query_embeddings.mean(dim=1),
                queries=queries.mean(dim=1),
                auxiliary=auxiliary,
                frame_class_logits=logits,
                frame_embeddings=query_embeddings,
                frame_queries=queries,
                contrast_embeddings=_map_optional(
                    output.contrast_embeddings, lambda value: value.squeeze(1).unflatten(0, (-1, num_frames))
                ),
            )

        return join(self, tuple(join(earlier, ()) for earlier in self.auxiliary))

    def frames(self, start: int, stop: int) -> ClipOutput:
        """The frames ``start:stop`` of an output that was made frame by frame, without auxiliary predictions.

        Raises:
            ValueError: If it has no class logits per frame.
        """
        if self.frame_class_logits is None:
            raise ValueError("only an output with frame_class_logits can be cut into frames.")
        fields: dict[str, Any] = {
            name: value[:, start:stop]
            for name in (*_FRAME_FIELDS, *_MAP_FIELDS)
            if (value := getattr(self, name)) is not None
        }
        return replace(
            self,
            class_logits=fields["frame_class_logits"].mean(dim=1),
            mask_logits=self.mask_logits.frames(start, stop),
            auxiliary=(),
            class_scores=None,
            guide=None,
            **fields,
        )

    def _cut(self, function: Callable[[Tensor], Tensor]) -> ClipOutput:
        """``function`` of every tensor; of mask features once, so that predictions that share them go on doing so."""
        features = _OnceEach(function)

        def cut(output: ClipOutput, auxiliary: tuple[ClipOutput, ...]) -> ClipOutput:
            names = ("class_logits", "query_embeddings", "queries", *_OPTIONAL_FIELDS)
            parts: dict[str, Any] = {
                name: function(value) for name in names if (value := getattr(output, name)) is not None
            }
            mask_logits = MaskLogits(function(output.mask_logits.embeddings), features(output.mask_logits.features))
            guide = None if output.guide is None else output.guide._cut(function)
            return replace(output, mask_logits=mask_logits, auxiliary=auxiliary, guide=guide, **parts)

        return cut(self, tuple(cut(earlier, ()) for earlier in self.auxiliary))


_FRAME_FIELDS = ("frame_class_logits", "frame_embeddings", "frame_queries", "contrast_embeddings")
_MAP_FIELDS = ("pixel_features", "semantic_logits")
_OPTIONAL_FIELDS = (*_FRAME_FIELDS, *_MAP_FIELDS, "class_scores")


def _map_optional(value: Tensor | None, function: Callable[[Tensor], Tensor]) -> Tensor | None:
    return None if value is None else function(value)


class _OnceEach:
    """A function of tensors that gives the same result for the same tensor."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        self._function = function
        self._results: dict[int, Tensor] = {}

    def __call__(self, tensor: Tensor) -> Tensor:
        if id(tensor) not in self._results:
            self._results[id(tensor)] = self._function(tensor)
        return self._results[id(tensor)]


def class_probabilities(class_logits: Tensor, class_scores: Tensor | None) -> Tensor:
    """Softmax of ``class_logits (..., K + 1)``, with ``class_scores (..., K)`` for its classes where they are given."""
    probabilities = _at_least_float32(class_logits).softmax(dim=-1)
    if class_scores is None:
        return probabilities
    return torch.cat([class_scores.to(probabilities.dtype), probabilities[..., -1:]], dim=-1)


def _at_least_float32(values: Tensor) -> Tensor:
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


@dataclass(frozen=True)
class FrameInstances:
    """The instances visible on one frame, in the form that is drawn, streamed and written.

    Attributes:
        frame_index: Position of the frame in the source video, from 0.
        size: Height and width of the frame.
        track_ids: Stable id of each instance.
        labels: Class index of each.
        scores: Confidence of each, in [0, 1].
        segmentations: Mask of each, compressed RLE.
    """

    frame_index: int
    size: tuple[int, int]
    track_ids: tuple[int, ...]
    labels: tuple[int, ...]
    scores: tuple[float, ...]
    segmentations: tuple[Rle, ...]

    def __post_init__(self) -> None:
        lengths = {len(self.track_ids), len(self.labels), len(self.scores), len(self.segmentations)}
        if len(lengths) != 1:
            raise ValueError(
                "track_ids, labels, scores and segmentations must have one length, got "
                f"{len(self.track_ids)}, {len(self.labels)}, {len(self.scores)} and {len(self.segmentations)}."
            )

    def __len__(self) -> int:
        return len(self.track_ids)


@dataclass(frozen=True)
class Track:
    """One object through a video.

    Attributes:
        track_id: Its id, the same on every frame.
        label: Class index, from 0.
        score: Confidence of the whole track, in [0, 1]; 1 for ground truth.
        segmentations: Frame index to mask (compressed RLE); frames without the object are not in it.
        frame_scores: Frame index to confidence on that frame, empty where the method gives none.
        is_crowd: Whether the annotation marks a group rather than one object.
    """

    track_id: int
    label: int
    score: float
    segmentations: Mapping[int, Rle]
    frame_scores: Mapping[int, float] = field(default_factory=dict)
    is_crowd: bool = False

    def areas(self) -> dict[int, int]:
        """Pixels of the mask on each frame it has one."""
        return {index: rle_area(rle) for index, rle in self.segmentations.items()}

    def boxes_xywh(self) -> dict[int, tuple[float, float, float, float]]:
        """Tight box around the mask on each frame it has one, as (x, y, width, height) in pixels."""
        return {index: rle_box(rle) for index, rle in self.segmentations.items()}


@dataclass(frozen=True)
class VideoInstances:
    """The tracks of one video: a prediction or the ground truth.

    Attributes:
        tracks: The tracks, in no particular order.
        num_frames: Length of the video.
        size: Height and width of its frames.
        frame_rate: Frames per second, None where unknown (folders of images).
        class_names: Name of each class index, empty where unknown.
        video_id: The dataset's id of the video, None outside a dataset.
    """

    tracks: tuple[Track, ...]
    num_frames: int
    size: tuple[int, int]
    frame_rate: Fraction | None = None
    class_names: Sequence[str] = ()
    video_id: int | None = None

    def __post_init__(self) -> None:
        for track in self.tracks:
            outside = [index for index in track.segmentations if not 0 <= index < self.num_frames]
            if outside:
                raise ValueError(
                    f"track {track.track_id} has a mask on frame {outside[0]} of a video of {self.num_frames} frames."
                )

    def __len__(self) -> int:
        return len(self.tracks)

    def at_frame(self, frame_index: int) -> FrameInstances:
        """The instances visible on one frame."""
        if not 0 <= frame_index < self.num_frames:
            raise IndexError(f"frame_index must be in [0, {self.num_frames}), got {frame_index}.")
        here = [track for track in self.tracks if frame_index in track.segmentations]
        return FrameInstances(
            frame_index,
            self.size,
            tuple(track.track_id for track in here),
            tuple(track.label for track in here),
            tuple(track.frame_scores.get(frame_index, track.score) for track in here),
            tuple(track.segmentations[frame_index] for track in here),
        )
