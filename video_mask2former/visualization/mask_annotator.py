"""Masks, contours and labels drawn on frames, fast enough not to be noticed beside the model."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from typing import Literal, NamedTuple, get_args

import cv2
import numpy as np

from video_mask2former.rle import Rle, decode_box, rle_area, rle_box
from video_mask2former.structures import FrameInstances
from video_mask2former.visualization.colors import Color, text_color_on, track_color
from video_mask2former.visualization.text import TextRenderer

Mode = Literal["overlay", "side_by_side", "masks_only"]
Point = tuple[int, int]  # x, y

MASKS_ONLY_BACKGROUND = 24
# of the opacity of things
STUFF_OPACITY = 0.5
# once labels would cover more of the frame than this, small objects are labelled by their id alone
CROWDED_SHARE = 0.1
_ANCHOR_GRID = 48


class Anchor(NamedTuple):
    """Where the label of a mask may sit: points of the largest part of the mask, and the size of that part.

    Attributes:
        top: Middle of its highest row.
        inside: The point farthest from its border.
        bottom: Middle of its lowest row.
        size: Height and width of its box.
        is_stuff: Whether the label belongs inside, since there is much of it.
    """

    top: Point
    inside: Point
    bottom: Point
    size: tuple[int, int]
    is_stuff: bool = False


class MaskAnnotator:
    """Draws the instances of a frame, each in the colour of its track id.

    Lines and letters grow with the frame. Large objects are drawn first, so that small ones stay visible.

    Args:
        mode: ``overlay`` draws on the frame, ``side_by_side`` puts the frame itself to the left of that, ``masks_only``
            draws opaque masks on a dark ground.
        opacity: Of the masks in an overlay, 0 to 1.
        contours: Whether masks are outlined.
        show_id: Whether labels have the track id.
        show_class: Whether labels have the class name.
        show_score: Whether labels have the score.
        text_size: Height of letters in pixels; 0 lets them grow with the frame.
        font: A TrueType or OpenType file, for class names in alphabets that Pillow's own font lacks.
        stuff_labels: Classes without countable objects, which are drawn lightly, under all else and without an id.
    """

    def __init__(
        self,
        mode: Mode = "overlay",
        *,
        opacity: float = 0.45,
        contours: bool = True,
        show_id: bool = True,
        show_class: bool = True,
        show_score: bool = True,
        text_size: int = 0,
        font: str | os.PathLike[str] | None = None,
        stuff_labels: Collection[int] = (),
    ) -> None:
        if mode not in get_args(Mode):
            raise ValueError(f"mode must be one of {', '.join(get_args(Mode))}, got {mode!r}.")
        if not 0.0 <= opacity <= 1.0 or text_size < 0:
            raise ValueError(f"opacity must be in [0, 1] and text_size 0 or more, got {opacity = }, {text_size = }.")
        self.mode = mode
        self._opacity = 1.0 if mode == "masks_only" else opacity
        self._contours = contours
        self._parts = (show_id, show_class, show_score)
        self._text_size = text_size
        self._text = TextRenderer(font)
        self._stuff_labels = frozenset(stuff_labels)
        self._tables: dict[tuple[Color, float], np.ndarray] = {}

    def output_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """Height and width of the picture made of a frame of ``size``."""
        return (size[0], 2 * size[1]) if self.mode == "side_by_side" else size

    def annotate(self, frame: np.ndarray, instances: FrameInstances, class_names: Sequence[str] = ()) -> np.ndarray:
        """Draw the instances of one frame.

        Args:
            frame: uint8 RGB, ``(H, W, 3)``; left as it is.
            instances: What to draw, of the frame's size.
            class_names: Name of each class index; the index itself is shown where there is none.

        Returns:
            A new picture, uint8 RGB, of :meth:`output_size`.

        Raises:
            ValueError: If the sizes differ.
        """
        height, width = frame.shape[:2]
        if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8:
            raise ValueError(f"frame must be (H, W, 3) uint8 RGB, got {frame.shape} {frame.dtype}.")
        if (height, width) != tuple(instances.size):
            raise ValueError(f"frame is {height}x{width} (height x width), its instances are of {instances.size}.")
        picture = np.empty((*self.output_size((height, width)), 3), dtype=np.uint8)
        canvas = picture[:, -width:]
        if self.mode == "side_by_side":
            picture[:, :width] = frame
        if self.mode == "masks_only":
            canvas[:] = MASKS_ONLY_BACKGROUND
        else:
            canvas[:] = frame
        areas = [rle_area(rle) for rle in instances.segmentations]
        is_stuff = [label in self._stuff_labels for label in instances.labels]
        anchors = {}
        for index in sorted(range(len(instances)), key=lambda index: (not is_stuff[index], -areas[index])):
            if areas[index]:
                color = track_color(instances.track_ids[index])
                anchors[index] = self._draw_mask(canvas, instances.segmentations[index], color, is_stuff[index])
        if any(self._parts):
            self._draw_labels(canvas, instances, class_names, dict(reversed(anchors.items())))
        return picture

    def _draw_mask(self, canvas: np.ndarray, rle: Rle, color: Color, is_stuff: bool) -> Anchor:
        """Draw one mask; returns where its label belongs."""
        x, y, width, height = (int(value) for value in rle_box(rle))
        mask = decode_box(rle, (x, y, width, height)).view(np.uint8)
        region = canvas[y : y + height, x : x + width]
        opacity = self._opacity * (STUFF_OPACITY if is_stuff else 1.0)
        cv2.copyTo(cv2.LUT(region, self._table(color, opacity)), mask, region)
        lines, _ = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE, offset=(x, y))
        if self._contours and not is_stuff:
            thickness = max(1, round(min(canvas.shape[:2]) / 360))
            shade = _lighter(color) if self.mode == "masks_only" else color
            cv2.drawContours(canvas, lines, -1, shade, thickness, cv2.LINE_AA)
        return _anchor(mask, max(lines, key=cv2.contourArea), (x, y), is_stuff)

    def _table(self, color: Color, opacity: float) -> np.ndarray:
        """What each value of each channel becomes under a mask of a colour, ``(1, 256, 3)``."""
        key = color, opacity
        if key not in self._tables:
            values = np.arange(256)[None, :, None] * (1.0 - opacity) + np.asarray(color) * opacity
            self._tables[key] = values.round().astype(np.uint8)
        return self._tables[key]

    def _draw_labels(
        self, canvas: np.ndarray, instances: FrameInstances, class_names: Sequence[str], anchors: Mapping[int, Anchor]
    ) -> None:
        """Put a label on each object; the first ones choose their places first."""
        frame_size = (canvas.shape[0], canvas.shape[1])
        size = self._text_size or round(min(max(11.0, 0.03 * min(frame_size)), 40.0))
        texts = {index: self._label(instances, index, class_names) for index in anchors}
        patches = {index: self._patch(text, size, instances.track_ids[index]) for index, text in texts.items() if text}
        covered = sum(patch.shape[0] * patch.shape[1] for patch in patches.values())
        if covered > CROWDED_SHARE * frame_size[0] * frame_size[1] and self._parts[0]:
            # there is no room for everything; the id tells which row of the results to look at
            for index, patch in patches.items():
                box_height, box_width = anchors[index].size
                if not anchors[index].is_stuff and box_height * box_width < 4 * patch.shape[0] * patch.shape[1]:
                    patches[index] = self._patch(f"#{instances.track_ids[index]}", size, instances.track_ids[index])
        taken = np.zeros((0, 4), dtype=np.int64)
        for index, patch in patches.items():
            patch = patch[: frame_size[0], : frame_size[1]]
            x, y = _place(patch.shape[:2], anchors[index], frame_size, taken)
            canvas[y : y + patch.shape[0], x : x + patch.shape[1]] = patch
            taken = np.concatenate([taken, [[x, y, x + patch.shape[1], y + patch.shape[0]]]])

    def _patch(self, text: str, size: int, track_id: int) -> np.ndarray:
        color = track_color(track_id)
        return self._text.patch(text, size, text_color_on(color), color)

    def _label(self, instances: FrameInstances, index: int, class_names: Sequence[str]) -> str:
        show_id, show_class, show_score = self._parts
        label = instances.labels[index]
        name = class_names[label] if label < len(class_names) else f"class {label}"
        if label in self._stuff_labels:
            return name if show_class else ""
        parts = (
            f"#{instances.track_ids[index]}" if show_id else "",
            name if show_class else "",
            f"{instances.scores[index]:.2f}" if show_score else "",
        )
        return " ".join(part for part in parts if part)


def _lighter(color: Color) -> Color:
    red, green, blue = (value + (255 - value) // 2 for value in color)
    return red, green, blue


def _anchor(mask: np.ndarray, contour: np.ndarray, corner: Point, is_stuff: bool) -> Anchor:
    """Where the label of a mask may sit.

    Args:
        mask: Of the mask's box, uint8.
        contour: Outline of its largest part, in the frame.
        corner: Of the box in the frame.
        is_stuff: Whether the mask is of stuff.
    """
    left, top, width, height = cv2.boundingRect(contour)
    outline = contour[:, 0]
    upper, lower = (outline[outline[:, 1] == y, 0] for y in (top, top + height - 1))
    x, y = left - corner[0], top - corner[1]
    # some dozens of points across are enough to find the middle
    step = max(1, max(height, width) // _ANCHOR_GRID)
    part = cv2.copyMakeBorder(mask[y : y + height : step, x : x + width : step], 1, 1, 1, 1, cv2.BORDER_CONSTANT)
    depth = cv2.distanceTransform(part, cv2.DIST_L2, 3)
    row, column = np.unravel_index(int(depth.argmax()), depth.shape)
    inside = left + (int(column) - 1) * step, top + (int(row) - 1) * step
    middles = [(int(ends.min()) + int(ends.max())) // 2 for ends in (upper, lower)]
    return Anchor((middles[0], top), inside, (middles[1], top + height), (height, width), is_stuff)


def _place(
    label_size: tuple[int, int], anchor: Anchor, frame_size: tuple[int, int], taken: np.ndarray
) -> tuple[int, int]:
    """Where a label goes, so that it touches its object, is in the frame, and is off other labels if it can be.

    Args:
        label_size: Height and width of the label.
        anchor: Of its object.
        frame_size: Height and width of the frame.
        taken: Labels placed so far, ``(n, 4)`` as (left, top, right, bottom).
    """
    height, width = label_size
    touch = height // 4  # how far it reaches into its object
    middle, above, below = (
        (anchor.inside[0] - width // 2, anchor.inside[1] - height // 2),
        (anchor.top[0] - width // 2, anchor.top[1] - height + touch),
        (anchor.bottom[0] - width // 2, anchor.bottom[1] - touch),
    )
    sides = [(anchor.inside[0] + shift, anchor.inside[1] - height // 2) for shift in (-width, 0)]
    wanted = np.asarray([middle, above, below, *sides] if anchor.is_stuff else [above, middle, below, *sides])
    corners = wanted.clip(0, (frame_size[1] - width, frame_size[0] - height))
    shared = np.minimum(corners[:, None] + (width, height), taken[:, 2:]) - np.maximum(corners[:, None], taken[:, :2])
    overlaps = shared.clip(min=0).prod(axis=2).sum(axis=1)
    # a label pushed back into the frame covers its object, which is better than covering another label
    best = np.lexsort((np.abs(corners - wanted)[:, 1], overlaps))[0]
    return int(corners[best, 0]), int(corners[best, 1])
