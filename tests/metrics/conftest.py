"""Videos to evaluate on: read from YouTube-VIS dictionaries, or made at random."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from video_mask2former.rle import encode_masks
from video_mask2former.structures import Track, VideoInstances

GOLDEN_FOLDER = Path(__file__).parents[1] / "data" / "golden"

Pair = tuple[VideoInstances, VideoInstances]


def instances_of(video: dict[str, Any], entries: list[dict[str, Any]], category_ids: list[int]) -> VideoInstances:
    tracks = tuple(
        Track(
            track_id=index,
            label=category_ids.index(entry["category_id"]),
            score=entry.get("score", 1.0),
            segmentations={time: rle for time, rle in enumerate(entry["segmentations"]) if rle},
            is_crowd=bool(entry.get("iscrowd", 0)),
        )
        for index, entry in enumerate(entries)
        if entry["video_id"] == video["id"]
    )
    return VideoInstances(tracks, video["length"], (video["height"], video["width"]), video_id=video["id"])


def pairs_of(ground_truth: dict[str, Any], predictions: list[dict[str, Any]]) -> list[Pair]:
    """Prediction and ground truth of every video, as the evaluators take them."""
    category_ids = sorted(category["id"] for category in ground_truth["categories"])
    return [
        (
            instances_of(video, predictions, category_ids),
            instances_of(video, ground_truth["annotations"], category_ids),
        )
        for video in ground_truth["videos"]
    ]


def random_pairs(
    seed: int,
    num_videos: int = 6,
    num_frames: int = 4,
    num_classes: int = 3,
    num_objects: int = 4,
    num_predictions: int = 8,
    size: tuple[int, int] = (300, 400),
    num_score_steps: int = 10,
) -> list[Pair]:
    """Boxes that move; predictions are disturbed copies of them. Scores have few values, so that many are equal."""
    rng = np.random.default_rng(seed)
    pairs = []
    for video_id in range(1, num_videos + 1):
        objects = [(rng.integers(num_classes), _moving_box(rng, num_frames, size)) for _ in range(num_objects)]
        ground_truth = [_track(rng, index, label, boxes, size, 1.0) for index, (label, boxes) in enumerate(objects)]
        predictions = []
        for index in range(num_predictions):
            label, boxes = objects[rng.integers(num_objects)]
            label = label if rng.random() < 0.8 else rng.integers(num_classes)
            score = rng.integers(num_score_steps) / num_score_steps
            disturbed = boxes + rng.integers(-12, 13, boxes.shape)
            predictions.append(_track(rng, index, label, disturbed, size, float(score)))
        pairs.append(
            (
                VideoInstances(tuple(predictions), num_frames, size, video_id=video_id),
                VideoInstances(tuple(ground_truth), num_frames, size, video_id=video_id),
            )
        )
    return pairs


def box_mask(size: tuple[int, int], y0: int, x0: int, y1: int, x1: int) -> np.ndarray:
    mask = np.zeros(size, bool)
    mask[max(y0, 0) : max(y1, 0), max(x0, 0) : max(x1, 0)] = True
    return mask


def _moving_box(rng: np.random.Generator, num_frames: int, size: tuple[int, int]) -> np.ndarray:
    """Corners (y0, x0, y1, x1) on each frame, ``(T, 4)``; sides from tiny to most of the frame."""
    sides = (np.array(size) * rng.uniform(0.05, 0.9, 2)).astype(int)
    start = rng.integers(0, np.array(size) - sides + 1)
    offset = rng.integers(-8, 9, 2) * np.arange(num_frames)[:, None]
    return np.concatenate([start + offset, start + offset + sides], axis=1)


def _track(
    rng: np.random.Generator, index: int, label: int, boxes: np.ndarray, size: tuple[int, int], score: float
) -> Track:
    is_visible = rng.random(len(boxes)) < 0.9
    is_visible[rng.integers(len(boxes))] = True
    masks = {time: box_mask(size, *boxes[time]) for time in np.flatnonzero(is_visible).tolist()}
    return Track(index, int(label), score, {time: encode_masks(mask[None])[0] for time, mask in masks.items()})


@pytest.fixture(scope="session")
def make_pairs() -> Callable[..., list[Pair]]:
    return random_pairs


@pytest.fixture(scope="session")
def read_pairs() -> Callable[..., list[Pair]]:
    return pairs_of


@pytest.fixture(scope="session")
def golden_cases() -> list[dict[str, Any]]:
    with gzip.open(GOLDEN_FOLDER / "ytvis_eval.json.gz") as file:
        return json.load(file)


@pytest.fixture(scope="session")
def make_track() -> Callable[..., Track]:
    """Track from a frame index -> bool mask mapping."""

    def make(masks: dict[int, np.ndarray], label: int = 0, score: float = 1.0, **rest: Any) -> Track:
        rles = {time: encode_masks(mask[None])[0] for time, mask in masks.items()}
        return Track(rest.pop("track_id", 0), label, score, rles, **rest)

    return make


@pytest.fixture(scope="session")
def make_video() -> Callable[..., VideoInstances]:
    def make(tracks: list[Track], num_frames: int, size: tuple[int, int], video_id: int = 1) -> VideoInstances:
        return VideoInstances(tuple(tracks), num_frames, size, video_id=video_id)

    return make
