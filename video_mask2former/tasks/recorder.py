"""Collecting tracks while a video runs, and deciding at its end which of them are reported."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Sequence
from fractions import Fraction

import torch
from torch import Tensor

from video_mask2former.config import InferenceSettings
from video_mask2former.rle import Rle
from video_mask2former.structures import FrameInstances, Track, VideoInstances
from video_mask2former.tasks.mask_quality import MaskQuality, mean_probability
from video_mask2former.tasks.mask_store import MEMORY_BYTES, MaskStore
from video_mask2former.tasks.selection import select_probable
from video_mask2former.tracking import TrackUpdate

logger = logging.getLogger(__name__)


class Recorder(ABC):
    """The answer for one video so far.

    Args:
        size: Height and width of the frames.
        memory_bytes: Masks kept in memory before a temporary file is used.
    """

    def __init__(self, size: tuple[int, int], memory_bytes: int = MEMORY_BYTES) -> None:
        self._size = size
        self._masks = MaskStore(size, memory_bytes)
        self._last_frame = -1

    def add_frame(self, frame_index: int) -> None:
        """Note that a frame was processed, whether or not anything is on it."""
        self._last_frame = max(self._last_frame, frame_index)

    @abstractmethod
    def tracks(self) -> tuple[Track, ...]:
        """What is reported, the most confident first."""

    def result(
        self, num_frames: int | None, frame_rate: Fraction | None, class_names: tuple[str, ...]
    ) -> VideoInstances:
        """Everything found; the length is that of the frames seen where the video does not say its own."""
        length = max(num_frames or 0, self._last_frame + 1)
        return VideoInstances(self.tracks(), length, self._size, frame_rate, class_names)


class TrackRecorder(Recorder):
    """The tracks of one video so far.

    Every track that the tracker reports is recorded, also while its score is still too low to be shown: it may rise.
    At the end each track has the score and label of its class logits averaged over all its frames, and the settings
    choose among the tracks. So a final track can have masks on frames where the stream did not show it yet, and a
    track that was shown for a while can be missing when more frames brought its score below the threshold.

    Args:
        size: Height and width of the frames.
        settings: Which tracks are reported in the end, see :func:`~video_mask2former.tasks.selection.select_probable`.
        memory_bytes: Masks kept in memory before a temporary file is used.
    """

    def __init__(self, size: tuple[int, int], settings: InferenceSettings, memory_bytes: int = MEMORY_BYTES) -> None:
        super().__init__(size, memory_bytes)
        self._settings = settings
        self._probabilities: dict[int, Tensor] = {}  # track id to those of its classes, over everything so far
        self._qualities: dict[int, tuple[float, float]] = {}  # track id to sum and count

    def add_update(self, update: TrackUpdate) -> None:
        """Take the tracks' class logits up to now, and drop what was recorded of tracks that turned out to be none."""
        for track_id in update.withdrawn_ids:
            self._probabilities.pop(track_id, None)
            self._qualities.pop(track_id, None)
            self._masks.discard(track_id)
        for track_id, probabilities in zip(update.track_ids, update.class_probabilities(), strict=True):
            self._probabilities[track_id] = probabilities.clone()  # a view would keep the whole update alive

    def add_mask(self, track_id: int, frame_index: int, mask: Rle, score: float) -> None:
        """Take the mask of a track on one frame, with the confidence on that frame alone."""
        self._masks.append(track_id, frame_index, mask, score)

    def add_quality(self, track_ids: Sequence[int], quality: MaskQuality) -> None:
        """Take how sure the masks of some tracks are of themselves on some frames."""
        for track_id, total, count in zip(track_ids, quality.sums, quality.counts, strict=True):
            before = self._qualities.get(track_id, (0.0, 0.0))
            self._qualities[track_id] = before[0] + float(total), before[1] + float(count)

    def tracks(self) -> tuple[Track, ...]:
        """The tracks that the settings report, the most confident first.

        Where the settings allow several labels for one object, all but the first get ids of their own.
        """
        if not self._probabilities:
            return ()
        ids = list(self._probabilities)
        selection = select_probable(torch.stack(list(self._probabilities.values())), self._settings)
        if selection.num_left_out and self._settings.score_threshold > 0:
            logger.warning(
                "%d tracks reach the score of %g; the best %d are reported (top_k)",
                len(selection) + selection.num_left_out,
                self._settings.score_threshold,
                self._settings.top_k,
            )
        next_id = max(ids) + 1
        used: set[int] = set()
        tracks = []
        for index, label, score in zip(
            selection.indices.tolist(), selection.labels.tolist(), selection.scores.tolist(), strict=True
        ):
            track_id = ids[index]
            masks = self._masks.masks(track_id)
            if not masks and not self._settings.keep_empty:
                continue
            if track_id in used:
                track_id, next_id = next_id, next_id + 1
            used.add(track_id)
            score *= self._quality(ids[index])
            tracks.append(Track(track_id, label, score, masks, masks.frame_scores()))
        return tuple(sorted(tracks, key=lambda track: -track.score))

    def _quality(self, track_id: int) -> float:
        if self._settings.mask_quality in (None, "none"):
            return 1.0
        return mean_probability(*self._qualities.get(track_id, (0.0, 0.0)))


class FrameRecorder(Recorder):
    """What was answered frame by frame, put together: an id has the label and score that it had last."""

    def __init__(self, size: tuple[int, int], memory_bytes: int = MEMORY_BYTES) -> None:
        super().__init__(size, memory_bytes)
        self._latest: dict[int, tuple[int, float]] = {}

    def add(self, frame: FrameInstances) -> None:
        """Take the answer for the next frame."""
        self.add_frame(frame.frame_index)
        fields = zip(frame.track_ids, frame.labels, frame.scores, frame.segmentations, strict=True)
        for track_id, label, score, mask in fields:
            self._latest[track_id] = label, score
            self._masks.append(track_id, frame.frame_index, mask, score)

    def tracks(self) -> tuple[Track, ...]:
        """Everything that was answered, by id."""
        found = []
        for track_id, (label, score) in sorted(self._latest.items()):
            masks = self._masks.masks(track_id)
            found.append(Track(track_id, label, score, masks, masks.frame_scores()))
        return tuple(found)
