"""Panoptic and semantic streams: ids that stay, masks that do not overlap, memory that does not grow."""

from __future__ import annotations

import gc
import tracemalloc

import numpy as np
import pytest

from video_mask2former.inference import InferenceSettings, segment_video, stream_video
from video_mask2former.rle import decode_rle
from video_mask2former.tasks import VideoPanopticTask, VideoSemanticTask

SMALL = InferenceSettings(short_side=48)
TASKS = [VideoPanopticTask(0.5, 0.5), VideoSemanticTask()]


def moving_square(painter, num_frames: int) -> np.ndarray:
    return painter([{"red": (16, 2 + t % 40), "blue": (30, 50 - t % 40)} for t in range(num_frames)])


@pytest.mark.parametrize("tracker", ["query", "minvis"])
def test_things_keep_their_ids_and_stuff_has_that_of_its_class(colour_model, painter, tracker) -> None:
    frames = moving_square(painter, 12)
    result = segment_video(colour_model, frames, task=VideoPanopticTask(0.5, 0.5), tracker=tracker, settings=SMALL)
    num_classes = colour_model.num_classes
    assert result.tracks and all(track.track_id > num_classes for track in result.tracks), "no class is stuff"
    covered = np.zeros((12, *result.size), int)
    for track in result.tracks:
        for index, rle in track.segmentations.items():
            covered[index] += decode_rle(rle)
    assert covered.max() == 1
    longest = max(len(track.segmentations) for track in result.tracks)
    assert longest == 12


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_memory_does_not_grow(colour_model, painter, task) -> None:
    clip = moving_square(painter, 40)

    def frames():
        for index in range(400):
            yield clip[index % 40]

    stream = stream_video(colour_model, frames(), task=task, settings=SMALL)
    held = []
    tracemalloc.start()
    try:
        for count, _ in enumerate(stream, start=1):
            if count in (100, 400):
                gc.collect()
                held.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    assert held[1] < held[0] + 100_000, "bytes after 100 and after 400 frames"
