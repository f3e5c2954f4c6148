"""``viewer.html``: a video with its tracks in one page, which works from the disk and needs no network."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Collection, Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np

from video_mask2former.pages import data_url, json_members, script_data, write_page
from video_mask2former.results.tracks_json import tracks_text
from video_mask2former.structures import VideoInstances
from video_mask2former.video_io import VideoWriter
from video_mask2former.visualization import track_color

SHORT_SIDE = 480  # of the video inside the page; masks keep the size of the source


class ViewerPage:
    """Collects the frames of a video, and writes the page when its tracks are known.

    Use it as a context manager; what is collected goes at its end.

    Args:
        path: The page.
        title: What it is called.
        frame_rate: Of the video inside.
        stuff_labels: Classes that are drawn lightly, under the others.
    """

    def __init__(self, path: Path, title: str, frame_rate: Fraction, *, stuff_labels: Collection[int] = ()) -> None:
        self._path = path
        self._title = title
        self._frame_rate = frame_rate
        self._stuff_labels = frozenset(stuff_labels)
        self._frames: list[int] = []
        self._stack = contextlib.ExitStack()
        folder = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="video_mask2former_"))
        self._movie = Path(folder) / "video.mp4"
        self._writer = VideoWriter(self._movie, frame_rate, crf=26)
        self._writing = self._stack.enter_context(contextlib.ExitStack())
        self._writing.enter_context(self._writer)

    def add(self, image: np.ndarray, frame_index: int) -> None:
        """Take the next frame, uint8 RGB ``(H, W, 3)``, and its index in the source."""
        height, width = image.shape[:2]
        scale = min(1.0, SHORT_SIDE / min(height, width))
        size = [max(2, round(side * scale / 2) * 2) for side in (width, height)]  # H.264 wants even sides
        self._writer.write(image if size == [width, height] else cv2.resize(image, size, interpolation=cv2.INTER_AREA))
        self._frames.append(frame_index)

    def write(self, video: VideoInstances, source: str | None = None) -> None:
        """Write the page; it appears when it is complete."""
        self._writing.close()
        write_page(self._path, "viewer.html", title=self._title, data=script_data(self._data(video, source)))

    def __enter__(self) -> ViewerPage:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def _data(self, video: VideoInstances, source: str | None) -> Iterator[str]:
        """The page's data as JSON, piece by piece: neither video nor masks are in memory at once."""
        colors = {track.track_id: track_color(track.track_id) for track in video.tracks}
        return json_members(
            {
                "frame_rate": float(self._frame_rate),
                "frames": self._frames,
                "colors": {key: list(map(int, color)) for key, color in colors.items()},
                "stuff": [track.track_id for track in video.tracks if track.label in self._stuff_labels],
                "tracks": tracks_text(video, source=source),
                "video": data_url(self._movie, "video/mp4"),
            }.items()
        )
