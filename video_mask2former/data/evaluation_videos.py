"""Videos to run a model on and measure it: frames read when asked for, ground truth beside them.

Images are videos of one frame. Whatever form a dataset has, its ground truth is read as tracks.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, overload

import numpy as np

from video_mask2former.data.annotations import AnnotationSet
from video_mask2former.data.image_files import read_image
from video_mask2former.data.label_maps import LabelMapFolder
from video_mask2former.data.missing_images import check_images
from video_mask2former.data.panoptic_files import PanopticFile, PanopticSample
from video_mask2former.structures import VideoInstances

AnnotationForm = Literal["instances", "panoptic", "label maps"]


@dataclass(frozen=True)
class EvaluationVideo:
    """One video of a dataset.

    Attributes:
        video_id: A number of its own in the dataset.
        key: The dataset's own id of it.
        name: What files about it are called, without suffix; may have folders in it.
        title: What people call it.
        frame_names: What files about its frames are called, without suffix.
        paths: Image file of each frame; None where the folder of the images is not known.
        size: Height and width of its frames; None takes the images as they are.
        read_ground_truth: Reads the annotated tracks.
    """

    video_id: int
    key: int | str
    name: str
    title: str
    frame_names: tuple[str, ...]
    paths: tuple[Path, ...] | None
    size: tuple[int, int] | None
    read_ground_truth: Callable[[], VideoInstances]

    def __len__(self) -> int:
        return len(self._known_paths())

    def __iter__(self) -> Iterator[np.ndarray]:
        """The frames one after the other, RGB, ``(H, W, 3)`` uint8, each read when it is asked for."""
        for path in self._known_paths():
            yield read_image(path, self.size)

    def ground_truth(self) -> VideoInstances:
        """The annotated tracks.

        Raises:
            ValueError: If the annotations of the dataset are hidden.
        """
        return replace(self.read_ground_truth(), video_id=self.video_id)

    def _known_paths(self) -> tuple[Path, ...]:
        if self.paths is None:
            raise ValueError("predicting needs the images: give their folder with --images.")
        return self.paths


class EvaluationSet(Sequence[EvaluationVideo], ABC):
    """All videos of a dataset, in the order of the dataset.

    Attributes:
        path: The annotation file or folder.
        image_folder: Folder of the images, None if unknown.
        form: What is annotated.
        class_names: Name of each class.
        category_ids: The dataset's category id of each class.
        is_thing: Whether each class has countable objects.
        is_of_images: Whether every video is one image.
        has_annotations: False where only the videos are listed, and their annotations are kept by a server.
    """

    path: Path
    image_folder: Path | None
    form: AnnotationForm
    class_names: tuple[str, ...]
    category_ids: tuple[int, ...]
    is_thing: tuple[bool, ...]
    is_of_images: bool
    has_annotations: bool = True

    @overload
    def __getitem__(self, index: int) -> EvaluationVideo: ...

    @overload
    def __getitem__(self, index: slice) -> list[EvaluationVideo]: ...

    def __getitem__(self, index: int | slice) -> EvaluationVideo | list[EvaluationVideo]:
        if isinstance(index, slice):
            return [self._video(position) for position in range(*index.indices(len(self)))]
        return self._video(range(len(self))[index])

    def check_images(self) -> None:
        """Look for all images before hours are spent on predicting them.

        Raises:
            FileNotFoundError: If one is missing.
        """
        if self.image_folder is None:
            return
        for video in self:
            for path in video.paths or ():
                if not path.is_file():
                    raise FileNotFoundError(f"no image {path}, which {self.path} annotates. Is the folder right?")

    @abstractmethod
    def _video(self, index: int) -> EvaluationVideo: ...


class EvaluationVideos(EvaluationSet):
    """The videos or images of a YouTube-VIS or COCO file.

    Args:
        annotations: The videos and their annotations.
        image_folder: Folder that the file names are relative to.
        is_of_images: Whether it is a file of images; None if every video is one frame.
    """

    def __init__(
        self, annotations: AnnotationSet, image_folder: Path | None, *, is_of_images: bool | None = None
    ) -> None:
        self.annotations = annotations
        self.path, self.image_folder, self.form = annotations.path, image_folder, "instances"
        self.class_names, self.category_ids = annotations.class_names, annotations.category_ids
        self.is_thing = annotations.is_thing
        self.is_of_images = annotations.is_of_images if is_of_images is None else is_of_images
        self.has_annotations = annotations.has_annotations

    def __len__(self) -> int:
        return len(self.annotations)

    def check_images(self) -> None:
        """See :meth:`EvaluationSet.check_images`; folders are listed once, no file is opened."""
        if self.image_folder is not None:
            check_images(self.annotations, self.image_folder, most_missing=0.0)

    def _video(self, index: int) -> EvaluationVideo:
        record = self.annotations[index]
        first = record.file_names[0]
        return EvaluationVideo(
            video_id=record.video_id,
            key=record.video_id,
            name=os.path.splitext(os.path.basename(first))[0] if self.is_of_images else str(record.video_id),
            title=f"{os.path.dirname(first) or first} (id {record.video_id})",
            frame_names=_stems(record.file_names),
            paths=_paths(self.image_folder, record.file_names),
            size=record.size,
            read_ground_truth=lambda: self.annotations.ground_truth(index),
        )


class PanopticVideos(EvaluationSet):
    """The images of a COCO panoptic file, or the videos of one in the form of VIPSeg.

    Args:
        file: The annotations.
        image_folder: Folder that the file names are relative to.
    """

    def __init__(self, file: PanopticFile, image_folder: Path | None) -> None:
        if not file.categories:
            raise ValueError(f"{file.path} must list its categories, as annotation files do. Is it a result file?")
        self.file = file
        self.path, self.image_folder, self.form = file.path, image_folder, "panoptic"
        self.class_names, self.category_ids = file.class_names, file.category_ids
        self.is_thing, self.is_of_images = file.is_thing, not file.is_video
        self.has_annotations = file.has_annotations
        self._keys = list(file.samples)

    def __len__(self) -> int:
        return len(self._keys)

    def _video(self, index: int) -> EvaluationVideo:
        key = self._keys[index]
        sample = self.file.samples[key]
        return EvaluationVideo(
            video_id=index,
            key=sample.id,
            name=Path(sample.frames[0].file_name).stem if self.is_of_images else key,
            title=key,
            frame_names=_stems([frame.file_name for frame in sample.frames]),
            paths=self._paths(sample),
            size=None,
            read_ground_truth=lambda: self.file.read(key, self.category_ids),
        )

    def _paths(self, sample: PanopticSample) -> tuple[Path, ...] | None:
        """Images as they are stated, or as .jpg: VIPSeg states the names of the label pictures."""
        if self.image_folder is None:
            return None
        paths = [self.image_folder / frame.image_path for frame in sample.frames]
        pictures = [path.with_suffix(".jpg") for path in paths]
        return tuple(
            picture if not path.is_file() and picture.is_file() else path
            for path, picture in zip(paths, pictures, strict=True)
        )


class LabelledImages(EvaluationSet):
    """The images of a folder of label maps.

    Args:
        folder: The label maps.
        class_names: Name of each class.
        image_folder: Folder of the images, which have the names of the label maps.
    """

    IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")

    def __init__(self, folder: LabelMapFolder, class_names: Sequence[str], image_folder: Path | None) -> None:
        self.folder = folder
        self.path, self.image_folder, self.form = folder.path, image_folder, "label maps"
        self.class_names, self.category_ids = tuple(class_names), tuple(range(len(class_names)))
        self.is_thing, self.is_of_images = (False,) * len(class_names), True
        self._names = folder.names()

    def __len__(self) -> int:
        return len(self._names)

    def _video(self, index: int) -> EvaluationVideo:
        name = self._names[index]
        return EvaluationVideo(
            video_id=index,
            key=name,
            name=name,
            title=name,
            frame_names=(Path(name).name,),
            paths=None if self.image_folder is None else (self._image_path(self.image_folder, name),),
            size=None,
            read_ground_truth=lambda: self.folder.read_instances([name], len(self.class_names)),
        )

    def _image_path(self, folder: Path, name: str) -> Path:
        """The image of a label map, whatever its suffix."""
        paths = [folder / f"{name}{suffix}" for suffix in self.IMAGE_SUFFIXES]
        return next((path for path in paths if path.is_file()), paths[0])


class LabelledVideos(EvaluationSet):
    """Videos with label maps in the layout of VSPW: ``data/VIDEO/origin/*.jpg`` and ``data/VIDEO/mask/*.png``.

    Args:
        split: Text file with the name of a video on each line, beside ``data``.
        class_names: Name of each class.
        label_offset: Taken off the values of the maps.
    """

    def __init__(self, split: Path, class_names: Sequence[str], label_offset: int) -> None:
        self.path, self.image_folder, self.form = split, split.parent / "data", "label maps"
        self.class_names, self.category_ids = tuple(class_names), tuple(range(len(class_names)))
        self.is_thing, self.is_of_images = (False,) * len(class_names), False
        self._folder = LabelMapFolder(self.image_folder, label_offset)
        self._names = [line.strip() for line in split.read_text(encoding="utf-8").splitlines() if line.strip()]
        self.has_annotations = any((self.image_folder / name / "mask").is_dir() for name in self._names[:1])

    def __len__(self) -> int:
        return len(self._names)

    def _video(self, index: int) -> EvaluationVideo:
        name = self._names[index]
        assert self.image_folder is not None
        paths = tuple(sorted((self.image_folder / name / "origin").glob("*.jpg")))
        if not paths:
            raise FileNotFoundError(f"{self.path} names {name}, but {self.image_folder / name}/origin has no .jpg.")
        frame_names = tuple(path.stem for path in paths)
        maps = [f"{name}/mask/{frame}" for frame in frame_names]
        return EvaluationVideo(
            video_id=index,
            key=name,
            name=name,
            title=name,
            frame_names=frame_names,
            paths=paths,
            size=None,
            read_ground_truth=lambda: self._folder.read_instances(maps, len(self.class_names)),
        )


def _stems(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(Path(name).stem for name in names)


def _paths(folder: Path | None, names: Sequence[str]) -> tuple[Path, ...] | None:
    return None if folder is None else tuple(folder / name for name in names)
