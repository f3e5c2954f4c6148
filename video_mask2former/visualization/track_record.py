"""What a contact sheet remembers of each track while the frames go by: little, however long the video is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Generic, TypeVar

import cv2
import numpy as np

from video_mask2former.rle import Rle, decode_box, rle_area, rle_box

Item = TypeVar("Item")


class SpreadSample(Generic[Item]):
    """A bounded number of items spread evenly over a sequence whose length is not known.

    Every ``stride``-th item is kept; when there are too many, every second one goes and the stride doubles.

    Args:
        count: How many items will be asked for; at most twice as many are held.
        expected: Length of the sequence where it is known, so that no more are made than are needed.
    """

    def __init__(self, count: int, expected: int | None = None) -> None:
        self._count = count
        self._stride = max(1, (expected or 1) // count)
        self._num_seen = 0
        self._items: list[Item] = []

    def wants_next(self) -> bool:
        """Whether the next item will be kept; asked before making one, once an item. False counts it as passed."""
        is_wanted = self._num_seen % self._stride == 0
        if not is_wanted:
            self._num_seen += 1
        return is_wanted

    def add(self, item: Item) -> None:
        """Keep an item that was wanted."""
        if len(self._items) == 2 * self._count:
            self._items = self._items[::2]
            self._stride *= 2
            if self._num_seen % self._stride:
                self._num_seen += 1
                return
        self._num_seen += 1
        self._items.append(item)

    def chosen(self, count: int) -> list[Item]:
        """Up to ``count`` of the items, evenly spread, first and last kept one included."""
        if len(self._items) <= count:
            return list(self._items)
        positions = np.linspace(0, len(self._items) - 1, count).round().astype(int)
        return [self._items[position] for position in positions]

    def clear(self) -> None:
        """Forget the items."""
        self._items = []


@dataclass
class TrackRecord:
    """One track as the contact sheet shows it.

    Attributes:
        track_id: Its id.
        thumbnails: Frame index and picture at a few moments.
        runs: First and last frame index of each stretch of frames it was there without a gap.
        num_frames: Frames it was on.
        final: Label and score of the whole track, once they are known; from its frames until then.
    """

    track_id: int
    thumbnails: SpreadSample[tuple[int, np.ndarray]]
    runs: list[list[int]] = field(default_factory=list)
    num_frames: int = 0
    final: tuple[int, float] | None = None
    _last_position: int = -2
    _label_weights: dict[int, float] = field(default_factory=dict)
    _score_sum: float = 0.0
    _area_sum: float = 0.0

    @property
    def label(self) -> int:
        """The class with the largest sum of scores."""
        if self.final is not None:
            return self.final[0]
        return max(self._label_weights, key=lambda label: self._label_weights[label])

    @property
    def score(self) -> float:
        """Mean score of its frames."""
        if self.final is not None:
            return self.final[1]
        return self._score_sum / self.num_frames

    @property
    def importance(self) -> float:
        """What decides which tracks are shown: how long, how sure, and, less, how large."""
        return self._score_sum * (self._area_sum / self.num_frames) ** 0.25

    def add(self, position: int, frame_index: int, label: int, score: float, rle: Rle) -> None:
        """Note that the track is on a frame; ``position`` counts the frames that were read."""
        if position == self._last_position + 1:
            self.runs[-1][1] = frame_index
        else:
            self.runs.append([frame_index, frame_index])
        self._last_position = position
        self.num_frames += 1
        self._label_weights[label] = self._label_weights.get(label, 0.0) + score
        self._score_sum += score
        self._area_sum += rle_area(rle)


def make_thumbnail(frame: np.ndarray, rle: Rle, color: tuple[int, int, int], size: tuple[int, int]) -> np.ndarray:
    """Cut an object out with some surroundings, dim these, outline it, and bring the picture to ``size``."""
    x, y, width, height = rle_box(rle)
    crop_height = max(1.3 * height, 1.3 * width * size[0] / size[1], 24.0)
    crop_width = crop_height * size[1] / size[0]
    left, top = round(x + (width - crop_width) / 2), round(y + (height - crop_height) / 2)
    right, bottom = round(left + crop_width), round(top + crop_height)
    inside = slice(max(0, top), min(frame.shape[0], bottom)), slice(max(0, left), min(frame.shape[1], right))
    part = (inside[1].start, inside[0].start, inside[1].stop - inside[1].start, inside[0].stop - inside[0].start)
    # of large objects, pixels are skipped until what is left is some three times as large as the thumbnail
    step = max(1, int(crop_height / (3 * size[0])))
    mask = np.ascontiguousarray(decode_box(rle, part)[::step, ::step]).view(np.uint8)
    pixels = np.ascontiguousarray(frame[inside][::step, ::step])
    crop = cv2.addWeighted(pixels, 0.55, pixels, 0.0, 40.0)
    crop = cv2.copyTo(pixels, mask, crop)
    lines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    cv2.drawContours(crop, lines, -1, color, max(1, round(1.5 * crop_height / (step * size[0]))), cv2.LINE_AA)
    edges = (inside[0].start - top, bottom - inside[0].stop, inside[1].start - left, right - inside[1].stop)
    above, below, before, after = (round(edge / step) for edge in edges)
    crop = cv2.copyMakeBorder(crop, above, below, before, after, cv2.BORDER_CONSTANT, value=(225, 225, 225))
    return cv2.resize(crop, (size[1], size[0]), interpolation=cv2.INTER_AREA)
