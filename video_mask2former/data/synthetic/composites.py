"""Real material for synthetic scenes: annotated videos as backdrops, and their objects cut out as sprites."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from video_mask2former.data.annotations import AnnotationSet
from video_mask2former.data.image_files import read_frames, read_image
from video_mask2former.data.synthetic.scenes import PanningCamera
from video_mask2former.data.synthetic.sprites import CutoutSprite


@dataclass(frozen=True)
class AnnotatedSource:
    """An annotated dataset that backdrops and objects are taken from.

    Attributes:
        annotations: The annotated videos or images.
        image_folder: Folder of the images.
    """

    annotations: AnnotationSet
    image_folder: Path

    def read(self, video_index: int, frame_indices: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray, tuple[int, ...]]:
        """Some frames of a video, and the objects on them.

        Returns:
            Frames ``(T, H, W, 3)`` uint8; masks ``(N, T, H, W)`` bool; category ids of the N.
        """
        record = self.annotations[video_index]
        paths = [self.image_folder / record.file_names[frame] for frame in frame_indices]
        frames = read_frames(paths, record.size).permute(0, 2, 3, 1).numpy()
        target = self.annotations.clip_target(video_index, frame_indices)
        category_ids = tuple(self.annotations.category_ids[label] for label in target.labels.tolist())
        return frames, target.masks.numpy(), category_ids


class PhotoBackdrop:
    """A photograph without annotations, over which a camera pans."""

    def __init__(self, path: Path, size: tuple[int, int], rng: np.random.Generator) -> None:
        self.category_ids: tuple[int, ...] = ()
        self._camera = PanningCamera(_cover(read_image(path), size, 1.25), size, rng)

    def render(self, time: int) -> tuple[np.ndarray, np.ndarray]:
        """See :class:`~video_mask2former.data.synthetic.scenes.Backdrop`."""
        picture = self._camera.view(time)
        return picture, np.zeros(picture.shape[:2], np.int32)


class AnnotatedBackdrop:
    """A part of an annotated video with its objects, or an annotated image over which a camera pans.

    Args:
        source: Where it is taken from.
        video_index: Which video of it.
        num_frames: Frames that are needed; a shorter video is played forth and back.
        size: Height and width of the scene.
        rng: Source of the start and of the camera.
    """

    def __init__(
        self,
        source: AnnotatedSource,
        video_index: int,
        num_frames: int,
        size: tuple[int, int],
        rng: np.random.Generator,
    ) -> None:
        length = min(num_frames, source.annotations.num_frames(video_index))
        start = int(rng.integers(source.annotations.num_frames(video_index) - length + 1))
        frames, masks, self.category_ids = source.read(video_index, tuple(range(start, start + length)))
        self._pictures = [_cover(frame, size, 1.1) for frame in frames]
        self._owners = [_cover(_owner_map(masks[:, time]), size, 1.1) for time in range(length)]
        self._camera = PanningCamera(self._pictures[0], size, rng)

    def render(self, time: int) -> tuple[np.ndarray, np.ndarray]:
        """See :class:`~video_mask2former.data.synthetic.scenes.Backdrop`."""
        period = max(1, 2 * (len(self._pictures) - 1))
        step = min(time % period, period - time % period) if len(self._pictures) > 1 else 0
        return self._camera.view(time, self._pictures[step]), self._camera.view(time, self._owners[step])


def random_cutout(
    source: AnnotatedSource, num_frames: int, side: int, rng: np.random.Generator, max_draws: int = 20
) -> CutoutSprite | None:
    """Cut a random object out of a random video of ``source``.

    An object that touches the border of its frame is not whole and would look cut off, and a tiny one cannot be
    recognised; others are drawn instead.

    Args:
        source: Where it is taken from.
        num_frames: Frames that it is wanted for; fewer are taken where it is not whole on so many in a row.
        side: Length that the longer side of the object gets, in pixels.
        rng: Source of randomness.
        max_draws: Videos that are tried.

    Returns:
        The object, or None where ``max_draws`` videos had none.
    """
    for _ in range(max_draws):
        video_index = int(rng.integers(len(source.annotations)))
        length = min(num_frames, source.annotations.num_frames(video_index))
        start = int(rng.integers(source.annotations.num_frames(video_index) - length + 1))
        if not source.annotations.visible_instances(video_index)[:, start : start + length].any():
            continue
        frames, masks, category_ids = source.read(video_index, tuple(range(start, start + length)))
        instance = int(rng.integers(len(category_ids)))
        is_whole = [_is_whole(mask) for mask in masks[instance]]
        run = is_whole.index(False) if False in is_whole else len(is_whole)
        if run:
            return CutoutSprite(category_ids[instance], _cut(frames[:run], masks[instance, :run], side))
    return None


def _cut(frames: np.ndarray, masks: np.ndarray, side: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Picture and mask of an object on each frame, in one window around all of them, resized."""
    rows, columns = np.flatnonzero(masks.any(axis=(0, 2))), np.flatnonzero(masks.any(axis=(0, 1)))
    window = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    scale = side / max(rows[-1] + 1 - rows[0], columns[-1] + 1 - columns[0])
    patches = []
    for frame, mask in zip(frames, masks, strict=True):
        picture, cutout = frame[window], mask[window].astype(np.uint8)
        width, height = (max(1, round(length * scale)) for length in (picture.shape[1], picture.shape[0]))
        method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        resized = cv2.resize(picture, (width, height), interpolation=method)
        patches.append((resized, cv2.resize(cutout, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)))
    return patches


def _is_whole(mask: np.ndarray, min_share: float = 0.002) -> bool:
    touches = mask[0].any() or mask[-1].any() or mask[:, 0].any() or mask[:, -1].any()
    return not touches and float(mask.mean()) >= min_share


def _owner_map(masks: np.ndarray) -> np.ndarray:
    """Number of the object of each pixel, counted from 1, of masks ``(N, H, W)``."""
    owner = np.zeros(masks.shape[1:], np.int32)
    for index, mask in enumerate(masks):
        owner[mask] = index + 1
    return owner


def _cover(picture: np.ndarray, size: tuple[int, int], margin: float) -> np.ndarray:
    """Resize so that a window of ``size`` fits in, with some room to move; number maps stay exact."""
    scale = margin * max(size[0] / picture.shape[0], size[1] / picture.shape[1])
    width, height = (
        max(least, round(side * scale)) for side, least in zip(picture.shape[1::-1], size[::-1], strict=True)
    )
    if picture.ndim == 2:
        rows = ((np.arange(height) + 0.5) / height * picture.shape[0]).astype(int)
        columns = ((np.arange(width) + 0.5) / width * picture.shape[1]).astype(int)
        return picture[rows[:, None], columns]
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
