"""Results as the objects of other libraries: pandas, supervision, FiftyOne, COCO, DAVIS."""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from video_mask2former.results.coco_detections import coco_entries
from video_mask2former.results.mask_pngs import MaskPngWriter
from video_mask2former.rle import decode_box, rle_area, rle_box
from video_mask2former.structures import FrameInstances, VideoInstances
from video_mask2former.structures.videos import class_name

COLUMNS = ("frame", "time_seconds", "track_id", "label", "class_name", "score", "x", "y", "width", "height", "area")


def to_pandas(video: VideoInstances) -> Any:
    """A ``pandas.DataFrame`` with a row for each track on each frame, in the order of frames."""
    pandas = _optional("pandas")
    rows = []
    for track in video.tracks:
        boxes = track.boxes_xywh()
        for frame, rle in track.segmentations.items():
            time = None if video.frame_rate is None else float(frame / video.frame_rate)
            score = track.frame_scores.get(frame, track.score)
            named = (track.track_id, track.label, video.class_name(track), score)
            rows.append((frame, time, *named, *boxes[frame], rle_area(rle)))
    rows.sort(key=lambda row: (row[0], row[2]))
    return pandas.DataFrame(rows, columns=list(COLUMNS))


def to_supervision(instances: FrameInstances) -> Any:
    """``supervision.Detections`` of a frame; boxes include their last row and column, as supervision has them."""
    supervision = _optional("supervision")
    if not len(instances):
        return supervision.Detections.empty()
    boxes = instances.boxes() - np.array([0, 0, 1, 1])
    return supervision.Detections(
        xyxy=boxes,
        mask=supervision.CompactMask.from_coco_rle(instances.segmentations, boxes, instances.size),
        confidence=np.array(instances.scores),
        class_id=np.array(instances.labels),
        tracker_id=np.array(instances.track_ids),
        data={"class_name": np.array([class_name(label, instances.class_names) for label in instances.labels])},
    )


def video_to_supervision(video: VideoInstances) -> list[Any]:
    """``supervision.Detections`` of every frame."""
    return [to_supervision(video.at_frame(index)) for index in range(video.num_frames)]


def to_fiftyone(video: VideoInstances) -> Any:
    """A ``fiftyone.Sample`` with the tracks of a video, boxes relative to the frame and masks within them."""
    fiftyone = _optional("fiftyone")
    sample = None if video.source is None else fiftyone.Sample(filepath=video.source)
    if sample is None or sample.media_type != "video":
        raise ValueError(f"the source of a sample of FiftyOne must be a video file, got {video.source}.")
    instances = {track.track_id: fiftyone.Instance() for track in video.tracks}
    height, width = video.size
    for index in range(video.num_frames):
        detections = []
        for track in video.tracks:
            rle = track.segmentations.get(index)
            if rle is None or not rle_area(rle):
                continue
            x, y, w, h = (int(value) for value in rle_box(rle))
            detections.append(
                fiftyone.Detection(
                    label=video.class_name(track),
                    bounding_box=[x / width, y / height, w / width, h / height],
                    mask=decode_box(rle, (x, y, w, h)),
                    confidence=track.frame_scores.get(index, track.score),
                    index=track.track_id,
                    instance=instances[track.track_id],
                )
            )
        sample.frames[index + 1] = fiftyone.Frame(predictions=fiftyone.Detections(detections=detections))
    return sample


def video_to_coco(video: VideoInstances) -> list[dict[str, Any]]:
    """COCO detections of every frame."""
    return [entry for index in range(video.num_frames) for entry in coco_entries(video.at_frame(index))]


def to_davis(video: VideoInstances, folder: str | os.PathLike[str], frame_indices: Sequence[int] | None = None) -> None:
    """Write the masks of frames as indexed PNG files."""
    with MaskPngWriter(folder) as writer:
        for index in range(video.num_frames) if frame_indices is None else frame_indices:
            writer.write(video.at_frame(index))


def _optional(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise ImportError(f"this needs the package {name}: pip install {name}") from error
