"""What results can be made into: pictures, tables, the objects of other libraries, files.

The containers are at the bottom of the package, what draws and writes them is above. These methods hand themselves to
it by name, so that it is imported when it is first used, and containers import nothing.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import fiftyone
    import numpy as np
    import pandas
    import supervision
    from PIL import Image


class FrameViews:
    """What the instances of a frame can be made into."""

    def plot(self, image: np.ndarray | Image.Image) -> Image.Image:
        """The frame with its masks, ids, classes and scores drawn on it; notebooks show it.

        Args:
            image: The frame, uint8 RGB ``(H, W, 3)`` or a PIL image.
        """
        picture: Image.Image = _room("inference.result_files").plot_instances(self, image)
        return picture

    def to_supervision(self) -> supervision.Detections:
        """``supervision.Detections`` with track ids, class names and compact masks.

        Raises:
            ImportError: If supervision is not installed.
        """
        detections: supervision.Detections = _room("results.exports").to_supervision(self)
        return detections

    def to_coco(self) -> list[dict[str, Any]]:
        """COCO detections: the frame index as ``image_id``, the class index + 1 as ``category_id``."""
        entries: list[dict[str, Any]] = _room("results.coco_detections").coco_entries(self)
        return entries


class VideoViews:
    """What the tracks of a video can be made into."""

    def plot(self, frame_index: int, image: np.ndarray | Image.Image | None = None) -> Image.Image:
        """A frame with its masks, ids, classes and scores drawn on it; notebooks show it.

        Args:
            frame_index: Which frame.
            image: The frame itself, uint8 RGB ``(H, W, 3)`` or a PIL image; None reads it from ``source``.

        Raises:
            ValueError: If no image is given, and the video did not come from a file.
        """
        picture: Image.Image = _room("inference.result_files").plot(self, frame_index, image)
        return picture

    def save(self, folder: str | os.PathLike[str]) -> list[str]:
        """Write what the command ``predict`` writes, and return the names of the files.

        ``tracks.json``, ``results.json`` and, where ``source`` can be read again, ``overlay.mp4``,
        ``contact_sheet.png`` and ``viewer.html``.
        """
        names: list[str] = _room("inference.result_files").save(self, folder)
        return names

    def to_pandas(self) -> pandas.DataFrame:
        """A table with a row for each track on each frame: ids, classes, scores, boxes, areas, times.

        Raises:
            ImportError: If pandas is not installed.
        """
        table: pandas.DataFrame = _room("results.exports").to_pandas(self)
        return table

    def to_supervision(self) -> list[supervision.Detections]:
        """``supervision.Detections`` of every frame, with track ids, class names and compact masks.

        Raises:
            ImportError: If supervision is not installed.
        """
        detections: list[supervision.Detections] = _room("results.exports").video_to_supervision(self)
        return detections

    def to_coco(self) -> list[dict[str, Any]]:
        """COCO detections of every frame, see :meth:`FrameViews.to_coco`."""
        entries: list[dict[str, Any]] = _room("results.exports").video_to_coco(self)
        return entries

    def to_davis(self, folder: str | os.PathLike[str], frame_indices: Sequence[int] | None = None) -> None:
        """Write indexed PNG masks, one for each frame, as DAVIS has them.

        Args:
            folder: Where they go; it must not be there yet, or be empty.
            frame_indices: Which frames; None is all.
        """
        _room("results.exports").to_davis(self, folder, frame_indices)

    def to_cvat(self, path: str | os.PathLike[str], *, tolerance: float = 1.0) -> None:
        """Write polygon tracks as CVAT imports them ("CVAT for video 1.1").

        Args:
            path: XML file to write.
            tolerance: How far, in pixels, a polygon may be off the edge of its mask; 0.2 is exact, with many points.
        """
        _room("results.formats.cvat").write_cvat(self, path, tolerance=tolerance)

    def to_mots_png(self, folder: str | os.PathLike[str]) -> None:
        """Write masks without overlaps as 16-bit PNG files, which CVAT and datumaro read ("MOTS PNG 1.0").

        Args:
            folder: Where they go; it must not be there yet, or be empty.
        """
        _room("results.formats.mots_png").write_mots_png(self, folder)

    def to_label_studio(
        self, path: str | os.PathLike[str], *, shapes: Literal["polygons", "boxes"] = "polygons", tolerance: float = 1.0
    ) -> None:
        """Write a task with predictions for Label Studio, and ``PATH.config.xml``, which sets up a project for it.

        Args:
            path: JSON file to write.
            shapes: ``polygons`` need Label Studio Enterprise or its cloud; ``boxes`` are for the open-source edition.
            tolerance: How far, in pixels, a polygon may be off the edge of its mask; 0.2 is exact, with many points.
        """
        formats = _room("results.formats.label_studio")
        if shapes == "boxes":
            formats.write_label_studio_boxes(self, path)
        else:
            formats.write_label_studio(self, path, tolerance=tolerance)

    def to_coco_video(self, path: str | os.PathLike[str]) -> None:
        """Write the video and its tracks in the COCO format with videos (CocoVID of mmtracking).

        Args:
            path: JSON file to write.
        """
        _room("results.formats.coco_video").write_coco_video(self, path)

    def to_fiftyone(self) -> fiftyone.Sample:
        """A ``fiftyone.Sample`` of the video, with the tracks as ``predictions`` of its frames.

        ``dataset.add_sample(result.to_fiftyone())`` shows them in the app; the ``index`` of a detection is its track.

        Raises:
            ImportError: If fiftyone is not installed.
            ValueError: If the video did not come from a file.
        """
        sample: fiftyone.Sample = _room("results.exports").to_fiftyone(self)
        return sample

    def _repr_html_(self) -> str:
        """What notebooks show: a row for each track with its time line."""
        page: str = _room("visualization.track_table").track_table(self)
        return page


def _room(name: str) -> Any:
    return importlib.import_module(f"video_mask2former.{name}")
