"""Videos to run a model on and measure it: frames read when asked for, ground truth beside them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import numpy as np
from torch import Tensor

from video_mask2former.data.annotations import AnnotationSet
from video_mask2former.data.image_files import read_frames, read_image
from video_mask2former.structures import VideoInstances


@dataclass(frozen=True)
class EvaluationVideo:
    """One video of a dataset.

    Attributes:
        video_id: The dataset's id of it.
        size: Height and width of its frames.
        paths: Image file of each frame.
        class_names: The dataset's classes.
        annotations: The dataset.
        index: Position in the dataset.
    """

    video_id: int
    size: tuple[int, int]
    paths: tuple[Path, ...]
    class_names: tuple[str, ...]
    annotations: AnnotationSet
    index: int

    @property
    def num_frames(self) -> int:
        """Length of the video."""
        return len(self.paths)

    def read(self, start: int = 0, stop: int | None = None) -> Tensor:
        """Some of the frames, RGB, ``(T, 3, H, W)`` uint8."""
        return read_frames(self.paths[start:stop], self.size)

    def frames(self) -> Iterator[np.ndarray]:
        """The frames one after the other, RGB, ``(H, W, 3)`` uint8, each read when it is asked for."""
        for path in self.paths:
            yield read_image(path, self.size)

    def ground_truth(self) -> VideoInstances:
        """The annotated tracks.

        Raises:
            ValueError: If the annotations of the dataset are hidden.
        """
        return self.annotations.ground_truth(self.index)


class EvaluationVideos(Sequence[EvaluationVideo]):
    """All videos of a dataset, in the order of their ids.

    Args:
        annotations: The videos and their annotations.
        image_folder: Folder that the file names are relative to.
    """

    def __init__(self, annotations: AnnotationSet, image_folder: Path) -> None:
        self.annotations = annotations
        self.image_folder = image_folder

    def __len__(self) -> int:
        return len(self.annotations)

    @overload
    def __getitem__(self, index: int) -> EvaluationVideo: ...

    @overload
    def __getitem__(self, index: slice) -> list[EvaluationVideo]: ...

    def __getitem__(self, index: int | slice) -> EvaluationVideo | list[EvaluationVideo]:
        if isinstance(index, slice):
            return [self._video(position) for position in range(*index.indices(len(self)))]
        return self._video(range(len(self))[index])

    def _video(self, index: int) -> EvaluationVideo:
        record = self.annotations[index]
        return EvaluationVideo(
            video_id=record.video_id,
            size=record.size,
            paths=tuple(self.image_folder / name for name in record.file_names),
            class_names=self.annotations.class_names,
            annotations=self.annotations,
            index=index,
        )
