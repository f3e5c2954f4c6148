"""CocoVID, the COCO format with videos as mmtracking has it: images are frames, annotations belong to tracks."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Any

from video_mask2former.atomic import atomic_path
from video_mask2former.results.field_checks import dataset_category
from video_mask2former.results.formats.frame_files import class_list, frame_files, video_name
from video_mask2former.rle import rle_area, rle_box
from video_mask2former.structures import VideoInstances

VIDEO_ID = 1


def write_coco_video(
    video: VideoInstances, path: str | os.PathLike[str], frame_indices: Sequence[int] | None = None
) -> None:
    """Write a video and its tracks in the CocoVID format.

    The images are those of the frames that were looked at, named ``VIDEO/FRAME``; ``frame_id`` counts them from 0.

    Args:
        video: The tracks; ``source`` gives the video and the frames their names.
        path: JSON file to write.
        frame_indices: The frames that were looked at; None is all.
    """
    looked_at = range(video.num_frames) if frame_indices is None else frame_indices
    height, width = video.size
    name, files = video_name(video), frame_files(video)
    video_id = VIDEO_ID if video.video_id is None else video.video_id
    frame = {"video_id": video_id, "height": height, "width": width}
    document = {
        "categories": [
            {"id": dataset_category(label, None), "name": class_name}
            for label, class_name in enumerate(class_list(video))
        ],
        "videos": [{"id": video_id, "name": name, "height": height, "width": width}],
        "images": [
            {"id": number + 1, "file_name": f"{name}/{files[index]}", "frame_id": number, **frame}
            for number, index in enumerate(looked_at)
        ],
        "annotations": _annotations(video, looked_at, video_id),
    }
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(document, separators=(",", ":")), encoding="utf-8")


def _annotations(video: VideoInstances, frame_indices: Sequence[int], video_id: int) -> list[dict[str, Any]]:
    annotations: list[dict[str, Any]] = []
    for number, index in enumerate(frame_indices):
        for track in video.tracks:
            rle = track.segmentations.get(index)
            if rle is None:
                continue
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "video_id": video_id,
                    "image_id": number + 1,
                    "category_id": dataset_category(track.label, None),
                    "instance_id": track.track_id,
                    "bbox": list(rle_box(rle)),
                    "area": rle_area(rle),
                    "segmentation": rle,
                    "iscrowd": int(track.is_crowd),
                    "score": track.frame_scores.get(index, track.score),
                }
            )
    return annotations
