"""The objects of a frame and of a video: what is drawn, written, streamed and measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import overload

import numpy as np

from video_mask2former.rle import Rle, decode_rle, rle_area, rle_box
from video_mask2former.structures.views import FrameViews, VideoViews


@dataclass(frozen=True, repr=False)
class FrameInstances(FrameViews):
    """The instances visible on one frame, in the form that is drawn, streamed and written.

    Attributes:
        frame_index: Position of the frame in the source video, from 0.
        size: Height and width of the frame.
        track_ids: Stable id of each instance.
        labels: Class index of each.
        scores: Confidence of each, in [0, 1].
        segmentations: Mask of each, compressed RLE.
        class_names: Name of each class index, empty where unknown.
    """

    frame_index: int
    size: tuple[int, int]
    track_ids: tuple[int, ...]
    labels: tuple[int, ...]
    scores: tuple[float, ...]
    segmentations: tuple[Rle, ...]
    class_names: Sequence[str] = ()

    def __post_init__(self) -> None:
        lengths = {len(self.track_ids), len(self.labels), len(self.scores), len(self.segmentations)}
        if len(lengths) != 1:
            raise ValueError(
                "track_ids, labels, scores and segmentations must have one length, got "
                f"{len(self.track_ids)}, {len(self.labels)}, {len(self.scores)} and {len(self.segmentations)}."
            )

    def __len__(self) -> int:
        return len(self.track_ids)

    def __repr__(self) -> str:
        height, width = self.size
        objects = zip(self.track_ids, self.labels, self.scores, strict=True)
        names = [f"{track_id} {class_name(label, self.class_names)} {score:.2f}" for track_id, label, score in objects]
        return f"FrameInstances(frame {self.frame_index}, {width}x{height}: {_listed(names)})"

    def masks(self) -> np.ndarray:
        """The masks as arrays, ``(N, H, W)`` bool."""
        return np.array([decode_rle(rle) for rle in self.segmentations], bool).reshape(-1, *self.size)

    def boxes(self) -> np.ndarray:
        """Tight boxes around the masks as (x0, y0, x1, y1) in pixels, ``(N, 4)`` float64."""
        return np.array([_corners(rle_box(rle)) for rle in self.segmentations]).reshape(-1, 4)


@dataclass(frozen=True, repr=False)
class Track:
    """One object through a video.

    Attributes:
        track_id: Its id, the same on every frame.
        label: Class index, from 0.
        score: Confidence of the whole track, in [0, 1]; 1 for ground truth.
        segmentations: Frame index to mask (compressed RLE); frames without the object are not in it.
        frame_scores: Frame index to confidence on that frame, empty where the method gives none.
        is_crowd: Whether the annotation marks a group rather than one object.
    """

    track_id: int
    label: int
    score: float
    segmentations: Mapping[int, Rle]
    frame_scores: Mapping[int, float] = field(default_factory=dict)
    is_crowd: bool = False

    def __len__(self) -> int:
        return len(self.segmentations)

    def __repr__(self) -> str:
        frames = f"{len(self)} frame{'' if len(self) == 1 else 's'}"
        if len(self):
            frames += f" from {min(self.segmentations)} to {max(self.segmentations)}"
        crowd = ", crowd" if self.is_crowd else ""
        return f"Track({self.track_id}, label {self.label}, score {self.score:.2f}, {frames}{crowd})"

    def mask(self, frame_index: int) -> np.ndarray | None:
        """The mask on one frame, ``(H, W)`` bool; None where the object is not on it."""
        rle = self.segmentations.get(frame_index)
        return None if rle is None else decode_rle(rle)

    def areas(self) -> dict[int, int]:
        """Pixels of the mask on each frame it has one."""
        return {index: rle_area(rle) for index, rle in self.segmentations.items()}

    def boxes_xywh(self) -> dict[int, tuple[float, float, float, float]]:
        """Tight box around the mask on each frame it has one, as (x, y, width, height) in pixels."""
        return {index: rle_box(rle) for index, rle in self.segmentations.items()}


@dataclass(frozen=True, repr=False)
class VideoInstances(VideoViews):
    """The tracks of one video: a prediction or the ground truth.

    Attributes:
        tracks: The tracks, in no particular order.
        num_frames: Length of the video.
        size: Height and width of its frames.
        frame_rate: Frames per second, None where unknown (folders of images).
        class_names: Name of each class index, empty where unknown.
        video_id: The dataset's id of the video, None outside a dataset.
        source: The file, folder or glob that the video was read from, None where it cannot be read again.
    """

    tracks: tuple[Track, ...]
    num_frames: int
    size: tuple[int, int]
    frame_rate: Fraction | None = None
    class_names: Sequence[str] = ()
    video_id: int | None = None
    source: str | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        for track in self.tracks:
            outside = [index for index in track.segmentations if not 0 <= index < self.num_frames]
            if outside:
                raise ValueError(
                    f"track {track.track_id} has a mask on frame {outside[0]} of a video of {self.num_frames} frames."
                )

    def __len__(self) -> int:
        return len(self.tracks)

    def __iter__(self) -> Iterator[Track]:
        return iter(self.tracks)

    @overload
    def __getitem__(self, which: int) -> Track: ...
    @overload
    def __getitem__(self, which: slice | str) -> VideoInstances: ...
    def __getitem__(self, which: int | slice | str) -> Track | VideoInstances:
        """A track by its position; several as a video by a slice or by the name of their class."""
        if isinstance(which, str):
            if which not in self.class_names:
                raise KeyError(f"no class {which!r}; the classes are {', '.join(self.class_names) or 'not known'}.")
            return replace(self, tracks=tuple(track for track in self.tracks if self.class_name(track) == which))
        return replace(self, tracks=self.tracks[which]) if isinstance(which, slice) else self.tracks[which]

    def __repr__(self) -> str:
        height, width = self.size
        best = sorted(self.tracks, key=lambda track: -track.score)
        names = [f"{track.track_id} {self.class_name(track)} {track.score:.2f}" for track in best]
        tracks = f"{len(self)} track{'' if len(self) == 1 else 's'}"
        return f"VideoInstances({tracks} on {self.num_frames} frames of {width}x{height}: {_listed(names)})"

    def track(self, track_id: int) -> Track:
        """The track of an id.

        Raises:
            KeyError: If there is none.
        """
        for track in self.tracks:
            if track.track_id == track_id:
                return track
        raise KeyError(f"no track {track_id}; the ids are {', '.join(str(track.track_id) for track in self.tracks)}.")

    def class_name(self, track: Track) -> str:
        """The name of a track's class, "class 3" where it has none."""
        return class_name(track.label, self.class_names)

    def masks(self, frame_indices: Sequence[int] | None = None) -> np.ndarray:
        """The masks as arrays, ``(N, T, H, W)`` bool.

        Args:
            frame_indices: On which frames; None is all, one byte for each pixel of each track.
        """
        indices = range(self.num_frames) if frame_indices is None else frame_indices
        masks = np.zeros((len(self), len(indices), *self.size), bool)
        for track, of_track in zip(self.tracks, masks, strict=True):
            for index, mask in zip(indices, of_track, strict=True):
                if index in track.segmentations:
                    mask[:] = decode_rle(track.segmentations[index])
        return masks

    def boxes(self) -> np.ndarray:
        """Tight boxes as (x0, y0, x1, y1) in pixels, ``(N, T, 4)`` float64, NaN where an object is not on a frame."""
        boxes = np.full((len(self), self.num_frames, 4), np.nan)
        for track, of_track in zip(self.tracks, boxes, strict=True):
            for index, box in track.boxes_xywh().items():
                of_track[index] = _corners(box)
        return boxes

    def at_frame(self, frame_index: int) -> FrameInstances:
        """The instances visible on one frame."""
        if not 0 <= frame_index < self.num_frames:
            raise IndexError(f"frame_index must be in [0, {self.num_frames}), got {frame_index}.")
        here = [track for track in self.tracks if frame_index in track.segmentations]
        return FrameInstances(
            frame_index,
            self.size,
            tuple(track.track_id for track in here),
            tuple(track.label for track in here),
            tuple(track.frame_scores.get(frame_index, track.score) for track in here),
            tuple(track.segmentations[frame_index] for track in here),
            self.class_names,
        )


def class_name(label: int, class_names: Sequence[str]) -> str:
    """The name of a class, "class 3" where it has none."""
    return class_names[label] if 0 <= label < len(class_names) else f"class {label}"


def _listed(names: Sequence[str], most: int = 5) -> str:
    more = f", {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more if names else "none"


def _corners(box_xywh: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    x, y, width, height = box_xywh
    return x, y, x + width, y + height
