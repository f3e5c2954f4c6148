"""What every segmenter offers: frames in, one class and one mask per query out. An image is a clip with T = 1."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from typing_extensions import TypedDict

from video_mask2former.option_values import MaskQualityChoice
from video_mask2former.structures import ClipFeatures, ClipOutput

IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)


class FrameOptions(TypedDict, total=False):
    """The arguments of :class:`Segmenter` that every kind of segmenter hands on to it."""

    pixel_mean: Sequence[float]
    pixel_std: Sequence[float]
    size_divisibility: int
    class_names: Sequence[str]
    input_sides: tuple[int, int]


class Segmenter(nn.Module, ABC):
    """Finds objects in clips: ``forward`` is ``decode(encode(frames))``.

    ``encode`` works frame by frame, so long clips can be encoded in chunks and joined with
    :meth:`ClipFeatures.concatenate`; ``decode`` sees a whole window of frames. A custom segmenter needs these two.

    Args:
        num_classes: K, without "no object".
        pixel_mean: Mean of each channel, RGB 0..255.
        pixel_std: Standard deviation of each channel.
        size_divisibility: Frames are padded right and below to a multiple of this.
        class_names: Name of each class index, empty where unknown.
        input_sides: What frames should be resized to for the model: their short side, and the most that
            the long side may have then.

    Attributes:
        default_parts: Name of the part that stands in each argument that is a part, where a configuration names none.
        preferred_tracker: Name of the tracker that follows its objects where none is named; None leaves that open.
        mask_quality: How scores count the quality of masks where nothing is said, see :class:`InferenceSettings`.
        online_window: Frames of a window online, where nothing is said.
        criterion: Name of the training loss, where a configuration names none.
        queries_are_classes: Whether query k is class k, on every frame.
        built_from: The configuration that it was built from, as plain values; None where it was built in Python.
        keeps_pixel_features: Whether features have the maps that mask features are projected from, where there are
            such maps; set by what projects its own mask features.
    """

    default_parts: ClassVar[Mapping[str, str]] = {}
    preferred_tracker: ClassVar[str | None] = None
    mask_quality: MaskQualityChoice = "none"
    online_window: int = 1
    criterion: ClassVar[str] = "clip"
    queries_are_classes: ClassVar[bool] = False
    built_from: Mapping[str, Any] | None = None
    keeps_pixel_features: bool = False

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(
        self,
        num_classes: int,
        *,
        pixel_mean: Sequence[float] = IMAGENET_MEAN,
        pixel_std: Sequence[float] = IMAGENET_STD,
        size_divisibility: int = 32,
        class_names: Sequence[str] = (),
        input_sides: tuple[int, int] = (360, 1333),
    ) -> None:
        super().__init__()
        if class_names and len(class_names) != num_classes:
            raise ValueError(f"class_names must name {num_classes} classes, got {len(class_names)} names.")
        if size_divisibility < 1:
            raise ValueError(f"size_divisibility must be at least 1, got {size_divisibility}.")
        if len(pixel_mean) != 3 or len(pixel_std) != 3 or 0 in pixel_std:
            raise ValueError(
                "pixel_mean and pixel_std must have three values each, and no deviation of 0, got "
                f"{tuple(pixel_mean)} and {tuple(pixel_std)}."
            )
        self.num_classes = num_classes
        self.size_divisibility = size_divisibility
        self.class_names = tuple(class_names)
        self.input_sides = input_sides
        self.register_buffer("pixel_mean", torch.tensor(pixel_mean).view(3, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(pixel_std).view(3, 1, 1), persistent=False)

    @property
    @abstractmethod
    def num_queries(self) -> int:
        """Q."""

    @abstractmethod
    def encode(self, frames: Tensor | Sequence[Tensor]) -> ClipFeatures:
        """The part that looks at each frame by itself; arguments as in :meth:`forward`."""

    @abstractmethod
    def decode(self, features: ClipFeatures, initial_queries: Tensor | None = None) -> ClipOutput:
        """The part that looks at a window of frames.

        Args:
            features: From :meth:`encode`.
            initial_queries: Start from these queries, ``(B, Q, C)``, instead of the learned ones.
        """

    def decode_window(self, features: ClipFeatures, initial_queries: Tensor | None = None) -> ClipOutput:
        """What trackers take in of a window of frames; :meth:`decode`, unless that follows objects by itself."""
        return self.decode(features, initial_queries)

    def forward(self, frames: Tensor | Sequence[Tensor], initial_queries: Tensor | None = None) -> ClipOutput:
        """Predict the objects of each clip.

        Args:
            frames: ``(B, T, 3, H, W)``, RGB 0..255, uint8 or floating point; or a list of ``B`` clips
                ``(T, 3, H_i, W_i)``, which are padded to a common size.
            initial_queries: See :meth:`decode`.

        Returns:
            One prediction per query and clip; masks cover the padded frames.
        """
        return self.decode(self.encode(frames), initial_queries)

    def begin_step(self, step: int) -> None:
        """Called with the number of each training step before it, for what changes in its course."""

    def extra_repr(self) -> str:
        """What printing the model says of it before its parts."""
        short, long = self.input_sides
        return f"{self.num_classes} classes, {self.num_queries} queries, short side {short}, long side at most {long}"

    def recompute_activations(self, enabled: bool = True) -> None:
        """Trade time for memory in training: recompute activations in the backward pass instead of keeping them.

        Sets the attribute ``recompute`` of every part that has one.
        """
        for module in self.modules():
            if hasattr(module, "recompute"):
                setattr(module, "recompute", enabled)  # noqa: B010 (to mypy, modules have tensors only)

    def normalise_and_pad(self, frames: Tensor | Sequence[Tensor]) -> tuple[Tensor, tuple[int, int]]:
        """Frames as a backbone wants them.

        Args:
            frames: As in :meth:`forward`.

        Returns:
            Normalised frames ``(B, T, 3, H, W)``, padded with zeros right and below to a multiple of
            ``size_divisibility``, and their height and width before padding.
        """
        clips = list(frames)
        _check_clips(frames, clips)
        height = max(clip.shape[2] for clip in clips)
        width = max(clip.shape[3] for clip in clips)
        padded_height, padded_width = (
            (side + self.size_divisibility - 1) // self.size_divisibility * self.size_divisibility
            for side in (height, width)
        )
        device, dtype = self.pixel_mean.device, self.pixel_mean.dtype
        normalised = [
            F.pad(
                # First to the device, then to floats: bytes are a quarter of the way.
                (clip.to(device).to(dtype) - self.pixel_mean) / self.pixel_std,
                (0, padded_width - clip.shape[3], 0, padded_height - clip.shape[2]),
            )
            for clip in clips
        ]
        return torch.stack(normalised), (height, width)


def _check_clips(frames: Tensor | Sequence[Tensor], clips: list[Tensor]) -> None:
    if isinstance(frames, Tensor) and frames.ndim != 5:
        raise ValueError(
            f"frames must be (B, T, 3, H, W), got {tuple(frames.shape)}. "
            "Add a batch axis with frames[None], and a time axis with frames[:, None] for images."
        )
    if not clips:
        raise ValueError("frames must hold at least one clip, got none.")
    for clip in clips:
        if not isinstance(clip, Tensor):
            raise TypeError(f"clips must be tensors, got {type(clip).__name__}. Convert arrays with torch.from_numpy.")
        if clip.ndim != 4 or clip.shape[1] != 3 or clip.shape[0] != clips[0].shape[0] or 0 in clip.shape:
            raise ValueError(
                f"every clip must be (T, 3, H, W) with T = {clips[0].shape[0]} as in the first, "
                f"got {tuple(clip.shape)}. Frames are RGB, channels before height."
            )
