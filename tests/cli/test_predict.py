"""``video-mask2former predict``: files in, files out, and what happens when something goes wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from video_mask2former.cli import main
from video_mask2former.results import (
    JsonLinesReader,
    read_coco_detections,
    read_mask_pngs,
    read_mots,
    read_tracks,
    read_youtube_vis,
)
from video_mask2former.rle import decode_rle
from video_mask2former.video_io import open_video

EVERYTHING = ["--frames", "--coco", "--mots", "--masks", "--format", "cvat,coco_video"]


def predict(*words: object) -> int:
    return main(["predict", *map(str, words)])


def files_of(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("mode", [["--mode", "online"], ["--mode", "clip"], ["--mode", "clip", "--window", "4"]])
def test_every_output_says_the_same(tmp_path, model_arguments, mode, write_video) -> None:
    video = write_video(tmp_path / "in.mp4")
    assert predict(video, "--output", tmp_path / "out", *model_arguments, *mode, *EVERYTHING) == 0
    folder = tmp_path / "out" / "in"
    assert files_of(folder) == {
        *("overlay.mp4", "tracks.json", "results.json", "contact_sheet.png", "viewer.html", "frames.jsonl"),
        *("coco_detections.json", "mots.txt", "masks", "done.json", "cvat.xml", "coco_video.json"),
    }
    with open_video(folder / "overlay.mp4") as overlay:
        assert (overlay.num_frames, overlay.frame_rate, overlay.size) == (7, Fraction(30000, 1001), (54, 80))
    assert cv2.imread(str(folder / "contact_sheet.png")) is not None

    result = read_tracks(folder / "tracks.json")
    assert len(result) > 0
    assert (result.num_frames, result.size, result.frame_rate) == (7, (54, 80), Fraction(30000, 1001))
    assert tuple(result.class_names) == ("person", "dog", "car")
    (published,) = read_youtube_vis(folder / "results.json").values()
    assert [track.score for track in published.tracks] == pytest.approx([track.score for track in result.tracks])
    assert [dict(track.segmentations) for track in published.tracks] == [
        dict(track.segmentations) for track in result.tracks
    ]
    by_frame = read_coco_detections(folder / "coco_detections.json")
    for index in range(7):
        expected = result.at_frame(index)
        found = by_frame.get(index)
        assert (found.segmentations if found else ()) == expected.segmentations
    lines = list(JsonLinesReader(folder / "frames.jsonl"))
    assert [line.frame_index for line in lines] == list(range(7))
    assert {track_id for line in lines for track_id in line.track_ids} <= {t.track_id for t in result.tracks}
    assert {path.name for path in (folder / "masks").glob("*.png")} == {f"{index:05d}.png" for index in range(7)}
    assert len(read_mask_pngs(folder / "masks")) <= len(result)
    assert read_mots(folder / "mots.txt").num_frames <= 7


def test_nothing_needs_decord(tmp_path, model_arguments, monkeypatch, capsys, write_video) -> None:
    monkeypatch.setitem(sys.modules, "decord", None)  # as if it were not installed
    video = write_video(tmp_path / "a.mp4")
    for backend in ("pyav", "decord"):
        output = tmp_path / backend
        assert predict(video, "--output", output, "--video-backend", backend, *model_arguments) == 0
        assert open_video(output / "a" / "overlay.mp4").num_frames == 7
    assert "decord is not installed; PyAV reads" in capsys.readouterr().err
    first, second = (read_tracks(tmp_path / backend / "a" / "tracks.json") for backend in ("pyav", "decord"))
    assert first == second


def test_the_first_runs_files_are_those_promised(tmp_path, model_arguments, write_video) -> None:
    video = write_video(tmp_path / "in.mp4")
    assert predict(video, "--output", tmp_path / "out", *model_arguments) == 0
    assert files_of(tmp_path / "out" / "in") == {
        *("overlay.mp4", "tracks.json", "results.json", "contact_sheet.png", "viewer.html", "done.json"),
    }
    none = ["--no-overlay", "--no-contact-sheet", "--no-viewer", "--no-tracks", "--no-results"]
    assert predict(video, "--output", tmp_path / "out", *model_arguments, *none, "--frames") == 0
    assert files_of(tmp_path / "out" / "in") == {"frames.jsonl", "done.json"}


def test_done_videos_are_skipped_until_something_changes(tmp_path, model_arguments, capsys, write_video) -> None:
    video = write_video(tmp_path / "in.mp4")
    words = [video, "--output", tmp_path / "out", *model_arguments]
    folder = tmp_path / "out" / "in"

    def changed(*more: object) -> bool:
        before = (folder / "tracks.json").stat().st_mtime_ns
        assert predict(*words, *more) == 0
        return (folder / "tracks.json").stat().st_mtime_ns != before

    assert predict(*words) == 0
    capsys.readouterr()
    assert not changed()
    assert "already done" in capsys.readouterr().err
    assert changed("--overwrite")
    assert changed("--top-k", "1")
    assert not changed("--top-k", "1")
    assert len(read_tracks(folder / "tracks.json")) <= 1
    assert changed("--end", "3")
    write_video(video, num_frames=5)
    assert changed("--end", "3")
    (folder / "done.json").write_text("{")
    assert changed("--end", "3")


def test_inputs_that_fail_do_not_stop_the_others(tmp_path, model_arguments, capsys, write_video) -> None:
    good = write_video(tmp_path / "good.mp4")
    (tmp_path / "zero.mp4").touch()
    (tmp_path / "text.mp4").write_text("not a video at all")
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(good.read_bytes()[:200])
    bad = [tmp_path / "zero.mp4", tmp_path / "text.mp4", cut, tmp_path / "missing.mp4"]
    assert predict(*bad, good, "--output", tmp_path / "out", *model_arguments) == 1
    assert [folder.name for folder in (tmp_path / "out").iterdir()] == ["good"]
    shown = capsys.readouterr()
    for path in bad:
        assert str(path) in shown.err
    assert "4 of 5 inputs failed" in shown.out
    assert "Traceback" not in shown.err
    assert predict(good, "--output", tmp_path / "out", *model_arguments) == 0


def test_a_truncated_file_gives_what_is_left_and_says_so(tmp_path, model_arguments, write_video) -> None:
    video = write_video(tmp_path / "in.mp4", num_frames=40)
    data = video.read_bytes()
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(data[: len(data) * 3 // 4])
    assert predict(cut, "--output", tmp_path / "out", *model_arguments) == 0
    done = json.loads((tmp_path / "out" / "cut" / "done.json").read_text())
    assert 0 < done["num_frames"] < 40
    assert "incomplete" in done["damage"] or "decoded" in done["damage"]
    with open_video(tmp_path / "out" / "cut" / "overlay.mp4") as overlay:
        assert overlay.num_frames == done["num_frames"]


def test_part_of_a_video(tmp_path, model_arguments, write_video) -> None:
    video = write_video(tmp_path / "in.mp4", num_frames=20)
    part = ["--start", 4, "--end", 16, "--every", 3, *EVERYTHING]
    for mode in ("online", "clip"):
        folder = tmp_path / mode / "in"
        assert predict(video, "--output", folder.parent, *model_arguments, "--mode", mode, *part) == 0
        assert [line.frame_index for line in JsonLinesReader(folder / "frames.jsonl")] == [4, 7, 10, 13]
        assert sorted(path.stem for path in (folder / "masks").glob("*.png")) == ["00004", "00007", "00010", "00013"]
        result = read_tracks(folder / "tracks.json")
        assert result.num_frames == 20
        assert {index for track in result.tracks for index in track.segmentations} <= {4, 7, 10, 13}
        with open_video(folder / "overlay.mp4") as overlay:
            assert (overlay.num_frames, overlay.frame_rate) == (4, Fraction(10000, 1001))
    assert predict(video, "--output", tmp_path / "out", *model_arguments, "--start", 50) == 1


def test_an_image_and_a_folder_of_images(tmp_path, model_arguments) -> None:
    (tmp_path / "frames").mkdir()
    for index in (1, 2, 10):
        cv2.imwrite(str(tmp_path / "frames" / f"{index}.jpg"), np.full((40, 60, 3), 20 * index, np.uint8))
    image = tmp_path / "frames" / "2.jpg"
    words = ["--output", tmp_path / "out", *model_arguments]
    assert predict(tmp_path / "frames", image, *words, "--frame-rate", "7/2", "--audio") == 0
    with open_video(tmp_path / "out" / "frames" / "overlay.mp4") as overlay:
        assert (overlay.num_frames, overlay.frame_rate) == (3, Fraction(7, 2))
    assert files_of(tmp_path / "out" / "2") == {
        *("overlay.png", "tracks.json", "results.json", "contact_sheet.png", "viewer.html", "done.json"),
    }
    assert read_tracks(tmp_path / "out" / "2" / "tracks.json").num_frames == 1


def test_classes_and_overrides(tmp_path, model_arguments, capsys, write_video) -> None:
    video = write_video(tmp_path / "in.mp4")
    words = [video, "--output", tmp_path / "out", *model_arguments]
    assert predict(*words, "--classes", "dog, car") == 0
    assert all(track.label in (1, 2) for track in read_tracks(tmp_path / "out" / "in" / "tracks.json").tracks)
    assert predict(*words, "inference.resolve_overlaps=true", "inference.top_k=2") == 0
    result = read_tracks(tmp_path / "out" / "in" / "tracks.json")
    assert 0 < len(result) <= 2
    for index in range(7):
        masks = [decode_rle(rle) for rle in result.at_frame(index).segmentations]
        assert not masks or np.sum(masks, axis=0).max() == 1
    assert predict(*words, "--classes", "cat") == 1
    assert "unknown class 'cat'" in capsys.readouterr().err
    assert predict(*words, "inference.topk=2") == 1
    assert "did you mean 'inference.top_k'" in capsys.readouterr().err


def test_published_takes_the_configuration_as_it_is(tmp_path, model_arguments, write_video) -> None:
    video = write_video(tmp_path / "in.mp4")
    words = [video, "--output", tmp_path / "out", *model_arguments[:4]]
    assert predict(*words, "--published") == 0
    result = read_tracks(tmp_path / "out" / "in" / "tracks.json")
    assert len(result) == 10  # the top 10, whatever their scores
    settings = json.loads((tmp_path / "out" / "in" / "done.json").read_text())["request"]["settings"]
    assert (settings["mode"], settings["one_label_per_query"]) == ("clip", False)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["in.mp4", "--weights", "nowhere.pth"], "nowhere.pth"),
        (["in.mp4", "--device", "cuda:99"], "cuda:99"),
        (["0"], "camera 0 never ends"),
        (["inference.top_k=2"], "at least one input"),
        (["in.mp4", "--window", "3", "--overlap", "3"], "overlap"),
        (["in.mp4", "--device", "abacus"], "--device must be cpu, cuda"),
        (["in.mp4", "--top-k", "0"], "top_k must be at least 1, got 0"),
        (["in.mp4", "--classes", ","], "classes must name at least one class"),
        (["in.mp4", "--every", "0"], "every must be 1 or more"),
        (["in.mp4", "--start", "5", "--end", "5"], "start and end must satisfy"),
        (["in.mp4", "--frame-rate", "fast"], "--frame-rate must be"),
        (["in.mp4", "--tracker", "nowhere:Tracker"], "nowhere"),
    ],
)
def test_errors_are_one_line(tmp_path, model_arguments, capsys, words, message) -> None:
    assert predict(*model_arguments, "--output", tmp_path / "out", *words) == 1
    error = capsys.readouterr().err
    (line,) = (line for line in error.splitlines() if "error: " in line)
    assert message in line
    assert len(line) < 300 and "Traceback" not in error


def test_an_output_that_cannot_be_made(tmp_path, model_arguments, capsys, write_video) -> None:
    video = write_video(tmp_path / "in.mp4")
    (tmp_path / "out").write_text("a file is in the way")
    assert predict(video, "--output", tmp_path / "out", *model_arguments) == 1
    assert f"--output must be a folder that can be made or written, got {tmp_path / 'out'}" in capsys.readouterr().err


def test_ranks_share_the_inputs(tmp_path, model_arguments, monkeypatch, write_video) -> None:
    for name in ("a", "b", "c"):
        write_video(tmp_path / "videos" / f"{name}.mp4", 2)
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank, expected in ((0, {"a", "c"}), (1, {"a", "b", "c"})):
        monkeypatch.setenv("RANK", str(rank))
        assert predict(tmp_path / "videos", "--output", tmp_path / "out", *model_arguments) == 0
        assert files_of(tmp_path / "out") == expected


def test_the_script_is_the_command(tmp_path) -> None:
    script = Path(__file__).parents[2] / "tools" / "predict_video.py"
    environment = {**os.environ, "PYTHONPATH": str(script.parents[1])}
    command = [sys.executable, str(script), "--help"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout
    for option in ("--tracker", "--score-threshold", "--no-overlay", "--every"):
        assert option in shown
