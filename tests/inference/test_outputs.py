"""The files of one video: none half-written, none left over, times and sound kept."""

from __future__ import annotations

import pkgutil
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from video_mask2former.inference import InferenceSettings, VideoPredictor
from video_mask2former.inference.outputs import OutputChoice
from video_mask2former.inference.video_job import VideoJob
from video_mask2former.results import read_tracks
from video_mask2former.video_io import VideoWriter, open_video

SETTINGS = {"online": InferenceSettings(short_side=48), "clip": InferenceSettings.published(short_side=48)}
ALL = OutputChoice(frames=True, coco=True, mots=True, masks=True)


@pytest.fixture
def video(tmp_path, painter, busy_scene) -> Path:
    with VideoWriter(tmp_path / "in.mp4", Fraction(25)) as writer:
        for frame in painter(busy_scene):
            writer.write(frame)
    return tmp_path / "in.mp4"


def run(model, source, folder: Path, choice: OutputChoice, mode: str = "online", **selection):
    job = VideoJob(source, folder, choice, **selection)
    with job.open() as reader:
        return job.run(VideoPredictor(model, SETTINGS[mode]), reader)


@pytest.mark.parametrize("mode", ["online", "clip"])
def test_an_error_leaves_no_files(tmp_path, colour_model, video, mode, monkeypatch) -> None:
    decode, calls = colour_model.decode, []

    def fails_later(*arguments):
        calls.append(0)
        if len(calls) == (5 if mode == "online" else 1):
            raise RuntimeError("broken")
        return decode(*arguments)

    monkeypatch.setattr(colour_model, "decode", fails_later)
    with pytest.raises(RuntimeError, match="broken"):
        run(colour_model, video, tmp_path / "out", ALL, mode)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_new_run_replaces_the_files_of_the_old_one(tmp_path, colour_model, video) -> None:
    run(colour_model, video, tmp_path / "out", ALL)
    assert len(list((tmp_path / "out" / "masks").glob("*.png"))) == 24
    (tmp_path / "out" / "mine.txt").write_text("not ours")
    run(colour_model, video, tmp_path / "out", ALL, end=5)
    assert len(list((tmp_path / "out" / "masks").glob("*.png"))) == 5
    run(colour_model, video, tmp_path / "out", OutputChoice(overlay=False, contact_sheet=False, viewer=False))
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"tracks.json", "results.json", "mine.txt"}


@pytest.mark.parametrize("mode", ["online", "clip"])
def test_uneven_times_are_kept(tmp_path, colour_model, painter, busy_scene, mode) -> None:
    times = np.cumsum([0.0, 0.04, 0.2, 0.04, 0.04, 0.5, 0.04, 0.04])
    with VideoWriter(tmp_path / "in.mp4", Fraction(25)) as writer:
        for frame, time in zip(painter(busy_scene[:8]), times, strict=True):
            writer.write(frame, time)
    run(colour_model, tmp_path / "in.mp4", tmp_path / "out", OutputChoice(), mode)
    with open_video(tmp_path / "out" / "overlay.mp4") as overlay:
        assert overlay.num_frames == 8
        np.testing.assert_allclose(overlay.timestamps, times, atol=1e-4)


def test_sound_is_copied_when_asked(tmp_path, colour_model, video) -> None:
    with_sound = tmp_path / "sound.mp4"
    with av.open(str(with_sound), "w") as container:
        stream, sound = container.add_stream("libx264", rate=25), container.add_stream("aac", rate=8000)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(25):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 90, np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        wave = (3000 * np.sin(np.arange(8000) / 5)).astype(np.int16)[None]
        samples = av.AudioFrame.from_ndarray(wave, format="s16", layout="mono")
        samples.rate = 8000
        container.mux(sound.encode(samples))
        container.mux(stream.encode())
        container.mux(sound.encode())
    for audio in (True, False):
        run(colour_model, with_sound, tmp_path / "out", OutputChoice(audio=audio))
        with av.open(str(tmp_path / "out" / "overlay.mp4")) as container:
            assert len(container.streams.audio) == int(audio)


def test_clip_and_online_mode_draw_the_same_objects(tmp_path, colour_model, video) -> None:
    for mode in ("online", "clip"):
        run(colour_model, video, tmp_path / mode, OutputChoice(), mode)
    online, clip = (read_tracks(tmp_path / mode / "tracks.json") for mode in ("online", "clip"))
    confident = [track for track in clip.tracks if track.score > 0.5]
    assert len(online) == len(confident) == 4
    assert sum(len(t.segmentations) for t in online.tracks) == sum(len(t.segmentations) for t in confident)


def test_a_camera_cannot_be_drawn_on_in_clip_mode(tmp_path, colour_model, painter, busy_scene) -> None:
    job = VideoJob(0, tmp_path / "out", OutputChoice())
    with open_video(painter(busy_scene)) as camera, pytest.raises(ValueError, match="read only once"):
        job.run(VideoPredictor(colour_model, SETTINGS["clip"]), camera)


@pytest.mark.parametrize(
    ("function", "call", "complete"),
    [
        ("video_mask2former.atomic._match_umask", 1, set()),
        ("video_mask2former.atomic._match_umask", 2, {"contact_sheet.png"}),
        ("video_mask2former.results.JsonLinesWriter.close", 1, {"contact_sheet.png", "viewer.html", "overlay.mp4"}),
    ],
)
def test_when_a_file_cannot_be_finished_no_half_one_is_left(
    tmp_path, colour_model, video, monkeypatch, function, call, complete
) -> None:
    module, _, name = function.rpartition(".")
    works, calls = getattr(pkgutil.resolve_name(module), name), []

    def fails(argument):
        works(argument)
        calls.append(argument)
        if len(calls) == call:
            raise OSError("the disk is full")

    monkeypatch.setattr(function, fails)
    with pytest.raises(OSError, match="the disk is full"):
        run(colour_model, video, tmp_path / "out", ALL)
    assert {path.name for path in (tmp_path / "out").iterdir()} == complete


def test_a_part_that_cannot_be_decoded_is_an_error(tmp_path, colour_model, video, monkeypatch) -> None:
    monkeypatch.setattr("video_mask2former.video_io.pyav_decoder.PyavDecoder.read", lambda self, wanted: iter(()))
    with pytest.raises(ValueError, match=r"in\.mp4: not one of the chosen frames can be decoded"):
        run(colour_model, video, tmp_path / "out", ALL, start=3)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_result_saves_and_draws_itself(colour_model, painter, busy_scene, tmp_path) -> None:
    with VideoWriter(tmp_path / "in.mp4", 25) as writer:
        for frame in painter(busy_scene):
            writer.write(frame)
    predictor = VideoPredictor(colour_model, SETTINGS["online"])
    result = predictor.predict(tmp_path / "in.mp4")
    names = result.save(tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(names)
    assert {"overlay.mp4", "contact_sheet.png", "tracks.json", "results.json"} <= set(names)
    assert read_tracks(tmp_path / "out" / "tracks.json").tracks == result.tracks
    picture, plain = result.plot(5), result[:0].plot(5)
    assert picture.size == plain.size == result.size[::-1] and picture.tobytes() != plain.tobytes()
    from_memory = predictor.predict(painter(busy_scene))
    assert sorted(from_memory.save(tmp_path / "bare")) == ["results.json", "tracks.json"]
