"""Whole models, loaded as a published checkpoint is loaded, against results of the published implementations."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
import torch

import video_mask2former as vm2f
from video_mask2former.config import InferenceSettings
from video_mask2former.convert import DETECTRON2
from video_mask2former.recipes.model import build_model
from video_mask2former.recipes.source import read_config
from video_mask2former.rle import decode_rle
from video_mask2former.tasks import AnswerRules, TrackedWindow
from video_mask2former.tasks.recorder import TrackRecorder
from video_mask2former.tasks.video_instances import VideoInstanceTask

FOLDER = Path(__file__).parents[1] / "data" / "golden"
FEW_QUERIES = ("model.num_queries=20",)
OF_VITA = (*FEW_QUERIES, "refiner.num_video_queries=12", "refiner.window=3")
OF_GENVIS = (*FEW_QUERIES, "tracker.num_video_queries=12")


def clip(seed: int, num_frames: int) -> torch.Tensor:
    """Frames ``(1, T, 3, 60, 92)`` of coarse blocks."""
    blocks = np.random.Generator(np.random.PCG64(seed)).random((num_frames, 3, 4, 6)) * 255
    return torch.from_numpy(blocks.repeat(16, axis=2).repeat(16, axis=3)[None, :, :, :60, :92].copy())


@pytest.fixture(scope="module")
def all_shapes() -> dict[str, dict[str, list[int]]]:
    return json.loads(gzip.decompress((FOLDER / "vita_shapes.json.gz").read_bytes()))


@pytest.fixture(scope="module")
def load(all_shapes, weights_of, tmp_path_factory):
    """Loader of models from a checkpoint with published names."""
    models = {}

    def load_model(name: str, shapes: str, overrides: tuple[str, ...]) -> vm2f.Segmenter:
        if (name, shapes) not in models:
            path = tmp_path_factory.mktemp("published") / "model.pth"
            torch.save({"model": weights_of(all_shapes[shapes])}, path)
            models[name, shapes] = vm2f.load(
                name, weights=path, overrides=list(overrides), dtype=torch.float64, device="cpu"
            )
        return models[name, shapes]

    return load_model


def assert_tracks_equal(tracks, figures: dict[str, np.ndarray]) -> None:
    """Final scores, labels and masks; the masks of a query are reported under several labels."""
    masks = np.unpackbits(figures["masks_packed"], axis=-1, count=int(figures["masks_shape"][-1])).astype(bool)
    by_query = dict(zip(figures["mask_queries"].tolist(), masks, strict=True))
    expected = sorted(
        zip(figures["top_score"].tolist(), figures["top_label"].tolist(), figures["top_query"].tolist(), strict=True),
        reverse=True,
    )
    assert len(tracks) == len(expected)
    found = sorted(((track.score, track.label, track) for track in tracks), key=lambda entry: -entry[0])
    for (score, label, track), (expected_score, expected_label, query) in zip(found, expected, strict=True):
        assert score == pytest.approx(expected_score, abs=1e-5) and label == expected_label
        for frame, mask in enumerate(by_query[query]):
            own = track.segmentations.get(frame)
            decoded = np.zeros_like(mask) if own is None else decode_rle(own)
            assert (decoded != mask).sum() <= 2, (query, frame)


@torch.no_grad()
def test_vita_gives_the_published_result(load, golden):
    figures = golden("vita_r50")
    model = load("vita/ytvis_2019/r50", "vita_r50", OF_VITA)
    output = model(clip(11, 8))
    np.testing.assert_allclose(output.class_logits[0], figures["pred_logits"], atol=1e-5)
    np.testing.assert_allclose(output.mask_logits.embeddings[0], figures["pred_mask_embed"], atol=1e-5)
    np.testing.assert_allclose(output.query_embeddings[0], figures["dec_out"], atol=1e-5)
    np.testing.assert_allclose(output.mask_logits.dense()[0, :4], figures["mask_logits_s4"], atol=1e-5)
    rules = AnswerRules(InferenceSettings.published(mask_quality=model.mask_quality), (True,) * 40)
    assert_tracks_equal(VideoInstanceTask().clip_tracks(output, range(8), (90, 138), rules), figures)


@pytest.mark.parametrize(
    ("name", "config", "seed", "num_frames", "length"),
    [("genvis_r50_online", "r50_online", 12, 6, 1), ("genvis_r50_semi", "r50_semi", 13, 11, 3)],
)
@torch.no_grad()
def test_genvis_gives_the_published_result_as_one_clip(name, config, seed, num_frames, length, load, golden):
    figures = golden(name)
    model = load(f"genvis/ytvis_2019/{config}", "genvis_r50", OF_GENVIS)
    assert model.tracker.clip_length == length
    output = model(clip(seed, num_frames))
    first = list(range(0, num_frames, length))
    np.testing.assert_allclose(output.frame_class_logits[0, first], figures["pred_logits"], atol=1e-5)
    np.testing.assert_allclose(output.mask_logits.embeddings[0, first], figures["pred_mask_embed"], atol=1e-5)
    np.testing.assert_allclose(output.frame_queries[0, first, :, ::4], figures["output_q_c4"], atol=1e-5)
    rules = AnswerRules(InferenceSettings.published(mask_quality=model.mask_quality), (True,) * 40)
    size = tuple(int(side) for side in figures["masks_shape"][2:])
    assert_tracks_equal(VideoInstanceTask().clip_tracks(output, range(num_frames), size, rules), figures)


@torch.no_grad()
def test_genvis_gives_the_published_result_online_also_when_it_is_stopped_and_restored(load, golden):
    figures = golden("genvis_r50_semi")
    model = load("genvis/ytvis_2019/r50_semi", "genvis_r50", OF_GENVIS)
    size = tuple(int(side) for side in figures["masks_shape"][2:])
    settings = InferenceSettings.published(mask_quality=model.mask_quality)
    task, rules, recorder = VideoInstanceTask(), AnswerRules(settings, (True,) * 40), TrackRecorder(size, settings)
    tracker, frames = model.begin_tracking(), clip(13, 11)
    for start in range(0, 11, 3):
        indices = list(range(start, min(start + 3, 11)))
        if start == 6:
            state, tracker = tracker.state_dict(), model.begin_tracking()
            tracker.load_state_dict(state)
        else:
            state = tracker.state_dict()["state"]
            if state is not None:  # how much each query reads of each clip so far
                weights = model.tracker.memory.attention(state["queries"], state["memory_keys"])[0].T
                expected = figures["memory_attention"][start // 3, :, : start // 3]
                np.testing.assert_allclose(weights, expected, atol=1e-5)
        window = model.decode_window(model.encode(frames[:, indices]))
        update = tracker.update(window, indices)
        task.window_frames(TrackedWindow(update, window, indices, 0, size), rules, recorder)
    assert_tracks_equal(recorder.tracks(), figures)
    np.testing.assert_allclose(
        tracker.state_dict()["state"]["memory_keys"][0, ..., ::8], figures["memory_k_c8"], atol=1e-5
    )


@torch.no_grad()
def test_a_bounded_memory_forgets_the_oldest_clips(load):
    model = load("genvis/ytvis_2019/r50_semi", "genvis_r50", OF_GENVIS)
    segmented = model.decode_window(model.encode(clip(13, 3)))
    tracker = model.tracker
    try:
        tracker.memory_clips, tracker.clip_length = 2, 1
        _, state = tracker.advance(segmented)
        tracker.memory_clips = 512
        _, whole = tracker.advance(segmented)
    finally:
        tracker.memory_clips, tracker.clip_length = 512, 3
    assert state["memory_keys"].shape[1] == 2 and whole["memory_keys"].shape[1] == 3
    assert torch.equal(state["memory_keys"], whole["memory_keys"][:, 1:])


@pytest.mark.parametrize(
    ("config", "shapes"),
    [
        ("vita/ytvis_2019/r50", "vita_r50"),
        ("vita/ytvis_2019/r101", "vita_r101"),
        ("vita/ytvis_2019/swin_large", "vita_swin_large"),
        ("genvis/ytvis_2019/r50_online", "genvis_r50"),
    ],
)
def test_every_published_name_has_its_place_and_its_shape(config, shapes, all_shapes):
    with torch.device("meta"):
        model = build_model(read_config(config))
    theirs = {name: list(value.shape) for name, value in DETECTRON2.key_map.to_theirs(model.state_dict()).items()}
    expected = {
        name: shape
        for name, shape in all_shapes[shapes].items()
        if not name.endswith(("relative_position_index", "empty_weight"))
    }
    assert theirs == expected


@torch.no_grad()
def test_genvis_starts_from_the_module_of_vita(all_shapes, weights_of, tmp_path, load):
    path = tmp_path / "vita.pth"
    torch.save({"model": weights_of(all_shapes["vita_r50"])}, path)
    name = "genvis/ytvis_2019/r50_online"
    model = vm2f.load(name, weights=path, overrides=list(OF_GENVIS), dtype=torch.float64, device="cpu")
    vita = load("vita/ytvis_2019/r50", "vita_r50", OF_VITA)
    for ours, theirs in zip(
        model.tracker.aggregator.state_dict().values(), vita.refiner.aggregator.state_dict().values(), strict=True
    ):
        assert torch.equal(ours, theirs)
