"""Small models on videos: one clip, frame by frame, and stopped in the middle."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch

import video_mask2former as vm2f
from video_mask2former.config import InferenceSettings, apply_overrides
from video_mask2former.recipes.model import build_model
from video_mask2former.tasks import AnswerRules, VideoInstanceTask

SMALL_PART = "num_video_queries: 5, num_encoder_layers: 2, num_decoder_layers: 2, feedforward_dim: 16, num_heads: 2"
PARTS = {
    "vita": f"refiner={{name: vita, window: 3, hidden_dim: 16, {SMALL_PART}}}",
    "genvis": f"tracker={{name: genvis, clip_length: 2, hidden_dim: 16, {SMALL_PART}}}",
}
PUBLISHED = InferenceSettings.published(short_side=32, max_side=64)
ONLINE = InferenceSettings.published(mode="online", short_side=32, max_side=64)


@pytest.fixture
def build(small_config):
    def make(family: str) -> vm2f.Segmenter:
        overrides = ["model.decoder.temporal_position_encoding=false", PARTS[family]]
        return build_model(apply_overrides(small_config, overrides)).eval()

    return make


def summary(result: vm2f.VideoInstances) -> list[tuple[object, ...]]:
    """Score, label and masks of each track, the most confident first."""
    tracks = sorted(result.tracks, key=lambda track: (-track.score, track.label))
    return [(pytest.approx(track.score, abs=1e-5), track.label, dict(track.segmentations)) for track in tracks]


@pytest.mark.parametrize("family", PARTS)
def test_a_video_as_one_clip(family, build):
    frames = torch.randint(0, 256, (7, 3, 40, 60), dtype=torch.uint8)
    model = build(family)
    result = vm2f.segment_video(model, frames, settings=PUBLISHED)
    assert result.num_frames == 7 and len(result.tracks) == 10
    plain = vm2f.segment_video(model, frames, settings=PUBLISHED.updated(mask_quality="none"))
    assert max(track.score for track in plain.tracks) > max(track.score for track in result.tracks)


def test_vita_in_two_passes_is_vita_as_one_clip(build):
    frames = torch.randint(0, 256, (17, 3, 32, 48), dtype=torch.uint8)
    model = build("vita")
    with torch.no_grad():
        output = model(frames[None])
    settings = PUBLISHED.updated(feature_dtype="float32", chunk_size=4, mask_quality="model")
    result = vm2f.segment_video(model, frames, settings=settings)
    rules = AnswerRules(settings, (True,) * 3)
    tracks = VideoInstanceTask().clip_tracks(output, range(17), (32, 48), rules)
    assert summary(result) == summary(replace(result, tracks=tracks))


def test_genvis_online_is_genvis_as_one_clip(build):
    frames = torch.randint(0, 256, (7, 3, 40, 60), dtype=torch.uint8)
    model = build("genvis")
    as_clip = vm2f.segment_video(model, frames, settings=PUBLISHED)
    assert summary(vm2f.segment_video(model, frames, settings=ONLINE)) == summary(as_clip)


def test_genvis_as_one_clip_is_the_model_on_the_whole_video(build):
    frames = torch.randint(0, 256, (11, 3, 32, 48), dtype=torch.uint8)
    model = build("genvis")
    with torch.no_grad():
        output = model(frames[None])
    settings = PUBLISHED.updated(chunk_size=3, mask_quality="model")
    result = vm2f.segment_video(model, frames, settings=settings)
    tracks = VideoInstanceTask().clip_tracks(output, range(11), (32, 48), AnswerRules(settings, (True,) * 3))
    assert summary(result) == summary(replace(result, tracks=tracks))


def test_genvis_goes_on_from_a_saved_state(build, tmp_path):
    frames = torch.randint(0, 256, (9, 3, 40, 60), dtype=torch.uint8)
    model = build("genvis")
    settings = ONLINE.updated(score_threshold=0.05)
    whole = list(vm2f.stream_video(model, frames, settings=settings))
    stream = vm2f.stream_video(model, frames, settings=settings)
    first = list(itertools.islice(stream, 5))
    torch.save(stream.state_dict(), tmp_path / "state.pth")
    state = torch.load(tmp_path / "state.pth", weights_only=True)
    rest = list(vm2f.stream_video(model, frames, settings=settings, state=state))
    assert any(len(instances) for instances in whole)
    assert first + rest == whole


@pytest.mark.parametrize("changes", [{"window": 3}, {"window": 4, "overlap": 1}])
def test_windows_that_cut_clips_short_are_refused(build, changes):
    frames = torch.randint(0, 256, (4, 3, 32, 48), dtype=torch.uint8)
    with pytest.raises(ValueError, match="must be multiples of the 2 frames that the tracker takes at a time"):
        vm2f.segment_video(build("genvis"), frames, settings=ONLINE.updated(**changes))
