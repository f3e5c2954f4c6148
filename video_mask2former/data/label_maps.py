"""Label maps: PNG files whose pixel values are classes, and the tracks that such maps are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from video_mask2former.atomic import atomic_path
from video_mask2former.rle import Rle, encode_masks
from video_mask2former.structures import Track, VideoInstances
from video_mask2former.video_io.picture_files import decode_image, read_bytes

IGNORE_LABEL = 255


@dataclass(frozen=True)
class LabelMapFolder:
    """A folder of label maps: PNGs, possibly in subfolders, whose pixel values are classes; 255 is ignored.

    Attributes:
        path: The folder.
        label_offset: What is taken off the values, 1 for files that count classes from 1; the value 0 is ignored then.
    """

    path: Path
    label_offset: int = 0

    def names(self) -> list[str]:
        """The label maps, relative to the folder and without suffix, in order.

        Raises:
            FileNotFoundError: If there are none.
        """
        names = sorted(file.relative_to(self.path).with_suffix("").as_posix() for file in self.path.rglob("*.png"))
        if not names:
            raise FileNotFoundError(f"{self.path} holds no PNG with labels.")
        return names

    def read(self, name: str) -> np.ndarray:
        """One label map, ``(H, W)`` int64, :data:`IGNORE_LABEL` where a pixel has no class."""
        path = self.path / f"{name}.png"
        if not path.is_file():
            raise FileNotFoundError(f"no label map {path}; every annotated image needs one.")
        labels = decode_image(read_bytes(path), cv2.IMREAD_UNCHANGED, path)
        if labels.ndim != 2:
            raise ValueError(f"{path} must be a PNG with one channel, whose values are classes.")
        shifted = labels.astype(np.int64) - self.label_offset
        return np.where((shifted < 0) | (labels == IGNORE_LABEL), IGNORE_LABEL, shifted)

    def read_instances(self, names: Sequence[str], num_classes: int) -> VideoInstances:
        """Label maps of the frames of a video (or of an image) as tracks, one for each class.

        Raises:
            FileNotFoundError: If a map is missing.
            ValueError: If a value is not a class, or the maps differ in size.
        """
        masks: dict[int, dict[int, Rle]] = {}
        size: tuple[int, int] | None = None
        for frame_index, name in enumerate(names):
            labels = self.read(name)
            size = size or (labels.shape[0], labels.shape[1])
            wrong = labels[(labels >= num_classes) & (labels != IGNORE_LABEL)]
            if labels.shape != size or wrong.size:
                got = f"{wrong[0]}" if wrong.size else f"a map of {labels.shape} among maps of {size}"
                raise ValueError(
                    f"{self.path / name}.png: labels must be in [0, {num_classes}) or {IGNORE_LABEL} (ignored), and "
                    f"all maps of a video of one size, got {got}."
                )
            for label, rle in masks_of_numbers(labels):
                if label != IGNORE_LABEL:
                    masks.setdefault(label, {})[frame_index] = rle
        assert size is not None
        tracks = tuple(Track(label + 1, label, 1.0, masks[label]) for label in sorted(masks))
        return VideoInstances(tracks, len(names), size)


def write_label_map(path: Path, labels: np.ndarray) -> None:
    """Write labels ``(H, W)`` as a PNG with 8 bits a pixel, 16 where they do not fit."""
    kind = np.uint8 if labels.max(initial=0) < 256 else np.uint16
    with atomic_path(path) as temporary:
        temporary.write_bytes(cv2.imencode(".png", labels.astype(kind))[1].tobytes())


def masks_of_numbers(numbers: np.ndarray) -> Iterator[tuple[int, Rle]]:
    """Each number on a map ``(H, W)``, in ascending order, and its mask."""
    present = np.unique(numbers)
    yield from zip(present.tolist(), encode_masks(numbers == present[:, None, None]), strict=True)
