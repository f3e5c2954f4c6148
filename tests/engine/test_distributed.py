from __future__ import annotations

import signal

import pytest
import torch
import toy_training

from video_mask2former import distributed


def test_one_process_needs_no_group() -> None:
    tensor = torch.tensor([2.0])

    assert (distributed.rank(), distributed.world_size(), distributed.is_main_process()) == (0, 1, True)
    assert distributed.all_reduce_sum(3.0) == distributed.all_reduce_mean(3.0) == distributed.all_reduce_max(3.0) == 3.0
    assert torch.equal(distributed.all_reduce_sum(tensor), tensor)
    assert distributed.gather_objects("x") == ["x"]
    assert distributed.broadcast_object("x") == "x"
    with distributed.process_group("cpu"):
        distributed.barrier()
        assert not distributed.is_distributed()


@pytest.mark.parametrize(("num_gpus", "default"), [(0, "cpu"), (2, "cuda:0")])
def test_a_gpu_is_taken_if_there_is_one(monkeypatch, num_gpus, default) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: num_gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: num_gpus)
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    assert {distributed.choose_device(choice) for choice in (None, "auto")} == {torch.device(default)}
    assert distributed.choose_device("cpu") == distributed.choose_device(torch.device("cpu")) == torch.device("cpu")
    if num_gpus:
        assert distributed.choose_device("cuda:1") == torch.device("cuda", 1)
        monkeypatch.setenv("LOCAL_RANK", "1")
        assert distributed.choose_device("cuda") == distributed.choose_device() == torch.device("cuda", 1)
        with pytest.raises(ValueError, match=r"got 'cuda:0': each process has a GPU of its own, this one number 1"):
            distributed.choose_device("cuda:0")
    missing = "sees GPUs 0 to 1" if num_gpus else "sees no GPU"
    with pytest.raises(ValueError, match=rf"--device must be cpu, cuda, .* got 'cuda:2': torch {missing}"):
        distributed.choose_device("cuda:2", "--device")
    with pytest.raises(ValueError, match=r"device must be cpu, cuda, .* got 'abacus'"):
        distributed.choose_device("abacus")


def test_two_processes_agree(tmp_path) -> None:
    assert distributed.launch(2, toy_training.report_collectives, (str(tmp_path),), "cpu") == 7

    for rank in range(2):
        values = torch.load(tmp_path / f"{rank}.pth", weights_only=True)
        assert values["world_size"] == 2
        assert values["local_rank"] == rank
        assert values["sum"] == 4.0
        assert values["mean"] == 1.5
        assert values["max"] == 0.0
        assert values["tensor_sum"] == [3.0, 20.0]
        assert values["tensor"] == [1.0 + rank, 10.0], "the input of a collective must not change"
        assert values["objects"] == [{"rank": 0}, {"rank": 1}]
        assert values["broadcast"] == "from 0"
        assert values["main"] == (rank == 0)


@pytest.mark.parametrize(
    ("is_mistake_of_the_user", "kind", "message"),
    [
        (True, ValueError, r"^a rank that fails \(in one of 2 processes\)$"),
        (False, RuntimeError, r"(?s)Traceback.*a rank that fails"),
    ],
)
def test_launch_names_the_error_of_a_failed_rank(monkeypatch, is_mistake_of_the_user, kind, message) -> None:
    monkeypatch.setattr(distributed, "GRACE_SECONDS", 2.0)
    with pytest.raises(kind, match=message):
        distributed.launch(2, toy_training.fail_on_the_second_rank, (is_mistake_of_the_user,), "cpu")


def test_launch_passes_signals_on() -> None:
    assert distributed.launch(2, toy_training.wait_for_sigterm, (), "cpu") == 128 + signal.SIGTERM


def test_launch_rejects_impossible_counts() -> None:
    with pytest.raises(ValueError, match="at least 1, got 0"):
        distributed.launch(0, toy_training.report_collectives, (), "cpu")
    with pytest.raises(ValueError, match=r"1000 GPUs were asked for"):
        distributed.launch(1000, toy_training.report_collectives, (), "cuda")


def test_incomplete_torchrun_environment_is_named(monkeypatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ValueError, match="RANK, MASTER_ADDR, MASTER_PORT is not set"), distributed.process_group("cpu"):
        pass
