"""The masks of long videos."""

from __future__ import annotations

import copy
import gc
import pickle

import numpy as np
import pytest
import torch

from video_mask2former.config import InferenceSettings
from video_mask2former.rle import encode_masks
from video_mask2former.tasks.mask_store import MaskStore
from video_mask2former.tasks.recorder import TrackRecorder
from video_mask2former.tracking import TrackUpdate


@pytest.mark.parametrize("memory_bytes", [1, 10**9])
def test_masks_come_back_from_memory_and_from_the_file(memory_bytes) -> None:
    masks = encode_masks(np.random.default_rng(0).random((60, 20, 30)) > 0.5)
    store = MaskStore((20, 30), memory_bytes)
    for frame in range(30):
        store.append(7, 2 * frame, masks[frame], 0.5 + frame / 100)
        store.append(9, frame, masks[30 + frame], 0.25)
    for track_id, expected in ((7, {2 * f: masks[f] for f in range(30)}), (9, {f: masks[30 + f] for f in range(30)})):
        found = store.masks(track_id)
        assert dict(found) == expected
        assert len(found) == 30
    assert store.masks(7)[4] == masks[2]
    assert store.masks(7).frame_scores()[4] == 0.52
    with pytest.raises(KeyError):
        store.masks(7)[5]
    assert 5 not in store.masks(7)
    assert dict(store.masks(8)) == {}


def test_masks_outlive_the_recorder() -> None:
    recorder = TrackRecorder((4, 5), InferenceSettings(), memory_bytes=1)
    logits = torch.tensor([[5.0, 0.0], [0.0, 5.0], [4.0, 0.0]])
    recorder.add_update(TrackUpdate((3, 4, 5), (0, 1, 2), logits, logits))
    (rle,) = encode_masks(np.ones((1, 4, 5), dtype=bool))
    recorder.add_mask(3, 6, rle, 0.9)
    recorder.add_mask(4, 6, rle, 0.1)
    recorder.add_frame(8)
    result = recorder.result(None, None, ("thing",))
    del recorder
    gc.collect()
    # track 4 is nothing, track 5 has no mask
    assert [track.track_id for track in result.tracks] == [3]
    assert dict(result.tracks[0].segmentations) == {6: rle}
    assert result.tracks[0].frame_scores == {6: 0.9}
    assert result.num_frames == 9


def test_masks_must_come_in_order() -> None:
    store = MaskStore((4, 5))
    (rle,) = encode_masks(np.ones((1, 4, 5), dtype=bool))
    store.append(1, 3, rle, 1.0)
    with pytest.raises(ValueError, match="order of frames"):
        store.append(1, 3, rle, 1.0)


def test_what_is_stored_behaves_as_a_dict() -> None:
    store = MaskStore((4, 5), memory_bytes=1)
    (rle,) = encode_masks(np.ones((1, 4, 5), dtype=bool))
    for frame in (2, 5, 9):
        store.append(1, frame, rle, frame / 10)
    masks, scores = store.masks(1), store.masks(1).frame_scores()
    for mapping, expected in ((masks, {2: rle, 5: rle, 9: rle}), (scores, {2: 0.2, 5: 0.5, 9: 0.9})):
        assert mapping == expected and type(copy.deepcopy(mapping)) is type(pickle.loads(pickle.dumps(mapping))) is dict
        assert np.int64(5) in mapping and 3 not in mapping and "5" not in mapping
        with pytest.raises(KeyError):
            mapping[3]


def test_tracks_beyond_the_top_k_are_told(caplog) -> None:
    recorder = TrackRecorder((4, 5), InferenceSettings(top_k=2))
    logits = torch.tensor([[5.0, 0.0], [0.0, 5.0], [4.0, 0.0], [3.0, 0.0]])
    recorder.add_update(TrackUpdate((1, 2, 3, 4), (0, 1, 2, 3), logits, logits))
    (rle,) = encode_masks(np.ones((1, 4, 5), dtype=bool))
    for track_id in (1, 2, 3, 4):
        recorder.add_mask(track_id, 0, rle, 0.9)
    assert [track.track_id for track in recorder.tracks()] == [1, 3]
    assert "3 tracks reach the score of 0.5; the best 2 are reported" in caplog.text


def test_a_track_that_turned_out_to_be_none_is_not_in_the_result() -> None:
    recorder = TrackRecorder((4, 5), InferenceSettings())
    (rle,) = encode_masks(np.ones((1, 4, 5), dtype=bool))
    logits = torch.tensor([[5.0, 0.0], [5.0, 0.0]])
    recorder.add_update(TrackUpdate((1, 2), (0, 1), logits, logits))
    recorder.add_mask(1, 0, rle, 0.9)
    recorder.add_mask(2, 0, rle, 0.9)
    recorder.add_update(TrackUpdate((1,), (0,), logits[:1], logits[:1], withdrawn_ids=(2, 7)))
    recorder.add_mask(1, 1, rle, 0.9)
    assert [track.track_id for track in recorder.tracks()] == [1]
    recorder.add_update(TrackUpdate((2,), (0,), logits[:1], logits[:1]))  # it is back, without what it had
    recorder.add_mask(2, 2, rle, 0.9)
    assert {track.track_id: list(track.segmentations) for track in recorder.tracks()} == {1: [0, 1], 2: [2]}
