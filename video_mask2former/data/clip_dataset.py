"""Training clips from annotated videos; an image is a video of one frame, so COCO comes through the same door."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch.utils.data import Dataset

from video_mask2former.data.annotations import AnnotationSet
from video_mask2former.data.copy_paste import paste_instances
from video_mask2former.data.frame_sampler import FrameSampler
from video_mask2former.data.image_files import read_frames
from video_mask2former.data.samples import ClipSample
from video_mask2former.data.transforms import Transform

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ClipRequest:
    """Which sample is wanted: everything random about it follows from ``seed``.

    Attributes:
        index: Position in the dataset.
        seed: Numbers that make this sample's generator, unique to the sample in the whole training.
    """

    index: int
    seed: tuple[int, ...]


class ClipDataset(Dataset[ClipSample]):
    """Random clips of the videos of one annotation file.

    A clip with a file or a mask that cannot be read is logged, once for each process and file, and a clip of
    another video is drawn instead: one bad file out of thousands does not end a training. Where nothing can be read,
    the error is raised.

    Args:
        annotations: The annotated videos.
        image_folder: Folder that the file names are relative to.
        name: What samples say of where they come from.
        sample_frames: Chooses the frames of a clip.
        transform: What is done to every clip.
        empty_clips: "resample" draws another clip where no instance is visible, of the same video first and of
            others then, and leaves out videos without instances; "keep" trains on empty clips as well.
        copy_paste_probability: Chance that instances of another clip are pasted.
        touching_probability: Chance that what is pasted touches an instance of its class; see
            :func:`~video_mask2former.data.copy_paste.paste_instances`.
    """

    max_draws = 12
    draws_per_video = 3

    def __init__(
        self,
        annotations: AnnotationSet,
        image_folder: Path,
        *,
        name: str,
        sample_frames: FrameSampler,
        transform: Transform,
        empty_clips: Literal["resample", "keep"] = "resample",
        copy_paste_probability: float = 0.0,
        touching_probability: float = 0.0,
    ) -> None:
        if not annotations.has_annotations:
            raise ValueError(f"{annotations.path} has no annotations to train on: those of this set are hidden.")
        self.annotations = annotations
        self.image_folder = image_folder
        self.name = name
        self.sample_frames = sample_frames
        self.transform = transform
        self.keep_empty = empty_clips == "keep"
        self.copy_paste_probability = copy_paste_probability
        self.touching_probability = touching_probability
        usable = np.arange(len(annotations)) if self.keep_empty else annotations.annotated_videos()
        if not len(usable):
            raise ValueError(f"{annotations.path} has no video with an instance to train on.")
        self._videos = torch.from_numpy(usable)  # one buffer, which workers share
        self._reported: set[str] = set()

    def __len__(self) -> int:
        return len(self._videos)

    def __getitem__(self, request: ClipRequest) -> ClipSample:
        return self.sample(request.index, np.random.default_rng(request.seed))

    def sample(self, index: int, rng: np.random.Generator) -> ClipSample:
        """One clip of the video at ``index``, drawn and transformed."""
        sample = self._draw(index, rng)
        if rng.random() < self.copy_paste_probability:
            other = self._draw(int(rng.integers(len(self))), rng)
            if other.video_id != sample.video_id:  # an instance has one place in a clip
                sample = paste_instances(sample, other, rng, self.touching_probability)
        return replace(sample, target=replace(sample.target, point_seed=int(rng.integers(2**31))))

    def _draw(self, index: int, rng: np.random.Generator) -> ClipSample:
        sample: ClipSample | None = None
        error: Exception | None = None
        for draw in range(self.max_draws):
            if error is not None or (draw and draw % self.draws_per_video == 0):
                index = int(rng.integers(len(self)))
            video_index, error = int(self._videos[index]), None
            frame_indices = self.sample_frames(self.annotations.num_frames(video_index), rng)
            visible = self.annotations.visible_instances(video_index)[:, list(frame_indices)]
            if not (self.keep_empty or visible.any() or draw == self.max_draws - 1):
                continue
            try:
                clip = self._read(video_index, frame_indices)
            except (OSError, ValueError) as failure:
                error = failure
                self._report(str(failure))
                continue
            sample = self._transformed(clip, rng)
            if self.keep_empty or len(sample.target):
                return sample
        if sample is None:
            assert error is not None, "the last draw is always read"
            raise error
        return sample

    def _report(self, problem: str) -> None:
        if problem not in self._reported:
            self._reported.add(problem)
            logger.warning("%s: %s Another clip is drawn instead.", self.name, problem)

    def _transformed(self, sample: ClipSample, rng: np.random.Generator) -> ClipSample:
        frames, target = self.transform(sample.frames, sample.target, rng)
        return replace(sample, frames=frames, target=target)

    def _read(self, video_index: int, frame_indices: tuple[int, ...]) -> ClipSample:
        """Read some frames, each file and mask once however often it occurs."""
        unique, positions = np.unique(frame_indices, return_inverse=True)
        packed = self.annotations.packed
        names = [packed.file_name(video_index, frame) for frame in unique.tolist()]
        frames = read_frames([self.image_folder / name for name in names], self.annotations.size(video_index))
        target = self.annotations.clip_target(video_index, tuple(unique.tolist()))
        if len(unique) < len(frame_indices) or frame_indices != tuple(unique.tolist()):
            order = torch.from_numpy(positions)
            frames = frames[order]
            target = target.map_masks(lambda masks: masks[:, order])
        return ClipSample(
            frames,
            target,
            self.name,
            int(packed.video_ids[video_index]),
            frame_indices,
            tuple(names[position] for position in positions.tolist()),
        )
