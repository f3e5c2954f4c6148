"""``video-mask2former evaluate`` on ground truth that is fed back, of real videos and images."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from video_mask2former.cli import main
from video_mask2former.data.annotations import AnnotationSet, load_annotations
from video_mask2former.results import CocoDetectionsWriter, write_youtube_vis
from video_mask2former.structures import VideoInstances


def without_crowd(video: VideoInstances) -> VideoInstances:
    return replace(video, tracks=tuple(track for track in video.tracks if not track.is_crowd))


def write_ground_truth(path: Path, annotations: AnnotationSet) -> None:
    """The annotated objects as a model's predictions, in the format of the task."""
    videos = [without_crowd(video) for video in annotations.iterate_ground_truth()]
    if not annotations.is_of_images:
        write_youtube_vis(path, videos, annotations.category_ids)
        return
    image_ids = dict(enumerate(video.video_id for video in videos))
    with CocoDetectionsWriter(path, annotations.category_ids, image_ids) as writer:
        for index, video in enumerate(videos):
            writer.write(replace(video.at_frame(0), frame_index=index))


def test_ground_truth_of_every_sample_dataset_is_perfect(sample_data, tmp_path) -> None:
    paths = sorted(sample_data.glob("*/instances.json"))
    assert paths, "VM2F_SAMPLE_DATA has no NAME/instances.json"
    for path in paths:
        annotations = load_annotations(path)
        folder = tmp_path / path.parent.name
        write_ground_truth(folder / "results.json", annotations)
        files = ["--annotations", str(path), "--results", str(folder / "results.json"), "--output", str(folder)]
        assert main(["evaluate", *files, "--cases", "0"]) == 0
        metrics = json.loads((folder / "metrics.json").read_text())
        figures = {name: metrics[name] for name in ("AP", "AP50", "AP75", "AR100")} | metrics["per_class"]
        defined = {name: value for name, value in figures.items() if value != -1}
        assert len(defined) > 4
        assert defined == pytest.approx(dict.fromkeys(defined, 1.0), abs=1e-12), path
        if not annotations.is_of_images:
            assert metrics["identity"]["HOTA"] == metrics["identity"]["IDF1"] == pytest.approx(1.0, abs=1e-12)
