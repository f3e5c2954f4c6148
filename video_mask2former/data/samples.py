"""The training sample, one type for all datasets, and batches of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from video_mask2former.structures import ClipTarget


@dataclass(frozen=True)
class ClipSample:
    """A clip, its instances, and where it comes from.

    Attributes:
        frames: RGB, ``(T, 3, H, W)`` uint8.
        target: The instances visible on at least one of the frames.
        dataset: Name of the dataset.
        video_id: The dataset's id of the video, or of the image.
        frame_indices: Which frames of the video these are; a frame can be there several times.
        file_names: The files the frames were read from, relative to the folder of the images.
    """

    frames: Tensor
    target: ClipTarget
    dataset: str
    video_id: int
    frame_indices: tuple[int, ...]
    file_names: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.frames.ndim != 4 or self.frames.shape[1] != 3 or self.frames.dtype != torch.uint8:
            raise ValueError(f"frames must be (T, 3, H, W) uint8, got {tuple(self.frames.shape)} {self.frames.dtype}.")
        num_frames, _, height, width = self.frames.shape
        if tuple(self.target.masks.shape[1:]) != (num_frames, height, width):
            raise ValueError(
                f"masks must be (N, T, H, W) with (T, H, W) = {(num_frames, height, width)} as in frames, "
                f"got {tuple(self.target.masks.shape)}."
            )
        if not len(self.frame_indices) == len(self.file_names) == num_frames:
            raise ValueError(
                f"frame_indices and file_names must have one entry for each of {num_frames} frames, "
                f"got {len(self.frame_indices)} and {len(self.file_names)}."
            )

    def pin_memory(self) -> ClipSample:
        """This sample in page-locked memory, from which copies to a GPU can run beside other work."""
        return replace(self, frames=self.frames.pin_memory(), target=self.target.pin_memory())


@dataclass(frozen=True)
class ClipBatch:
    """Clips that go through the model together; their sizes may differ, their number of frames may not."""

    samples: tuple[ClipSample, ...]

    def __post_init__(self) -> None:
        lengths = sorted({sample.frames.shape[0] for sample in self.samples})
        if len(lengths) > 1:
            raise ValueError(f"the clips of a batch must have one number of frames, got {lengths}.")

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def frames(self) -> list[Tensor]:
        """Frames of each clip, ``(T, 3, H_i, W_i)`` uint8."""
        return [sample.frames for sample in self.samples]

    @property
    def targets(self) -> list[ClipTarget]:
        """Instances of each clip."""
        return [sample.target for sample in self.samples]

    @property
    def sources(self) -> list[str]:
        """Where each clip comes from, for people."""
        return [f"{sample.dataset}, video {sample.video_id}: {', '.join(sample.file_names)}" for sample in self.samples]

    def pin_memory(self) -> ClipBatch:
        """This batch in page-locked memory; :class:`torch.utils.data.DataLoader` calls it."""
        return ClipBatch(tuple(sample.pin_memory() for sample in self.samples))


def collate_clips(samples: Sequence[ClipSample]) -> ClipBatch:
    """Put samples into a batch; padding to a common size is the model's work."""
    return ClipBatch(tuple(samples))


def drop_invisible(target: ClipTarget) -> ClipTarget:
    """Leave out the instances that have no pixel on any frame."""
    is_visible = target.masks.flatten(1).any(dim=1)
    if bool(is_visible.all()):
        return target
    return target.select(is_visible)
