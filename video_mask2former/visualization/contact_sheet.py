"""One picture that says what happened in a video: a film strip, and a row with a timeline for each track."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from dataclasses import replace
from fractions import Fraction

import cv2
import numpy as np

from video_mask2former.atomic import atomic_path
from video_mask2former.messages import printable
from video_mask2former.rle import decode_rle, encode_masks
from video_mask2former.structures import FrameInstances, VideoInstances
from video_mask2former.visualization.colors import Color, text_color_on, track_color
from video_mask2former.visualization.mask_annotator import MaskAnnotator
from video_mask2former.visualization.text import TextRenderer
from video_mask2former.visualization.track_record import Item, SpreadSample, TrackRecord, make_thumbnail

WIDTH = 1400
MARGIN = 28
ROW_HEIGHT = 92
LABEL_WIDTH = 250
TIMELINE_WIDTH = 430
THUMBNAIL_SIZE = (76, 100)
NUM_THUMBNAILS = 6
STRIP_FRAMES = 12
STRIP_SIZE = (170, 217)
STRIP_DETAIL = 2  # strip pictures are kept and drawn so many times larger than they are shown
GAP = 8

INK: Color = (28, 30, 34)
FAINT: Color = (120, 124, 130)
RULE: Color = (226, 228, 231)
GROOVE: Color = (238, 239, 241)
PAPER = 252


class ContactSheet:
    """Collects what it needs while the frames of a video go by once, and draws the sheet at the end.

    It keeps a bounded number of small pictures, and of each track a few numbers.

    Args:
        title: Headline, such as the name of the video.
        class_names: Name of each class index; the index itself is shown where there is none.
        frame_rate: Frames per second, for times in seconds; frame numbers are shown if None.
        num_frames: How many frames will come, if known, which saves work.
        max_tracks: Tracks that get a row: those that are longest, surest and largest.
        font: A TrueType or OpenType file, for names in alphabets that Pillow's own font lacks.
        stuff_labels: Classes without countable objects, which are drawn lightly and have their rows last.
    """

    def __init__(
        self,
        *,
        title: str = "",
        class_names: Sequence[str] = (),
        frame_rate: Fraction | None = None,
        num_frames: int | None = None,
        max_tracks: int = 20,
        font: str | os.PathLike[str] | None = None,
        stuff_labels: Collection[int] = (),
    ) -> None:
        if max_tracks < 1:
            raise ValueError(f"max_tracks must be 1 or more, got {max_tracks}.")
        self._title = title
        self._class_names = class_names
        self._frame_rate = frame_rate
        self._max_tracks = max_tracks
        self._font = font
        self._text = TextRenderer(font)
        self._records: dict[int, TrackRecord] = {}
        self._stuff_labels = frozenset(stuff_labels)
        self._strip: SpreadSample[tuple[np.ndarray, FrameInstances]] = SpreadSample(STRIP_FRAMES, num_frames)
        self._result: VideoInstances | None = None
        self._num_read = 0
        self._size = (0, 0)
        self._first_frame = 0
        self._last_frame = 0

    def add(self, frame: np.ndarray, instances: FrameInstances) -> None:
        """Take in the next frame, uint8 RGB ``(H, W, 3)``, and what was found on it."""
        if frame.shape[:2] != tuple(instances.size):
            raise ValueError(f"frame is {frame.shape[:2]} (height, width), its instances are of {instances.size}.")
        if self._num_read == 0:
            self._size = (frame.shape[0], frame.shape[1])
            self._first_frame = instances.frame_index
        self._last_frame = instances.frame_index
        if self._strip.wants_next():
            size = self._strip_size(STRIP_DETAIL)
            picture = cv2.resize(frame, size[::-1], interpolation=cv2.INTER_AREA)
            self._strip.add((picture, _resized(instances, size)))
        rows = zip(instances.track_ids, instances.labels, instances.scores, instances.segmentations, strict=True)
        for track_id, label, score, rle in rows:
            record = self._records.get(track_id)
            if record is None:
                record = self._records[track_id] = TrackRecord(track_id, SpreadSample(NUM_THUMBNAILS))
            record.add(self._num_read, instances.frame_index, label, score, rle)
            if record.thumbnails.wants_next():
                picture = make_thumbnail(frame, rle, track_color(track_id), THUMBNAIL_SIZE)
                record.thumbnails.add((instances.frame_index, picture))
        self._num_read += 1
        if self._num_read % 32 == 0:
            self._drop_unlikely_thumbnails()

    def settle(self, result: VideoInstances) -> None:
        """Show the tracks of the final result, on the frames where it has them, with their final labels and scores.

        While frames go by, a track may be shown that later frames prove wrong, or not be shown yet.
        """
        thumbnails = {track_id: record.thumbnails for track_id, record in self._records.items()}
        step = self._frame_step()
        self._records, self._result = {}, result
        for track in result.tracks:
            if not track.segmentations:
                continue
            record = TrackRecord(track.track_id, thumbnails.get(track.track_id, SpreadSample(NUM_THUMBNAILS)))
            record.final = track.label, track.score
            for index, rle in sorted(track.segmentations.items()):
                record.add((index - self._first_frame) // step, index, track.label, track.score, rle)
            self._records[track.track_id] = record

    def render(self) -> np.ndarray:
        """Draw the sheet, uint8 RGB.

        Raises:
            ValueError: If no frame was added.
        """
        if self._num_read == 0:
            raise ValueError("no frame was added, there is nothing to show.")
        shown = sorted(self._records.values(), key=lambda record: -record.importance)[: self._max_tracks]
        shown.sort(key=lambda record: (self._is_stuff(record), record.runs[0][0], record.track_id))
        with_rows = {record.track_id for record in shown}
        strip = [self._strip_picture(*item, with_rows) for item in self._strip.chosen(self._strip_capacity())]
        top = MARGIN + 78 + max(picture.shape[0] for _, picture in strip) + 62
        height = top + ROW_HEIGHT * max(1, len(shown)) + 44
        sheet = np.full((height, WIDTH, 3), PAPER, dtype=np.uint8)
        self._draw_header(sheet)
        self._draw_strip(sheet, strip, MARGIN + 78)
        if shown:
            self._draw_axis(sheet, top - 26, top + ROW_HEIGHT * len(shown))
        for row, record in enumerate(shown):
            self._draw_row(sheet, record, top + row * ROW_HEIGHT)
        if not shown:
            self._text.draw(sheet, "No objects were found in this video.", (MARGIN, top + 30), 20, FAINT)
        num_left_out = len(self._records) - len(shown)
        if num_left_out:
            note = f"{num_left_out} more not shown: shorter, less sure or smaller ones"
            self._text.draw(sheet, note, (MARGIN, height - 40), 16, FAINT)
        return sheet

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the sheet as a picture file; it appears when it is complete."""
        picture = cv2.cvtColor(self.render(), cv2.COLOR_RGB2BGR)
        with atomic_path(path) as temporary:
            is_encoded, data = cv2.imencode(temporary.suffix, picture)
            if not is_encoded:
                raise ValueError(f"path must end in .png or .jpg, got {path}.")
            temporary.write_bytes(data.tobytes())

    def _drop_unlikely_thumbnails(self) -> None:
        """Keep pictures of twice as many tracks as there will be rows."""
        ranked = sorted(self._records.values(), key=lambda record: -record.importance)
        for record in ranked[2 * self._max_tracks :]:
            record.thumbnails.clear()

    def _strip_picture(
        self, frame: np.ndarray, instances: FrameInstances, with_rows: Collection[int]
    ) -> tuple[int, np.ndarray]:
        """The index of a frame, and its picture with the tracks that have a row."""
        index = instances.frame_index
        if self._result is not None and index < self._result.num_frames:
            instances = _resized(self._result.at_frame(index), (frame.shape[0], frame.shape[1]))
        shown = [number for number, track_id in enumerate(instances.track_ids) if track_id in with_rows]
        annotator = MaskAnnotator(
            show_class=False,
            show_score=False,
            text_size=15 * STRIP_DETAIL,
            font=self._font,
            stuff_labels=self._stuff_labels,
        )
        picture = annotator.annotate(frame, _selected(instances, shown))
        return index, cv2.resize(picture, self._strip_size()[::-1], interpolation=cv2.INTER_AREA)

    def _strip_size(self, detail: int = 1) -> tuple[int, int]:
        """Height and width of a picture of the strip."""
        height, width = self._size
        scale = detail * min(STRIP_SIZE[0] / height, STRIP_SIZE[1] / width)
        return max(1, round(height * scale)), max(1, round(width * scale))

    def _strip_capacity(self) -> int:
        """How many pictures fit beside each other: more of portrait videos than of landscape ones."""
        return min(STRIP_FRAMES, int((WIDTH - 2 * MARGIN + GAP) / (self._strip_size()[1] + GAP)))

    def _is_stuff(self, record: TrackRecord) -> bool:
        return record.label in self._stuff_labels

    def _frame_step(self) -> int:
        """Frames from one that was read to the next; those that were skipped on purpose belong to the one before."""
        return max(1, round((self._last_frame - self._first_frame) / max(1, self._num_read - 1)))

    def _draw_header(self, sheet: np.ndarray) -> None:
        self._text.draw(sheet, self._title or "Contact sheet", (MARGIN, MARGIN - 6), 28, INK)
        num_stuff = sum(self._is_stuff(record) for record in self._records.values())
        num_objects = len(self._records) - num_stuff
        facts = [f"{self._num_read} frame{'' if self._num_read == 1 else 's'}"]
        if self._frame_rate is not None:
            facts.append(f"{float((self._last_frame + 1 - self._first_frame) / self._frame_rate):.1f} s")
            facts.append(f"{float(self._frame_rate):.4g} frames/s")
        facts.append(f"{self._size[1]} x {self._size[0]}")
        facts.append(f"{num_objects} object{'' if num_objects == 1 else 's'}")
        facts += [f"{num_stuff} of stuff"] if num_stuff else []
        self._text.draw(sheet, "  ·  ".join(facts), (MARGIN, MARGIN + 36), 17, FAINT)

    def _draw_strip(self, sheet: np.ndarray, strip: list[tuple[int, np.ndarray]], top: int) -> None:
        left = MARGIN
        for frame_index, picture in strip:
            height, width = picture.shape[:2]
            sheet[top : top + height, left : left + width] = picture
            self._text.draw(sheet, self._time(frame_index), (left, top + height + 4), 14, FAINT)
            left += width + GAP

    def _draw_axis(self, sheet: np.ndarray, top: int, bottom: int) -> None:
        """Faint lines with times, through all timelines."""
        span = self._last_frame + 1 - self._first_frame
        steps = 4 if span >= 4 else 1
        for step in range(steps + 1):
            frame_index = self._first_frame + span * step // steps
            x = self._timeline_x(frame_index)
            cv2.line(sheet, (x, top + 20), (x, bottom), RULE, 1)
            text = self._time(frame_index)
            offset = {0: 0, steps: self._text.width(text, 13)}.get(step, self._text.width(text, 13) // 2)
            self._text.draw(sheet, text, (x - offset, top), 13, FAINT)

    def _draw_row(self, sheet: np.ndarray, record: TrackRecord, top: int) -> None:
        color = track_color(record.track_id)
        middle = top + ROW_HEIGHT // 2
        cv2.line(sheet, (MARGIN, top), (WIDTH - MARGIN, top), RULE, 1)
        badge = self._text.patch(f"#{record.track_id}", 18, text_color_on(color), color)
        sheet[middle - 30 : middle - 30 + badge.shape[0], MARGIN : MARGIN + badge.shape[1]] = badge
        known = record.label < len(self._class_names)
        name = self._class_names[record.label] if known else f"class {record.label}"
        score = f"{record.score:.2f}"
        left = MARGIN + badge.shape[1] + 10
        room = LABEL_WIDTH - 44 - badge.shape[1] - self._text.width(score, 18)
        name = self._shortened(name, 18, room)
        self._text.draw(sheet, name, (left, middle - 30), 18, INK)
        self._text.draw(sheet, score, (left + self._text.width(name, 18) + 10, middle - 30), 18, FAINT)
        stretch = f"{self._time(record.runs[0][0])} to {self._time(record.runs[-1][1])}"
        count = f"{record.num_frames} frame{'' if record.num_frames == 1 else 's'}"
        self._text.draw(sheet, f"{stretch}, {count}", (MARGIN, middle + 6), 14, FAINT)
        thumbnails = record.thumbnails.chosen(NUM_THUMBNAILS)
        self._draw_timeline(sheet, record, middle, [frame_index for frame_index, _ in thumbnails])
        left = MARGIN + LABEL_WIDTH + TIMELINE_WIDTH + 24
        thumbnail_top = middle - THUMBNAIL_SIZE[0] // 2
        for _, picture in thumbnails:
            sheet[thumbnail_top : thumbnail_top + picture.shape[0], left : left + picture.shape[1]] = picture
            left += THUMBNAIL_SIZE[1] + GAP

    def _draw_timeline(self, sheet: np.ndarray, record: TrackRecord, middle: int, marks: list[int]) -> None:
        """A groove for the whole video, filled where the track is there; notches are the moments of the thumbnails."""
        start, stop = self._timeline_x(self._first_frame), self._timeline_x(self._last_frame + 1)
        cv2.rectangle(sheet, (start, middle - 9), (stop, middle + 9), GROOVE, cv2.FILLED)
        color = track_color(record.track_id)
        step = self._frame_step()
        for first, last in record.runs:
            left = self._timeline_x(first)
            right = max(left + 2, self._timeline_x(min(last + step, self._last_frame + 1)))
            cv2.rectangle(sheet, (left, middle - 9), (min(right, stop), middle + 9), color, cv2.FILLED)
        for frame_index in marks:
            x = (self._timeline_x(frame_index) + self._timeline_x(frame_index + 1)) // 2
            cv2.line(sheet, (x, middle + 13), (x, middle + 17), color, 2)

    def _timeline_x(self, frame_index: int) -> int:
        span = self._last_frame + 1 - self._first_frame
        return MARGIN + LABEL_WIDTH + TIMELINE_WIDTH * (frame_index - self._first_frame) // span

    def _time(self, frame_index: int) -> str:
        if self._frame_rate is None:
            return f"frame {frame_index}"
        seconds = float(frame_index / self._frame_rate)
        if seconds < 60:
            is_short = self._last_frame + 1 - self._first_frame < 4 * self._frame_rate
            return f"{seconds:.2f} s" if is_short else f"{seconds:.1f} s"
        hours, rest = divmod(int(seconds), 3600)
        return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d}"

    def _shortened(self, text: str, size: int, width: int) -> str:
        text = printable(text)
        if self._text.width(text, size) <= width:
            return text
        while len(text) > 1 and self._text.width(text + "…", size) > width:
            text = text[:-1]
        return text + "…"


def _resized(instances: FrameInstances, size: tuple[int, int]) -> FrameInstances:
    """The instances at another size, without those that are too small to be seen there."""
    masks = np.zeros((len(instances), *size), bool)
    for index, rle in enumerate(instances.segmentations):
        coverage = cv2.resize(decode_rle(rle).astype(np.float32), size[::-1], interpolation=cv2.INTER_AREA)
        masks[index] = coverage >= 0.5
    small = replace(instances, size=size, segmentations=tuple(encode_masks(masks)))
    return _selected(small, np.flatnonzero(masks.any(axis=(1, 2))).tolist())


def _selected(instances: FrameInstances, indices: Sequence[int]) -> FrameInstances:
    def chosen(values: Sequence[Item]) -> tuple[Item, ...]:
        return tuple(values[index] for index in indices)

    return replace(
        instances,
        track_ids=chosen(instances.track_ids),
        labels=chosen(instances.labels),
        scores=chosen(instances.scores),
        segmentations=chosen(instances.segmentations),
    )
