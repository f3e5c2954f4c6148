"""Models whose queries propagate, frame by frame: one result however the video is cut, and bounded memory."""

from __future__ import annotations

import dataclasses
import io

import numpy as np
import pytest
import torch

from video_mask2former.inference import InferenceSettings, segment_video, stream_video
from video_mask2former.models import LVMT, PMT, EoMT, VidEoMT
from video_mask2former.models.backbones import Dinov2, Dinov3

EVERYTHING = InferenceSettings(short_side=32, score_threshold=0.0)
SIZE = (24, 3, 2)


def make_model(kind: str) -> torch.nn.Module:
    torch.manual_seed(1)
    model = {
        "videomt": lambda: VidEoMT(Dinov2(*SIZE, image_size=32), 3, 5, 2),
        "eomt": lambda: EoMT(Dinov3(*SIZE), 3, 8, 3, size_divisibility=32),
        "pmt": lambda: PMT(Dinov3(*SIZE), 3, 5, (0, 2), num_decoder_blocks=2),
        "lvmt": lambda: LVMT(Dinov3(*SIZE), 3, 5, (0, 2), num_decoder_blocks=2),
    }[kind]()
    with torch.no_grad():  # initial factors of a ViT are so small that nothing would depend on anything
        for name, parameter in model.named_parameters():
            if parameter.ndim == 1 and "scale" in name:
                parameter.fill_(0.5)
            elif "class_head" in name or "mask_head" in name or "query" in name:
                parameter.mul_(3)
    return model.eval()


def make_frames(count: int) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (count, 40, 64, 3), dtype=np.uint8)


@pytest.mark.parametrize("kind", ["videomt", "pmt", "lvmt"])
@torch.no_grad()
def test_a_video_in_windows_is_the_video_as_a_whole(kind):
    model, frames = make_model(kind), torch.from_numpy(make_frames(7)).permute(0, 3, 1, 2)[None]
    features = model.encode(frames)
    whole = model.decode(features)
    queries, parts = None, []
    for start, stop in ((0, 1), (1, 4), (4, 7)):
        parts.append(model.decode(features.frames(start, stop), queries))
        queries = parts[-1].queries
    logits = torch.cat([part.frame_class_logits for part in parts], dim=1)
    torch.testing.assert_close(logits, whole.frame_class_logits)
    torch.testing.assert_close(torch.cat([part.mask_logits.dense() for part in parts], 2), whole.mask_logits.dense())
    torch.testing.assert_close(queries, whole.queries)
    alone = model.decode(features.frames(6, 7)).class_logits
    assert (alone - parts[-1].frame_class_logits[:, -1]).abs().max() > 1e-3  # the state matters
    two = model(torch.cat([frames, frames.flip(1)]))
    torch.testing.assert_close(two.class_logits[:1], whole.class_logits, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["videomt", "pmt", "lvmt"])
def test_a_restored_stream_equals_an_uninterrupted_one_and_the_final_result(kind):
    model, frames = make_model(kind), make_frames(6)
    whole = list(stream_video(model, frames, settings=EVERYTHING))
    assert {track for instances in whole for track in instances.track_ids} <= set(range(1, 6))
    assert sum(map(len, whole)) > 6
    stream = stream_video(model, frames, settings=EVERYTHING)
    before = [next(stream) for _ in range(3)]
    file = io.BytesIO()
    torch.save(stream.state_dict(), file)
    file.seek(0)
    state = torch.load(file, weights_only=True)
    assert state["settings"]["tracker"] == "slots"
    assert before + list(stream_video(model, frames, settings=EVERYTHING, state=state)) == whole
    windowed = list(stream_video(model, frames, settings=EVERYTHING, window=2))
    assert [instances.track_ids for instances in windowed[1::2]] == [instances.track_ids for instances in whole[1::2]]
    result = segment_video(model, frames, settings=EVERYTHING)
    assert {track.track_id for track in result.tracks} <= set(range(1, 6))
    for track in result.tracks:
        for index, mask in track.segmentations.items():
            position = whole[index].track_ids.index(track.track_id)
            assert whole[index].segmentations[position] == mask


def test_images_frame_by_frame_are_matched_by_their_queries_and_restored():
    model, frames = make_model("eomt"), make_frames(6)
    settings = dataclasses.replace(EVERYTHING, tracker="query")
    whole = list(stream_video(model, frames, settings=settings))
    assert sum(map(len, whole)) > 6
    stream = stream_video(model, frames, settings=settings)
    before = [next(stream) for _ in range(3)]
    file = io.BytesIO()
    torch.save(stream.state_dict(), file)
    file.seek(0)
    state = torch.load(file, weights_only=True)
    assert before + list(stream_video(model, frames, settings=settings, state=state)) == whole
    clip = torch.from_numpy(frames).permute(0, 3, 1, 2)[None]
    with torch.no_grad():
        together, alone = model(clip), model(clip[:, 4:5])
    torch.testing.assert_close(together.frame_class_logits[:, 4:5], alone.frame_class_logits)


def test_a_state_does_not_grow():
    model, frames = make_model("videomt"), make_frames(40)
    sizes = []
    stream = stream_video(model, frames, settings=EVERYTHING)
    for count, _ in enumerate(stream, start=1):
        if count in (5, 40):
            file = io.BytesIO()
            torch.save(stream.state_dict()["tracker"], file)
            sizes.append(len(file.getvalue()))
    assert sizes[0] == sizes[1]


def test_frames_that_two_windows_share_are_refused():
    with pytest.raises(ValueError, match="takes every frame once"):
        list(stream_video(make_model("videomt"), make_frames(6), settings=EVERYTHING, window=3, overlap=1))
