"""CTVIS's tracker against the published one: ids, bank and class logits, in all its variants."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch

from video_mask2former.mask_logits import MaskLogits
from video_mask2former.structures import ClipOutput
from video_mask2former.tracking import Tracker
from video_mask2former.tracking.ctvis import CTVISTracker

VARIANTS = {
    "default": {},
    "dead2": {"patience": 2},
    "momentum": {"memory": "momentum"},
    "last": {"memory": "last"},
    "twsoftmax": {"memory": "weighted"},
    "cache2": {"memory_size": 2},
    "cosine": {"similarity": "cosine", "match_threshold": 0.5},
    "noweight": {"weigh_by_age": False},
    "hungarian": {"matching": "hungarian"},
    "max": {"class_logits": "max"},
    "strict": {"select_threshold": 0.3, "birth_threshold": 0.5, "nms_iou": 0.3},
    "nonoise": {"short_tracks": (100, 3, 2)},
}


@pytest.fixture(scope="module")
def frames() -> list[ClipOutput]:
    with np.load(__file__.replace("tracking/test_ctvis.py", "data/golden/ctvis_tracker.npz")) as file:
        logits, embeddings, rectangles = file["in_logits"], file["in_embeds"], file["in_rects"]
    outputs = []
    for frame in range(len(logits)):
        masks = torch.full((1, 9, 1, 18, 24), -3.0)
        for query, (top, bottom, left, right) in enumerate(rectangles[frame]):
            masks[0, query, 0, top:bottom, left:right] = 3.0
        embedding = torch.from_numpy(embeddings[frame])[None]
        outputs.append(
            ClipOutput(
                torch.from_numpy(logits[frame])[None],
                MaskLogits.from_dense(masks),
                embedding,
                embedding,
                (72, 96),
                (72, 96),
            )
        )
    return outputs


def run(tracker: Tracker, frames: list[ClipOutput], first: int = 0):
    """Ids ``(T, Q)`` counted from 0 as published (-1 for none), the final tracks, and the tracker's state by frame."""
    ids = np.full((len(frames), 9), -1)
    tracks: dict[int, tuple[torch.Tensor, list[int]]] = {}
    states = []
    for index, output in enumerate(frames, start=first):
        update = tracker.update(output, [index])
        for track_id in update.withdrawn_ids:
            tracks.pop(track_id, None)
        for row, track_id in enumerate(update.track_ids):
            ids[index - first, update.query_indices[row]] = track_id - 1
            seen = [*tracks[track_id][1], index] if track_id in tracks else [index]
            tracks[track_id] = (update.class_logits[row], seen)
        states.append(tracker.state_dict())
    return ids, tracks, states


@pytest.mark.parametrize("variant", VARIANTS)
def test_tracks_equal_the_published_ones(golden, frames, variant):
    figures = golden("ctvis_tracker")
    tracker = CTVISTracker(**VARIANTS[variant])
    assert isinstance(tracker, Tracker) and tracker.next_queries() is None
    ids, tracks, states = run(tracker, frames)
    np.testing.assert_array_equal(ids, figures[f"{variant}_ids"])
    logits = torch.stack([logits for logits, _ in tracks.values()])
    present = np.array([[frame in seen for frame in range(31)] for _, seen in tracks.values()])
    order = np.argsort(list(tracks))
    for possible in (slice(None), order):  # in the order of creation, whatever counts as that
        if np.array_equal(present[possible], figures[f"{variant}_track_present"]):
            break
    np.testing.assert_array_equal(present[possible], figures[f"{variant}_track_present"])
    np.testing.assert_allclose(logits[possible], figures[f"{variant}_track_logits"], atol=1e-5)
    if f"{variant}_memory_exist_frames" in figures:
        check_bank(states, figures[f"{variant}_memory_exist_frames"], figures[f"{variant}_memory_embeds"])


def check_bank(states, num_seen: np.ndarray, memories: np.ndarray) -> None:
    for state, counts, expected in zip(states, num_seen, memories, strict=True):
        bank = {track["track_id"] - 1: track for track in state["bank"]["tracks"]}
        assert {track_id: track["num_seen"] for track_id, track in bank.items()} == {
            track_id: count for track_id, count in enumerate(counts.tolist()) if count
        }
        for track_id, track in bank.items():
            np.testing.assert_allclose(track["memory"], expected[track_id], atol=1e-5)


@pytest.mark.parametrize("stop", [5, 14, 20])
def test_a_saved_and_restored_state_gives_the_same_ids(frames, stop):
    whole, _, _ = run(CTVISTracker(), frames)
    first = CTVISTracker()
    run(first, frames[:stop])
    buffer = io.BytesIO()
    torch.save(first.state_dict(), buffer)
    buffer.seek(0)
    second = CTVISTracker()
    second.load_state_dict(torch.load(buffer, weights_only=True))
    ids, _, _ = run(second, frames[stop:], first=stop)
    np.testing.assert_array_equal(ids, whole[stop:])


def test_new_objects_are_tracked_after_all_were_forgotten(frames):
    tracker = CTVISTracker(patience=0, birth_threshold=0.95, similarity="cosine", match_threshold=0.999)
    ids = run(tracker, frames)[0]  # the published code stops with an error here
    assert ids.max() == 2
    assert len(tracker.state_dict()["results"]) <= 2  # tracks that cannot come back are not remembered
    with pytest.raises(ValueError, match="memory_size must be at least 1"):
        CTVISTracker(memory_size=0)
