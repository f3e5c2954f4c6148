"""The clips that go in: annotated instances, and what the encoder makes of the frames."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from video_mask2former.structures.shapes import ShownByShape


@dataclass(frozen=True, repr=False)
class ClipTarget(ShownByShape):
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


@dataclass(frozen=True, repr=False)
class ClipFeatures(ShownByShape):
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

    def single_frames(self) -> ClipFeatures:
        """Every frame as a clip of its own, a batch of ``B * T``."""
        return self.with_tensors(part.flatten(0, 1)[:, None] for part in self.tensors())

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
