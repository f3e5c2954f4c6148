"""Sessions of learned trackers: what is reported, frames seen twice, and states that are saved."""

from __future__ import annotations

import io

import pytest
import torch

from video_mask2former.mask_logits import MaskLogits
from video_mask2former.structures import ClipOutput
from video_mask2former.tracking import Tracker
from video_mask2former.tracking.learned import LearnedTracker, TrackerState


class AddingTracker(LearnedTracker):
    """Adds up the queries so far: what it says of a frame tells every frame before it."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))

    def advance(self, output: ClipOutput, state: TrackerState | None = None) -> tuple[ClipOutput, TrackerState]:
        total = torch.zeros_like(output.frame_queries[:, 0]) if state is None else state["total"]
        sums = []
        for t in range(output.frame_queries.shape[1]):
            total = total + self.weight * output.frame_queries[:, t]
            sums.append(total)
        logits = torch.stack(sums, dim=1)
        tracked = ClipOutput(
            logits.mean(1),
            MaskLogits(logits, output.mask_logits.features),
            output.query_embeddings,
            output.queries,
            output.frame_size,
            output.padded_size,
            frame_class_logits=logits,
        )
        return tracked, {"total": total}


def segmented(num_frames: int) -> ClipOutput:
    values = torch.randn(num_frames, 5, 4)
    logits = MaskLogits(torch.randn(num_frames, 5, 4), torch.randn(num_frames, 1, 4, 6, 6))
    single = ClipOutput(values, logits, values, values, (24, 24), (24, 24))
    return single.joined_frames(num_frames)


def saved_and_loaded(state):
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)


def test_pieces_of_a_video_give_what_the_whole_gives():
    output, tracker = segmented(6), AddingTracker().eval()
    whole = tracker(output)
    session: Tracker = tracker.begin()
    assert isinstance(session, Tracker) and session.next_queries() is None
    first = session.update(output.frames(0, 2), [0, 1])
    second = tracker.begin()
    second.load_state_dict(saved_and_loaded(session.state_dict()))
    last = second.update(output.frames(2, 6), [2, 3, 4, 5])
    masks = torch.cat([first.mask_logits.dense(), last.mask_logits.dense()], dim=2)
    torch.testing.assert_close(masks, whole.mask_logits.dense())
    torch.testing.assert_close(last.class_logits, whole.class_logits[0])
    torch.testing.assert_close(last.clip_logits, whole.frame_class_logits[0, 2:].mean(0))
    assert last.track_ids == (1, 2, 3, 4, 5) and last.query_indices == (0, 1, 2, 3, 4)


def test_a_frame_that_two_windows_share_is_tracked_once():
    output, tracker = segmented(5), AddingTracker().eval()
    session = tracker.begin()
    session.update(output.frames(0, 3), [0, 1, 2])
    update = session.update(output.frames(2, 5), [2, 3, 4])
    torch.testing.assert_close(update.class_logits, tracker(output).class_logits[0])
    dense = update.mask_logits.dense()
    assert not dense[:, :, 0].any()
    torch.testing.assert_close(dense[:, :, 1:], tracker(output).mask_logits.dense()[:, :, 3:])


def test_the_state_of_another_tracker_is_refused():
    with pytest.raises(ValueError, match="'AddingTracker' tracker, got that of 'minvis'"):
        AddingTracker().begin().load_state_dict({"kind": "minvis"})
