"""Between the two views of a result: frame by frame, and track by track."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from video_mask2former.rle import Rle
from video_mask2former.structures import FrameInstances, Track, VideoInstances


def frames_of(video: VideoInstances) -> Iterator[FrameInstances]:
    """The frames of a result in order, those without instances included."""
    for frame_index in range(video.num_frames):
        yield video.at_frame(frame_index)


@dataclass
class _GrowingTrack:
    segmentations: dict[int, Rle] = field(default_factory=dict)
    scores: dict[int, float] = field(default_factory=dict)
    label_weights: dict[int, float] = field(default_factory=dict)


def assemble_tracks(
    frames: Iterable[FrameInstances],
    *,
    num_frames: int | None = None,
    frame_rate: Fraction | None = None,
    class_names: Sequence[str] = (),
) -> VideoInstances:
    """Collect streamed frames into tracks.

    A track gets the label with the largest sum of scores over its frames (the first seen of equal ones), and the mean
    of its frame scores.

    Args:
        frames: At least one, in any order.
        num_frames: Length of the video; up to the last frame seen if None.
        frame_rate: Frames per second.
        class_names: Name of each class index.

    Raises:
        ValueError: If there are no frames, sizes differ, or a track has two masks on one frame.
    """
    growing: dict[int, _GrowingTrack] = {}
    size: tuple[int, int] | None = None
    last_index = -1
    for frame in frames:
        size = size or frame.size
        if tuple(frame.size) != tuple(size):
            raise ValueError(f"frame {frame.frame_index} has size {frame.size}, earlier frames have {size}.")
        last_index = max(last_index, frame.frame_index)
        for track_id, label, score, rle in zip(
            frame.track_ids, frame.labels, frame.scores, frame.segmentations, strict=True
        ):
            track = growing.setdefault(track_id, _GrowingTrack())
            if frame.frame_index in track.segmentations:
                raise ValueError(f"track {track_id} has two masks on frame {frame.frame_index}.")
            track.segmentations[frame.frame_index] = rle
            track.scores[frame.frame_index] = score
            track.label_weights[label] = track.label_weights.get(label, 0.0) + score
    if size is None:
        raise ValueError("frames must hold at least one frame, got none.")
    tracks = tuple(_finish(track_id, track) for track_id, track in sorted(growing.items()))
    length = last_index + 1 if num_frames is None else num_frames
    return VideoInstances(tracks, length, size, frame_rate, tuple(class_names))


def _finish(track_id: int, track: _GrowingTrack) -> Track:
    label = max(track.label_weights, key=lambda candidate: track.label_weights[candidate])
    score = sum(track.scores.values()) / len(track.scores)
    return Track(track_id, label, score, track.segmentations, track.scores)
