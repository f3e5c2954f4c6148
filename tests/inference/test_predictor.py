"""The one call, in its two modes, on every kind of source."""

from __future__ import annotations

import copy
import functools
import pickle
import threading
from fractions import Fraction
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from video_mask2former.inference import InferenceSettings, VideoPredictor, segment_video, segment_videos
from video_mask2former.rle import decode_rle, rle_iou
from video_mask2former.structures import VideoInstances

SMALL = InferenceSettings(short_side=48)
PUBLISHED = InferenceSettings.published(short_side=48)


def _same(first: VideoInstances, second: VideoInstances) -> bool:
    return [_plain(track) for track in first.tracks] == [_plain(track) for track in second.tracks]


def _plain(track) -> tuple:
    return track.track_id, track.label, pytest.approx(track.score, abs=1e-6), dict(track.segmentations)


@pytest.mark.parametrize("chunk_size", [1, 3, 8, 100])
def test_clip_mode_does_not_depend_on_chunks(tiny_model, chunk_size) -> None:
    model = tiny_model()
    frames = np.random.default_rng(0).integers(0, 256, (7, 40, 64, 3), dtype=np.uint8)
    settings = InferenceSettings.published(short_side=32)
    whole = segment_video(model, frames, chunk_size=7, settings=settings)
    chunked = segment_video(model, frames, chunk_size=chunk_size, settings=settings)
    assert len(whole) == 10
    assert _same(whole, chunked)


def test_clip_mode_is_the_model_on_the_whole_video(tiny_model) -> None:
    model = tiny_model()
    frames = np.random.default_rng(0).integers(0, 256, (4, 32, 64, 3), dtype=np.uint8)
    result = segment_video(model, frames, settings=InferenceSettings.published(short_side=32))
    with torch.no_grad():
        output = model(torch.from_numpy(frames).permute(0, 3, 1, 2)[None])
    scores, order = output.class_logits[0].softmax(1)[:, :-1].flatten().topk(10)
    assert [track.score for track in result.tracks] == pytest.approx(scores.tolist(), abs=1e-6)
    assert [track.label for track in result.tracks] == (order % model.num_classes).tolist()
    masks = torch.nn.functional.interpolate(output.mask_logits.dense()[0], size=(32, 64), mode="bilinear") > 0
    for track, index in zip(result.tracks, order.tolist(), strict=True):
        for frame in range(4):
            expected = masks[index // model.num_classes, frame].numpy()
            rle = track.segmentations.get(frame)
            assert ((np.zeros_like(expected) if rle is None else decode_rle(rle)) != expected).mean() < 1e-3


@pytest.mark.parametrize("settings", [SMALL, PUBLISHED, SMALL.updated(mode="clip", window=5, overlap=2)])
def test_every_kind_of_source_gives_the_same(colour_model, painter, busy_scene, tmp_path, settings) -> None:
    frames = painter(busy_scene)
    for index, frame in enumerate(frames):
        cv2.imwrite(str(tmp_path / f"frame{index}.png"), frame[..., ::-1])
    expected = segment_video(colour_model, frames, settings=settings)
    assert len(expected) >= 4
    assert expected.num_frames == 24
    assert expected.class_names == ("warm", "cold")
    sources = [torch.from_numpy(frames).permute(0, 3, 1, 2), iter(frames), list(frames), tmp_path]
    frames.flags.writeable = False
    sources += [frames, frames[:, :, ::-1][:, :, ::-1], [tmp_path / f"frame{index}.png" for index in range(24)]]
    for source in sources:
        assert _same(segment_video(colour_model, source, settings=settings), expected)


@pytest.mark.parametrize("settings", [SMALL, PUBLISHED])
def test_an_image_is_a_video_of_one_frame(colour_model, painter, tmp_path, settings) -> None:
    image = painter([{"red": (4, 4), "blue": (20, 40)}])[0]
    cv2.imwrite(str(tmp_path / "image.png"), image[..., ::-1])
    expected = segment_video(colour_model, image, settings=settings)
    assert expected.num_frames == 1
    assert {track.label for track in expected.tracks if track.score > 0.9} == {0, 1}
    for source in (tmp_path / "image.png", str(tmp_path / "image.png"), torch.from_numpy(image).permute(2, 0, 1)):
        assert _same(segment_video(colour_model, source, settings=settings), expected)


@pytest.mark.parametrize("settings", [SMALL, PUBLISHED])
def test_part_of_a_video_keeps_the_frame_indices_of_the_source(colour_model, painter, busy_scene, settings) -> None:
    result = segment_video(colour_model, painter(busy_scene), start=4, end=20, every=5, settings=settings)
    assert result.num_frames == 24
    assert {index for track in result.tracks for index in track.segmentations} == {4, 9, 14, 19}


def test_masks_have_the_size_of_the_source(colour_model, painter) -> None:
    frames = painter([{"red": (8, 8)}] * 3, size=(48, 80))
    large = np.stack([cv2.resize(frame, (161, 97), interpolation=cv2.INTER_NEAREST) for frame in frames])
    small = segment_video(colour_model, frames, settings=SMALL).tracks[0].segmentations[2]
    result = segment_video(colour_model, large, settings=SMALL)
    assert result.size == (97, 161)
    rle = result.tracks[0].segmentations[2]
    assert rle["size"] == [97, 161]
    resized = cv2.resize(decode_rle(small).astype(np.uint8), (161, 97), interpolation=cv2.INTER_NEAREST)
    assert (resized.astype(bool) != decode_rle(rle)).mean() < 0.01


@pytest.mark.parametrize("mode", ["clip", "online"])
def test_threshold_top_k_and_classes_are_honoured(colour_model, painter, busy_scene, mode) -> None:
    frames = painter(busy_scene)
    options = {"mode": mode, "settings": SMALL}
    everything = segment_video(colour_model, frames, **options)
    assert len(everything) == 4
    assert len(segment_video(colour_model, frames, top_k=2, **options)) == 2
    assert len(segment_video(colour_model, frames, score_threshold=0.999, **options)) == 0
    cold = segment_video(colour_model, frames, classes=["cold"], **options)
    assert [track.label for track in cold.tracks] == [1, 1]
    assert _same(cold, segment_video(colour_model, frames, classes=[1], **options))
    with pytest.raises(ValueError, match="did you mean 'cold'"):
        segment_video(colour_model, frames, classes=["colt"], **options)


@pytest.mark.parametrize("settings", [SMALL, SMALL.updated(mode="clip"), SMALL.updated(window=4)])
def test_duplicates_are_an_explicit_choice(colour_model, painter, settings) -> None:
    colour_model.confidence = 1.0  # both classes have a chance
    frames = painter([{"red": (8, 8)}] * 4)
    few = settings.updated(score_threshold=0.2)
    assert len(segment_video(colour_model, frames, settings=few)) == 1
    both = segment_video(colour_model, frames, one_label_per_query=False, settings=few)
    assert len(both) == 2
    assert {track.label for track in both.tracks} == {0, 1}
    assert len({track.track_id for track in both.tracks}) == 2
    first, second = (dict(track.segmentations) for track in both.tracks)
    assert first == second


@pytest.mark.parametrize("settings", [SMALL, SMALL.updated(mode="clip")])
def test_overlapping_masks_can_be_told_apart(colour_model, painter, settings) -> None:
    frames = painter([{"red": (8, 8), "blue": (8, 14)}] * 2)
    apart = segment_video(colour_model, frames, settings=settings.updated(resolve_overlaps=True))
    masks = np.stack([decode_rle(track.segmentations[1]) for track in apart.tracks])
    assert len(masks) == 2
    assert masks.sum(0).max() == 1
    mixed = segment_video(colour_model, frames, settings=settings)
    for track, other in zip(apart.tracks, mixed.tracks, strict=True):
        assert rle_iou([track.segmentations[1]], [other.segmentations[1]])[0, 0] > 0.7


def test_results_pickle_and_copy(colour_model, painter, busy_scene) -> None:
    result = segment_video(colour_model, painter(busy_scene), settings=SMALL)
    for copied in (pickle.loads(pickle.dumps(result)), copy.deepcopy(result)):
        assert _same(copied, result)


def test_frame_rate_and_progress(colour_model, painter, busy_scene, tmp_path) -> None:
    from video_mask2former.video_io import VideoWriter

    with VideoWriter(tmp_path / "in.mp4", Fraction(30000, 1001)) as writer:
        for frame in painter(busy_scene):
            writer.write(frame)
    for settings in (SMALL, PUBLISHED):
        seen: list[int] = []
        predictor = VideoPredictor(colour_model, settings)
        result = predictor.predict(tmp_path / "in.mp4", progress=seen.append)
        assert result.frame_rate == Fraction(30000, 1001)
        assert seen == list(range(1, 25))
        segment_video(colour_model, tmp_path / "in.mp4", settings=settings, progress=seen.append)
        assert seen == 2 * list(range(1, 25))
        assert predictor.clock.num_frames == 24
        assert predictor.clock.seconds["model"] > 0
        assert sum(predictor.clock.shares().values()) == pytest.approx(1.0)


def test_a_predictor_serves_many_videos_with_ids_from_one(colour_model, painter, busy_scene) -> None:
    predictor = VideoPredictor(colour_model, SMALL)
    first = predictor.predict(painter(busy_scene))
    assert _same(predictor.predict(painter(busy_scene)), first)
    assert min(track.track_id for track in first.tracks) == 1


def test_a_video_without_objects(colour_model, painter) -> None:
    for settings in (SMALL, SMALL.updated(mode="clip")):
        assert segment_video(colour_model, painter([{}] * 3), settings=settings).tracks == ()


def test_settings_reject_nonsense(colour_model) -> None:
    for wrong in (
        {"mode": "video"},
        {"window": 0},
        {"window": 3, "overlap": 3},
        {"overlap": 1, "mode": "clip"},
        {"chunk_size": 0},
        {"dtype": "int8"},
        {"classes": "person"},
        {"classes": ()},
        {"score_threshold": 2.0},
    ):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            InferenceSettings(**wrong)
    with pytest.raises(ValueError, match=r"tracker must be one of query, .*, got 'sorted'"):
        VideoPredictor(colour_model, InferenceSettings(tracker="sorted"))
    with pytest.raises(ValueError, match="unknown setting 'windows'"):
        InferenceSettings().updated(windows=3)


def test_a_model_in_training_mode_is_refused(colour_model, painter, busy_scene) -> None:
    with pytest.raises(ValueError, match=r"call model\.eval\(\)"):
        segment_video(colour_model.train(), painter(busy_scene))


def test_a_picture_of_pil_is_a_video_of_one_frame(colour_model, painter, busy_scene) -> None:
    frame = painter(busy_scene)[0]
    expected = segment_video(colour_model, frame, settings=SMALL)
    assert len(expected) > 0
    for picture in (Image.fromarray(frame), Image.fromarray(frame).convert("RGBA")):
        assert _same(segment_video(colour_model, picture, settings=SMALL), expected)


def test_an_address_is_read_like_a_camera(colour_model, painter, busy_scene, tmp_path) -> None:
    from video_mask2former.video_io import VideoWriter

    with VideoWriter(tmp_path / "in.mp4", 25) as writer:
        for frame in painter(busy_scene):
            writer.write(frame)
    handler = functools.partial(SilentHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        found = segment_video(colour_model, f"{address}/in.mp4", settings=SMALL)
        with pytest.raises(ValueError, match=r"/none.mp4 cannot be read as a video"):
            segment_video(colour_model, f"{address}/none.mp4", settings=SMALL)
        server.shutdown()
    expected = segment_video(colour_model, tmp_path / "in.mp4", settings=SMALL)
    assert found.num_frames == expected.num_frames == 24
    assert [(track.track_id, track.label, len(track)) for track in found] == [
        (track.track_id, track.label, len(track)) for track in expected
    ]


def test_several_videos_of_any_kind_in_one_call(colour_model, painter, busy_scene, tmp_path, monkeypatch) -> None:
    frames = painter(busy_scene)
    opened = []

    class Capture:
        def __init__(self, source):
            opened.append(source)
            self.left = list(frames)

        def isOpened(self):
            return opened[-1] != "rtsp://nobody/1"

        def get(self, name):
            return 25.0

        def read(self):
            return bool(self.left), self.left.pop(0)[..., ::-1] if self.left else None

        def release(self):
            pass

    monkeypatch.setattr("video_mask2former.video_io.memory_source.cv2.VideoCapture", Capture)
    sources = [frames, Image.fromarray(frames[0]), 0, "rtsp://camera/1"]
    results = list(segment_videos(colour_model, sources, settings=SMALL, end=5))
    assert opened == [0, "rtsp://camera/1"]
    assert [(result.source, result.num_frames) for result in results[1:]] == [
        (None, 1),
        (None, 5),
        ("rtsp://camera/1", 5),
    ]
    assert results[2].tracks == results[3].tracks and len(results[2]) > 0
    assert [track.segmentations[4] for track in results[2]] == list(results[0].at_frame(4).segmentations)
    found = segment_videos(colour_model, ["rtsp://nobody/1"])
    with pytest.raises(ValueError, match=r"rtsp://nobody/1 cannot be read as a video"):
        next(found)
    with pytest.raises(TypeError, match=r"sources must be a list of videos, got 'in\.mp4'"):
        segment_videos(colour_model, "in.mp4")


class SilentHandler(SimpleHTTPRequestHandler):
    def log_message(self, *arguments: object) -> None:
        pass
