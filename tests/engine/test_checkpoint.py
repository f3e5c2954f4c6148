from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from toy_training import make_trainer

from video_mask2former.engine import CheckpointFolder, load_state, save_state

TOY = Path(__file__).with_name("toy_training.py")


def start_training(folder: Path, *options: str) -> subprocess.Popen:
    command = [sys.executable, str(TOY), str(folder), *options]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    # a session of its own, so that signals can be sent to all of its processes as schedulers do
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, start_new_session=True)


def resume_training(folder: Path) -> int:
    """Go on with the training of the other process in this one; returns the steps that were left."""
    trainer = make_trainer(folder, max_steps=20)
    trainer.load_state_dict(trainer.checkpoints.load_latest())
    start = trainer.step
    return trainer.train().step - start


def test_newest_checkpoints_are_kept(tmp_path) -> None:
    folder = CheckpointFolder(tmp_path / "run", keep=2)
    assert folder.latest() is None
    assert folder.load_latest() is None
    for step in (5, 900, 10_000_000):
        folder.save(step, {"model": {"w": torch.full((2,), float(step))}, "iteration": step})

    assert [path.name for path in folder.paths()] == ["checkpoint_0000900.pth", "checkpoint_10000000.pth"]
    assert (tmp_path / "run" / "latest").read_text() == "checkpoint_10000000.pth\n"
    assert folder.load_latest()["iteration"] == 10_000_000


def test_a_damaged_newest_checkpoint_is_reported_and_passed_over(tmp_path, caplog) -> None:
    folder = CheckpointFolder(tmp_path, keep=3)
    for step in (1, 2):
        folder.save(step, {"model": {}, "iteration": step})
    path = folder.latest()
    path.write_bytes(path.read_bytes()[:200])

    assert folder.load_latest()["iteration"] == 1
    assert "checkpoint_0000002.pth is a damaged torch file" in caplog.text
    folder.paths()[0].write_bytes(b"")
    with pytest.raises(ValueError, match=r"every checkpoint in .* is damaged"):
        folder.load_latest()


def test_files_that_are_no_checkpoints_are_named(tmp_path) -> None:
    with pytest.raises(FileNotFoundError, match="no checkpoint"):
        load_state(tmp_path / "missing.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(ValueError, match="should hold a dict with 'model', got list"):
        load_state(tmp_path / "list.pth")
    torch.save({"model": Path("x")}, tmp_path / "code.pth")
    with pytest.raises(ValueError, match=r"code\.pth was refused"):
        load_state(tmp_path / "code.pth")


def test_full_disk_is_a_clear_error_and_the_old_checkpoint_intact(tmp_path, monkeypatch) -> None:
    folder = CheckpointFolder(tmp_path)
    folder.save(1, {"model": {"w": torch.rand(10)}, "iteration": 1})
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 3 * 2**20})())
    with pytest.raises(OSError, match=r"needs about 4 MiB, 3 MiB are free there.*checkpoint_0000001.pth is intact"):
        folder.save(2, {"model": {"w": torch.rand(2**20)}, "iteration": 2})
    assert folder.load_latest()["iteration"] == 1


def test_errors_that_have_nothing_to_do_with_writing_stay_what_they_are(tmp_path, monkeypatch) -> None:
    def interrupted(*arguments) -> None:
        raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed.")

    monkeypatch.setattr(torch, "save", interrupted)
    with pytest.raises(RuntimeError, match=r"^DataLoader worker"):
        CheckpointFolder(tmp_path).save(1, {"model": {}})
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="the system limits no file sizes")
def test_a_write_that_fails_midway_leaves_nothing_behind(tmp_path) -> None:
    folder = CheckpointFolder(tmp_path)
    folder.save(1, {"model": {"w": torch.rand(10)}, "iteration": 1})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, limits[1]))
    try:
        with pytest.raises(OSError, match=r"could not write .*checkpoint_0000002.pth"):
            folder.save(2, {"model": {"w": torch.rand(2**20)}, "iteration": 2})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint_0000001.pth", "latest"]
    assert folder.load_latest()["iteration"] == 1


def test_kill_in_the_middle_of_a_write_loses_nothing(tmp_path) -> None:
    with start_training(tmp_path, "--hang-in-save", "2") as process:
        assert process.stdout is not None
        assert any(line == "saving\n" for line in process.stdout)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    assert [path.name for path in tmp_path.glob(".checkpoint_*")] != [], "the kill came in the middle of the write"
    assert CheckpointFolder(tmp_path).load_latest()["iteration"] == 4

    resume_training(tmp_path)
    assert CheckpointFolder(tmp_path).load_latest()["iteration"] == 20
    assert list(tmp_path.glob(".checkpoint_*")) == []


def test_sigterm_to_all_processes_ends_with_a_checkpoint_that_resumes(tmp_path) -> None:
    with start_training(tmp_path) as process:
        assert process.stdout is not None
        for _ in range(6):
            assert process.stdout.readline() == "step\n"
        os.killpg(process.pid, signal.SIGTERM)
        process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    stopped_at = CheckpointFolder(tmp_path).load_latest()["iteration"]
    assert 5 <= stopped_at < 20

    assert resume_training(tmp_path) == 20 - stopped_at


def test_every_value_comes_back(tmp_path) -> None:
    state = {"model": {"w": torch.rand(3)}, "nested": [(1, 2.5, None), {"a": torch.ones(2, dtype=torch.int64)}]}
    save_state(tmp_path / "deep" / "file.pth", state)
    loaded = load_state(tmp_path / "deep" / "file.pth")
    assert torch.equal(loaded["model"]["w"], state["model"]["w"])
    assert loaded["nested"][0] == (1, 2.5, None)
    assert torch.equal(loaded["nested"][1]["a"], state["nested"][1]["a"])


def test_keep_must_be_positive() -> None:
    with pytest.raises(ValueError, match="keep must be at least 1, got 0"):
        CheckpointFolder("x", keep=0)
