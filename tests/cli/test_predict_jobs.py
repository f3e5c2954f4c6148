"""What of ``predict`` outlives a run: what is done, what is taken up again, what a stop or a failure leaves behind."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from video_mask2former.atomic import atomic_path
from video_mask2former.cli import main
from video_mask2former.results import JsonLinesReader
from video_mask2former.visualization import ContactSheet


def predict(*words: object) -> int:
    return main(["predict", *map(str, words)])


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stop_leaves_nothing_half_written_and_the_next_run_goes_on(
    tmp_path, model_arguments, write_video, number, status
) -> None:
    first, second = write_video(tmp_path / "a.mp4", 3), write_video(tmp_path / "b.mp4", 120)
    words = [str(first), str(second), "--output", str(tmp_path / "out"), *model_arguments, "--frames"]
    process = subprocess.Popen(
        [sys.executable, "-m", "video_mask2former", "predict", *words],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        preexec_fn=listen_to_ctrl_c,
    )
    partial = tmp_path / "out" / "b" / "frames.jsonl.partial"
    deadline = time.monotonic() + 60
    while not (partial.is_file() and partial.stat().st_size > 2000):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.02)
    process.send_signal(number)
    _, shown = process.communicate(timeout=30)
    assert process.returncode == status
    assert f"stopped by {number.name}; the same command goes on" in shown and "Traceback" not in shown
    assert (tmp_path / "out" / "a" / "done.json").is_file()
    assert not (tmp_path / "out" / "b").exists()
    before = (tmp_path / "out" / "a" / "tracks.json").stat().st_mtime_ns
    assert predict(*words) == 0
    assert (tmp_path / "out" / "a" / "tracks.json").stat().st_mtime_ns == before
    assert len(list(JsonLinesReader(tmp_path / "out" / "b" / "frames.jsonl"))) == 120


def listen_to_ctrl_c() -> None:
    """Shells let what they start in the background ignore Ctrl-C, and so would everything started from there."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_handlers_are_put_back(tmp_path, model_arguments, write_video) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert predict(write_video(tmp_path / "a.mp4"), "--output", tmp_path / "out", *model_arguments) == 0
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_what_a_killed_run_left_is_removed_by_the_next(tmp_path, model_arguments, write_video) -> None:
    folder = tmp_path / "out" / "a"
    (folder / "masks.partial").mkdir(parents=True)
    (folder / "frames.jsonl.partial").touch()
    writing = [atomic_path(folder / name) for name in ("overlay.mp4", "tracks.json")]
    for file in writing:
        file.__enter__()
    (folder / "mine.mp4").touch()
    assert len(list(folder.iterdir())) == 5
    assert predict(write_video(tmp_path / "a.mp4"), "--output", tmp_path / "out", *model_arguments) == 0
    assert {path.name for path in folder.iterdir()} == {
        *("overlay.mp4", "tracks.json", "results.json", "contact_sheet.png", "viewer.html", "done.json", "mine.mp4")
    }


def test_a_file_that_is_gone_is_made_again(tmp_path, model_arguments, write_video) -> None:
    words = [write_video(tmp_path / "a.mp4"), "--output", tmp_path / "out", *model_arguments]
    assert predict(*words) == 0
    (tmp_path / "out" / "a" / "overlay.mp4").unlink()
    assert predict(*words) == 0
    assert (tmp_path / "out" / "a" / "overlay.mp4").is_file()


@pytest.mark.parametrize("pattern", ["", "*.png"])
def test_a_frame_that_changed_in_its_folder_counts(tmp_path, model_arguments, pattern, capsys) -> None:
    (tmp_path / "frames").mkdir()
    for index in range(3):
        cv2.imwrite(str(tmp_path / "frames" / f"{index}.png"), np.full((40, 60, 3), 40 * index, np.uint8))
    words = [tmp_path / "frames" / pattern, "--output", tmp_path / "out", *model_arguments]
    assert predict(*words) == predict(*words) == 0
    assert "already done" in capsys.readouterr().err
    time.sleep(0.01)  # a file system counts time in steps
    cv2.imwrite(str(tmp_path / "frames" / "1.png"), np.full((40, 60, 3), 90, np.uint8))
    assert predict(*words) == 0
    assert "already done" not in capsys.readouterr().err


def test_another_video_of_the_same_name_is_told(tmp_path, model_arguments, write_video, capsys) -> None:
    first, second = (write_video(tmp_path / folder / "a.mp4", 3) for folder in ("x", "y"))
    words = ["--output", tmp_path / "out", *model_arguments]
    assert predict(first, *words) == 0
    assert "which are replaced" not in capsys.readouterr().err
    assert predict(second, *words) == 0
    assert f"held the results of {first}, which are replaced" in capsys.readouterr().err


def test_a_full_disk_is_named_and_leaves_nothing(tmp_path, model_arguments, write_video, monkeypatch, capsys) -> None:
    def fails(self: ContactSheet, path: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(ContactSheet, "save", fails)
    video = write_video(tmp_path / "a.mp4")
    assert predict(video, "--output", tmp_path / "out", *model_arguments, "--frames") == 1
    error = capsys.readouterr().err
    assert f"{video}: No space left on device, writing to {tmp_path / 'out' / 'a'}" in error
    assert list((tmp_path / "out").iterdir()) == []


def test_a_tracker_of_ones_own_is_part_of_what_was_asked(tmp_path, model_arguments, write_video, capsys) -> None:
    words = [write_video(tmp_path / "a.mp4"), "--output", tmp_path / "out", *model_arguments, "--tracker"]
    own = "video_mask2former.tracking.query_matching:QueryTracker"
    assert predict(*words, own) == predict(*words, own) == 0
    assert "already done" in capsys.readouterr().err
    assert predict(*words, "minvis") == 0
    assert "already done" not in capsys.readouterr().err


def test_inputs_may_vanish_while_others_are_predicted(tmp_path, model_arguments, write_video, capsys) -> None:
    first, second = (write_video(tmp_path / "videos" / f"{name}.mp4", 3) for name in "ab")
    words = [first, second, "--output", tmp_path / "out", *model_arguments]
    shutil.move(second, tmp_path / "elsewhere.mp4")
    assert predict(*words) == 1
    assert f"no such video: {second}" in capsys.readouterr().err
    assert (tmp_path / "out" / "a" / "done.json").is_file()


def test_a_failure_of_one_process_leaves_the_others_their_time(tmp_path, model_arguments, write_video) -> None:
    (tmp_path / "a.mp4").touch()  # fails at once, in the first process
    long = write_video(tmp_path / "b.mp4", 60)
    words = [str(tmp_path / "a.mp4"), str(long), "--output", str(tmp_path / "out"), *model_arguments]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"]
    run = subprocess.run(
        [*command, "video_mask2former", "predict", *words],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=300,
    )
    assert run.returncode == 1
    assert "1 of 2 inputs failed" in run.stdout
    assert (tmp_path / "out" / "b" / "done.json").is_file()
