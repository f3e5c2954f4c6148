"""Synthetic datasets in the YouTube-VIS format, with exact masks: for tests, demos, and checks that training works."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from video_mask2former.data.preparation.dataset_writer import DatasetWriter, TrackAnnotation, write_jpeg
from video_mask2former.data.synthetic.composites import AnnotatedBackdrop, AnnotatedSource, PhotoBackdrop, random_cutout
from video_mask2former.data.synthetic.scenes import (
    Backdrop,
    PaintedBackdrop,
    Scene,
    StuffBackdrop,
    crossing_motion,
    random_motion,
)
from video_mask2former.data.synthetic.sprites import SHAPES, ShapeSprite, Sprite
from video_mask2former.data.synthetic.stuff import STUFF
from video_mask2former.progress import tracked
from video_mask2former.rle import Rle, encode_masks

MIN_SIDE = 16  # of a frame; less shows nothing


@dataclass(frozen=True)
class SceneStyle:
    """What synthetic videos look like.

    Attributes:
        num_frames: Length of a video.
        size: Height and width.
        num_objects: Fewest and most objects that are put into a scene.
        object_sides: Smallest and largest object, as a share of the scene's short side.
        photos: Photographs used as backdrops; none means painted ones.
        source: An annotated dataset: its objects are cut out and pasted, its videos are the backdrops, with their own
            objects. None means shapes (:data:`~video_mask2former.data.synthetic.sprites.SHAPES`).
        has_stuff: Put the objects into landscapes of painted stuff
            (:data:`~video_mask2former.data.synthetic.stuff.STUFF`), which are annotated, too, for panoptic models.
        has_plain_shapes: Give each shape one colour instead of a texture, so that only its outline tells its class.
        is_crossing: Objects go forth and back through the middle, where they meet and cover one another; some leave
            the scene and return. Shapes of a video are all of one class. A test of trackers.
    """

    num_frames: int = 12
    size: tuple[int, int] = (240, 320)
    num_objects: tuple[int, int] = (2, 5)
    object_sides: tuple[float, float] = (0.15, 0.5)
    photos: Sequence[Path] = field(default=())
    source: AnnotatedSource | None = None
    has_stuff: bool = False
    has_plain_shapes: bool = False
    is_crossing: bool = False

    def __post_init__(self) -> None:
        if self.photos and self.source is not None:
            raise ValueError("give photos or an annotated source, not both: a source has backdrops of its own.")
        if self.photos and self.has_stuff:
            raise ValueError("give photos or has_stuff, not both: photos say nothing of their stuff.")
        if self.source is not None and self.has_plain_shapes:
            raise ValueError("give an annotated source or has_plain_shapes, not both: a source has objects of its own.")
        if self.num_frames < 1 or min(self.size) < MIN_SIDE:
            raise ValueError(
                f"videos need at least one frame and {MIN_SIDE} x {MIN_SIDE} pixels, got {self.num_frames} frames and "
                f"{self.size}."
            )
        if not 0 <= self.num_objects[0] <= self.num_objects[1]:
            raise ValueError(f"num_objects must be fewest <= most, at least 0, got {self.num_objects}.")
        if not 0 < self.object_sides[0] <= self.object_sides[1]:
            raise ValueError(f"object_sides must be smallest <= largest, above 0, got {self.object_sides}.")

    @property
    def categories(self) -> dict[int, str]:
        """Category id to name."""
        return self._things | {self.first_stuff_id + kind: name for kind, name in enumerate(STUFF) if self.has_stuff}

    @property
    def first_stuff_id(self) -> int:
        """Category id of the first kind of stuff, after those of things."""
        return max(self._things) + 1

    @property
    def _things(self) -> dict[int, str]:
        if self.source is None:
            return {index + 1: name for index, name in enumerate(SHAPES)}
        annotations = self.source.annotations
        return dict(zip(annotations.category_ids, annotations.class_names, strict=True))


def write_synthetic_dataset(folder: str | os.PathLike[str], num_videos: int, style: SceneStyle, seed: int) -> Path:
    """Write ``JPEGImages`` and ``instances.json`` into a folder.

    Each video depends on the seed and its own number only, so a larger dataset begins with the smaller one.

    Returns:
        The annotation file.
    """
    if num_videos < 1:
        raise ValueError(f"num_videos must be at least 1, got {num_videos}.")
    folder = Path(folder)
    stuff = frozenset(key for key in style.categories if style.has_stuff and key >= style.first_stuff_id)
    writer = DatasetWriter(style.categories, description=f"synthetic videos, seed {seed}", stuff=stuff)
    for number in tracked(range(num_videos), "synthetic videos", "video"):
        scene = random_scene(style, np.random.default_rng((seed, number)))
        names = [f"{number:05d}/{time:05d}.jpg" for time in range(style.num_frames)]
        owners = []
        for time, name in enumerate(names):
            picture, owner = scene.render(time)
            write_jpeg(folder / "JPEGImages" / name, picture)
            owners.append(owner)
        void = [owner == 0 for owner in owners] if style.has_stuff else ()
        writer.add_video(names, style.size, tracks_of(owners, scene.category_ids), ignored=void)
    path = folder / "instances.json"
    writer.write(path)
    return path


def find_photos(folder: str | os.PathLike[str]) -> list[Path]:
    """The JPEG photographs of a folder.

    Raises:
        FileNotFoundError: If there are none.
    """
    photos = sorted(path for path in Path(folder).glob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
    if not photos:
        raise FileNotFoundError(f"{folder} has no photographs (.jpg).")
    return photos


def random_scene(style: SceneStyle, rng: np.random.Generator) -> Scene:
    """Draw a scene; in about half of them, and in all of crossing objects, all objects are of one class."""
    backdrop = _random_backdrop(style, rng)
    count = int(rng.integers(style.num_objects[0], style.num_objects[1] + 1))
    one_class = int(rng.integers(1, len(SHAPES) + 1)) if rng.random() < 0.5 or style.is_crossing else None
    sprites = [sprite for _ in range(count) if (sprite := _random_sprite(style, one_class, rng)) is not None]
    is_real = style.source is not None
    motions = [
        crossing_motion(style.size, is_real, rng)
        if style.is_crossing
        else random_motion(style.size, style.num_frames, is_real, rng)
        for _ in sprites
    ]
    return Scene(backdrop, sprites, motions)


def tracks_of(owners: Sequence[np.ndarray], category_ids: Sequence[int]) -> list[TrackAnnotation]:
    """Tracks of objects from maps ``(H, W)`` of the number of the object of each pixel, counted from 1."""
    segmentations: list[dict[int, Rle]] = [{} for _ in category_ids]
    for time, owner in enumerate(owners):
        numbers = [int(number) for number in np.unique(owner) if number > 0]
        masks = encode_masks(owner[None] == np.array(numbers).reshape(-1, 1, 1))
        for number, mask in zip(numbers, masks, strict=True):
            segmentations[number - 1][time] = mask
    return [TrackAnnotation(category_id, masks) for category_id, masks in zip(category_ids, segmentations, strict=True)]


def _random_backdrop(style: SceneStyle, rng: np.random.Generator) -> Backdrop:
    if style.has_stuff:
        return StuffBackdrop(style.size, rng, style.first_stuff_id)
    if style.source is not None:
        video_index = int(rng.integers(len(style.source.annotations)))
        return AnnotatedBackdrop(style.source, video_index, style.num_frames, style.size, rng)
    if style.photos:
        return PhotoBackdrop(style.photos[int(rng.integers(len(style.photos)))], style.size, rng)
    return PaintedBackdrop(style.size, rng)


def _random_sprite(style: SceneStyle, one_class: int | None, rng: np.random.Generator) -> Sprite | None:
    side = rng.uniform(*style.object_sides) * min(style.size)
    if style.source is not None:
        return random_cutout(style.source, style.num_frames, round(side), rng)
    category_id = int(rng.integers(1, len(SHAPES) + 1)) if one_class is None else one_class
    return ShapeSprite(category_id, max(4, round(side / 2)), rng, is_plain=style.has_plain_shapes)
