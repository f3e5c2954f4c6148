"""Chunks, precision, and running out of memory."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch

from video_mask2former.inference import InferenceSettings, StageClock, feature_store, segment_video
from video_mask2former.inference.feature_store import FeatureStore
from video_mask2former.inference.model_runner import ModelRunner, is_out_of_memory
from video_mask2former.structures import ClipFeatures

SMALL = InferenceSettings(short_side=48)


def _runner(model, **changes) -> ModelRunner:
    return ModelRunner(model, SMALL.updated(**changes), StageClock())


def test_chunks_are_as_large_as_asked(colour_model, painter) -> None:
    features = _runner(colour_model, chunk_size=3).encode(iter(painter([{}] * 7)), 7)
    assert colour_model.encoded_chunks == [3, 3, 1]
    assert features.num_frames == 7


@pytest.mark.parametrize(
    ("of_model", "settings", "expected"),
    [
        (None, {}, (360, 480)),  # what most video models are run with
        ((24, 1333), {}, (24, 32)),  # what the model's configuration says
        ((24, 28), {}, (21, 28)),
        ((24, 28), {"short_side": 30, "max_side": 100}, (30, 40)),  # what was asked for goes before
    ],
)
def test_frames_get_the_size_that_the_model_is_made_for(colour_model, of_model, settings, expected) -> None:
    if of_model is not None:
        colour_model.input_sides = of_model
    runner = ModelRunner(colour_model, InferenceSettings(**settings), StageClock())
    assert runner.encode([np.zeros((60, 80, 3), np.uint8)], 1).frame_size == expected


def test_out_of_memory_halves_the_chunks_and_says_so(colour_model, painter, caplog) -> None:
    frames = painter([{"red": (8, 8 + t)} for t in range(10)])
    expected = segment_video(colour_model, frames, mode="clip", settings=SMALL)
    encode = colour_model.encode
    refused = []

    def small_memory(chunk):
        if chunk.shape[1] > 2:
            refused.append(chunk.shape[1])
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
        return encode(chunk)

    colour_model.encode = small_memory
    with caplog.at_level(logging.WARNING):
        result = segment_video(colour_model, frames, mode="clip", chunk_size=8, settings=SMALL)
    assert refused == [8, 4]
    assert "chunks of 4 frames" in caplog.text
    assert "chunks of 2 frames" in caplog.text
    assert [dict(track.segmentations) for track in result.tracks] == [
        dict(track.segmentations) for track in expected.tracks
    ]


def test_a_frame_or_clip_too_large_for_the_memory_is_an_error_that_says_what_to_do(colour_model, painter) -> None:
    def no_memory(*_):
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate memory")

    frames = painter([{}] * 3)
    decode, colour_model.decode = colour_model.decode, no_memory
    with pytest.raises(MemoryError, match="clip of 3 frames is too long"):
        segment_video(colour_model, frames, mode="clip", settings=SMALL)
    colour_model.decode, colour_model.encode = decode, no_memory
    with pytest.raises(MemoryError, match="smaller short_side"):
        segment_video(colour_model, frames, settings=SMALL)


def test_other_errors_are_not_taken_for_out_of_memory(colour_model, painter) -> None:
    def broken(*_):
        raise RuntimeError("size mismatch")

    colour_model.encode = broken
    with pytest.raises(RuntimeError, match="size mismatch"):
        segment_video(colour_model, painter([{}]), settings=SMALL)
    assert not is_out_of_memory(ValueError("CUDA"))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_autocast_gives_nearly_the_same_masks(tiny_model, dtype) -> None:
    model = tiny_model()
    frames = np.random.default_rng(0).integers(0, 256, (3, 32, 64, 3), dtype=np.uint8)
    runners = [_runner(model, short_side=32, dtype=name) for name in ("float32", dtype)]
    exact, rough = (runner.decode(runner.encode(frames, 3)) for runner in runners)
    assert rough.mask_logits.features.dtype == getattr(torch, dtype)
    agreement = (exact.mask_logits.dense() > 0) == (rough.mask_logits.dense().float() > 0)
    assert agreement.float().mean() > 0.9
    for mode in ("clip", "online"):
        settings = InferenceSettings(short_side=32, dtype=dtype, mode=mode, score_threshold=0.0)
        assert len(segment_video(model, frames, settings=settings)) > 0


def test_features_can_be_kept_in_half_precision(tiny_model) -> None:
    model = tiny_model()
    frames = np.random.default_rng(0).integers(0, 256, (5, 32, 64, 3), dtype=np.uint8)
    runner = _runner(model, short_side=32, feature_dtype="float16", feature_device="cpu", chunk_size=2)
    features = runner.encode(frames, 5)
    assert features.mask_features.dtype == features.levels[0].dtype == torch.float16
    output = runner.decode(features)
    assert output.class_logits.dtype == torch.float32
    exact = _runner(model, short_side=32)
    torch.testing.assert_close(
        output.class_logits, exact.decode(exact.encode(frames, 5)).class_logits, atol=0.05, rtol=0.05
    )


def test_features_on_a_device_that_is_not_there(tiny_model) -> None:
    with pytest.raises(ValueError, match=r"feature_device must be cpu, cuda, .* got 'cuda:99'"):
        _runner(tiny_model(), feature_device="cuda:99")


def test_a_compiled_model_gives_the_same(tiny_model, monkeypatch) -> None:
    compiled = []

    def compile_eagerly(function):
        compiled.append(function)
        return function

    monkeypatch.setattr(torch, "compile", compile_eagerly)
    model = tiny_model()
    frames = np.random.default_rng(0).integers(0, 256, (2, 32, 64, 3), dtype=np.uint8)
    _runner(model, short_side=32, compile=True).encode(frames, 2)
    assert compiled == [model.encode]


def _features(num_frames: int, first: float = 0.0) -> ClipFeatures:
    values = first + torch.arange(num_frames, dtype=torch.float32)
    mask_features = values[None, :, None, None, None].expand(1, -1, 2, 4, 4).contiguous()
    return ClipFeatures(mask_features, (mask_features[..., :2, :2].contiguous(),), (15, 16), (16, 16))


@pytest.mark.parametrize("expected", [None, 3, 9, 20])
def test_a_store_joins_chunks_whatever_was_expected(expected) -> None:
    store = FeatureStore(expected)
    for first, count in ((0, 4), (4, 1), (5, 4)):
        store.append(_features(count, first))
    joined = store.features()
    assert torch.equal(joined.mask_features, _features(9).mask_features)
    assert torch.equal(joined.levels[0], _features(9).levels[0])
    assert (joined.frame_size, joined.padded_size) == ((15, 16), (16, 16))


def test_a_store_takes_a_single_chunk_as_it_is() -> None:
    store = FeatureStore(4)
    features = _features(4)
    store.append(features)
    assert store.features().mask_features.data_ptr() == features.mask_features.data_ptr()


def test_a_store_rejects_what_does_not_fit(monkeypatch) -> None:
    with pytest.raises(ValueError, match="at least one frame"):
        FeatureStore().features()
    store = FeatureStore(8)
    store.append(_features(2))
    other = _features(2)
    with pytest.raises(ValueError, match="one size"):
        store.append(ClipFeatures(other.mask_features, other.levels, (16, 16), (16, 16)))
    monkeypatch.setattr(feature_store, "_available_bytes", lambda device: 1000)
    with pytest.raises(MemoryError, match=r"clip of 100 frames needs .* Use online mode"):
        FeatureStore(100).append(_features(2))
