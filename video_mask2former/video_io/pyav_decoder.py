"""Frames of a video file by PyAV, each under its own index, even where some cannot be decoded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from video_mask2former.video_io.container import ContainerInfo, decode_packets, open_container, video_stream


class PyavDecoder:
    """Decodes one file front to back, from any frame on.

    A frame that cannot be decoded in the middle of a file is shown as the one before it, so that the others keep their
    place and time; ``num_replaced`` counts these.
    """

    def __init__(self, path: Path, info: ContainerInfo) -> None:
        self.num_replaced = 0
        self._path = path
        self._info = info
        self._reformatter = VideoReformatter()

    def read(self, wanted: range) -> Iterator[np.ndarray]:
        """Yield the wanted frames, uint8 RGB ``(H, W, 3)``; ends early where the file does."""
        targets = iter(wanted)
        target = next(targets, None)
        previous: av.VideoFrame | None = None
        for index, frame in self._indexed_frames(wanted.start):
            while target is not None and index > target:
                self.num_replaced += 1
                yield self._to_rgb(previous or frame)
                target = next(targets, None)
            if target is not None and index == target:
                yield self._to_rgb(frame)
                target = next(targets, None)
            if target is None:
                return
            previous = frame

    def _indexed_frames(self, start: int) -> Iterator[tuple[int, av.VideoFrame]]:
        """Frames from ``start`` or earlier on, by a seek if the seek proves right, else from the beginning."""
        if start > 0 and self._info.presentation_times is not None:
            with open_container(self._path) as container:
                frames = self._after_seek(container, start)
                first = next(frames, None)
                if first is not None:
                    yield first
                    yield from frames
                    return
        with open_container(self._path) as container:
            yield from self._number(decode_packets(container, video_stream(container, self._path)))

    def _after_seek(self, container: av.container.InputContainer, start: int) -> Iterator[tuple[int, av.VideoFrame]]:
        """Frames from ``start`` on; none at all where seeking lands too late or beside a key frame.

        A seek is trusted once a key frame at or before ``start`` came out: only what follows one is decoded in full.
        """
        assert self._info.presentation_times is not None
        stream = video_stream(container, self._path)
        try:
            container.seek(int(self._info.presentation_times[start]), stream=stream, backward=True)
        except av.FFmpegError:
            return
        is_trusted = False
        for index, frame in self._number(decode_packets(container, stream), first_index=None):
            is_trusted |= frame.key_frame and index <= start
            if index >= start:
                if not is_trusted:
                    return
                yield index, frame

    def _number(
        self, frames: Iterator[av.VideoFrame | None], first_index: int | None = 0
    ) -> Iterator[tuple[int, av.VideoFrame]]:
        """Give each frame its index by its timestamp, or by counting where timestamps cannot tell."""
        times = self._info.presentation_times
        following = first_index
        for frame in frames:
            if frame is None:
                continue
            index = following
            if times is not None and frame.pts is not None:
                position = int(np.searchsorted(times, frame.pts))
                if position < len(times) and times[position] == frame.pts:
                    index = position
            if index is not None:
                yield index, frame
                following = index + 1

    def _to_rgb(self, frame: av.VideoFrame) -> np.ndarray:
        height, width = self._info.size[::-1] if self._info.orientation.transpose else self._info.size
        rgb = self._reformatter.reformat(frame, width=width, height=height, format="rgb24")
        return self._info.orientation.apply(rgb.to_ndarray())
