from __future__ import annotations

import json
import math
import multiprocessing
import signal

import pytest
import torch
from toy_training import NUM_CLIPS, ToyLoader, ToyModel, WorkerLoader, make_trainer, train_on_ranks

from video_mask2former import distributed
from video_mask2former.engine import load_state, read_records
from video_mask2former.engine.precision import to_float32
from video_mask2former.mask_logits import MaskLogits
from video_mask2former.structures import ClipOutput


def losses(folder) -> dict[int, float]:
    return {record["step"]: record["loss"] for record in read_records(folder / "metrics.jsonl") if "loss" in record}


def assert_same(left, right, path: str = "") -> None:
    """Two nested states are equal to the last bit."""
    assert type(left) is type(right), path
    if isinstance(left, dict):
        assert left.keys() == right.keys(), path
        for key in left:
            assert_same(left[key], right[key], f"{path}.{key}")
    elif isinstance(left, (list, tuple)):
        assert len(left) == len(right), path
        for index, (a, b) in enumerate(zip(left, right, strict=True)):
            assert_same(a, b, f"{path}[{index}]")
    elif isinstance(left, torch.Tensor):
        assert torch.equal(left, right), path
    else:
        assert left == right, path


def without_times(state: dict) -> dict:
    sums = {name: value for name, value in state["log"]["sums"].items() if not name.endswith(("_seconds", "_mib"))}
    return state | {"log": sums}


def test_loss_falls_and_files_appear(tmp_path) -> None:
    result = make_trainer(tmp_path, max_steps=60, dropout=0.0).train()

    curve = losses(tmp_path)
    assert result.step == 60
    assert curve[60] < 0.8 * curve[2]
    assert {path.name for path in tmp_path.iterdir()} == {
        "checkpoint_0000057.pth",
        "checkpoint_0000060.pth",
        "curves.png",
        "latest",
        "metrics.jsonl",
        "model_final.pth",
    }
    final = load_state(tmp_path / "model_final.pth")
    assert final["config"] == {"model": {"name": "toy"}}
    assert final["iteration"] == 60
    assert "optimizer" not in final


@pytest.mark.parametrize("stop_at", [1, 3, 4, 6, 7])
def test_resumed_training_is_bit_equal(tmp_path, stop_at: int) -> None:
    whole = make_trainer(tmp_path / "whole", max_steps=8)
    whole.train()
    first = make_trainer(tmp_path / "parts", max_steps=8, checkpoint_period=100)
    batches = first._batches()
    for _ in range(stop_at):  # stops as a crash would right after a checkpoint
        first.log.add(first.step + 1, first._train_step([next(batches)]))
        first.step += 1
    first.save_checkpoint()

    second = make_trainer(tmp_path / "parts", max_steps=8)
    torch.rand(17)
    second.load_state_dict(first.checkpoints.load_latest())
    second.train()

    assert_same(without_times(second.state_dict()), without_times(whole.state_dict()))
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")


def test_a_loader_that_ends_is_iterated_again(tmp_path) -> None:
    trainer = make_trainer(tmp_path, batch_size=5, max_steps=6)
    trainer.train()
    assert trainer.loader.state_dict() == {"epoch": 2, "position": 10}


def test_empty_loader_is_an_error(tmp_path) -> None:
    with pytest.raises(ValueError, match="loader has no batches"):
        make_trainer(tmp_path, batch_size=NUM_CLIPS + 1).train()


def test_accumulation_is_one_big_batch(tmp_path) -> None:
    big = make_trainer(tmp_path / "big", batch_size=6, dropout=0.0, clip_norm=0.5)
    parts = make_trainer(tmp_path / "parts", batch_size=2, dropout=0.0, clip_norm=0.5, accumulation_steps=3)
    big.train()
    parts.train()

    for name, value in big.model.state_dict().items():
        torch.testing.assert_close(parts.model.state_dict()[name], value, rtol=1e-4, atol=1e-6)
    assert losses(tmp_path / "parts") == pytest.approx(losses(tmp_path / "big"), rel=1e-5)


@pytest.mark.slow
def test_two_ranks_are_one_rank_with_twice_the_batch_and_resume(tmp_path) -> None:
    one, two, whole, parts = (tmp_path / name for name in ("one", "two", "whole", "parts"))
    exact = {"dropout": 0.0, "clip_norm": 0.5}
    skipping = {"bad_calls": (2,), "max_steps": 6, "accumulation_steps": 2}
    make_trainer(one, batch_size=4, **exact).train()
    runs = [
        (str(two), {"batch_size": 2, **exact}, False),
        (str(whole), skipping, False),
        (str(parts), {**skipping, "max_steps": 3}, False),
        (str(parts), {**skipping, "bad_calls": ()}, True),
    ]
    assert distributed.launch(2, train_on_ranks, (runs,), "cpu") == 0

    alone, together = (load_state(folder / "checkpoint_0000008.pth") for folder in (one, two))
    for name, value in alone["model"].items():
        torch.testing.assert_close(together["model"][name], value, rtol=1e-4, atol=1e-6)
    assert losses(two) == pytest.approx(losses(one), rel=1e-5)
    assert_same(*(torch.load(f"{two}_rank{rank}.pth", weights_only=True) for rank in range(2)))

    states = [load_state(folder / "checkpoint_0000006.pth") for folder in (whole, parts)]
    assert states[0]["skipped_steps"] == 1
    assert len(states[0]["random"]) == 2
    assert_same(*(without_times(state) for state in states))


def test_non_finite_loss_is_skipped_and_its_batch_saved(tmp_path) -> None:
    trainer = make_trainer(tmp_path, bad_calls=(1,), max_steps=3)
    batches = trainer._batches()
    trainer._train_step([next(batches)])
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    bad = next(batches)
    assert trainer._train_step([bad]) == {}

    assert_same(trainer.model.state_dict(), trainer.model.state_dict() | before)
    assert trainer.skipped_steps == 1
    saved = torch.load(tmp_path / "skipped" / "step_0000001_rank0.pth", weights_only=True)
    assert_same(saved["frames"], bad.frames)
    assert_same(saved["labels"], [target.labels for target in bad.targets])
    assert saved["sources"] == ["a clip"]
    assert math.isnan(saved["losses"]["loss_ce"])
    assert trainer._train_step([next(batches)])["loss"] > 0


def test_training_stops_where_losses_stay_non_finite(tmp_path) -> None:
    trainer = make_trainer(tmp_path, bad_calls=range(2, 100), max_steps=50, max_skipped_steps=4, checkpoint_period=2)
    with pytest.raises(FloatingPointError, match="loss_ce not finite for 4 steps in a row"):
        trainer.train()
    assert trainer.step == 5
    assert len(list((tmp_path / "skipped").iterdir())) == 3
    assert trainer.checkpoints.load_latest()["iteration"] == 2, "weights that give no loss replace none that did"


def test_workers_end_with_a_training_that_fails(tmp_path) -> None:
    trainer = make_trainer(tmp_path, loader=WorkerLoader(2))
    trainer.criterion.bad_calls = None  # "in None" is a TypeError: an error that nobody expects
    with pytest.raises(TypeError) as error:
        trainer.train()
    assert error.traceback, "which holds the frames, and they the iterator"
    assert not multiprocessing.active_children()


def test_evaluation_keeps_the_best_model_and_leaves_training_alone(tmp_path) -> None:
    values = {3: 0.2, 6: 0.7, 8: 0.5}
    seen: list[tuple[int, bool]] = []

    def evaluate(model, step):
        seen.append((step, model.training))
        torch.rand(5)
        return {"AP": values[step], "weight": model.head.weight.sum().item()}

    trainer = make_trainer(tmp_path / "with", evaluate=evaluate, evaluation_period=3)
    result = trainer.train()
    plain = make_trainer(tmp_path / "without")
    plain.train()

    assert seen == [(3, False), (6, False), (8, False)]
    assert trainer.model.training
    best = load_state(tmp_path / "with" / "model_best.pth")
    assert (best["iteration"], best["metrics"]["AP"]) == (6, 0.7)
    assert best["metrics"]["weight"] == best["model"]["head.weight"].sum().item(), "what was evaluated is exported"
    assert result.metrics["AP"] == 0.5
    assert_same(trainer.model.state_dict(), plain.model.state_dict())
    records = read_records(tmp_path / "with" / "metrics.jsonl")
    assert [record["step"] for record in records if "evaluation" in record] == [3, 6, 8]


def test_evaluation_that_was_interrupted_is_made_up_for(tmp_path) -> None:
    def interrupted(model, step):
        if step == 6:
            raise KeyboardInterrupt
        return {"AP": 0.9}

    with pytest.raises(KeyboardInterrupt):
        make_trainer(tmp_path, evaluate=interrupted, evaluation_period=3, checkpoint_period=100).train()
    second = make_trainer(tmp_path, evaluate=lambda model, step: {"AP": step / 10}, evaluation_period=3)
    second.load_state_dict(second.checkpoints.load_latest())
    assert second.step == 6
    second.train()

    records = read_records(tmp_path / "metrics.jsonl")
    evaluations = [(record["step"], record["evaluation"]["AP"]) for record in records if "evaluation" in record]
    assert evaluations == [(3, 0.9), (6, 0.6), (8, 0.8)]
    assert load_state(tmp_path / "model_best.pth")["iteration"] == 3


def test_unknown_best_metric_is_named(tmp_path) -> None:
    trainer = make_trainer(tmp_path, evaluate=lambda model, step: {"PQ": 0.5}, evaluation_period=3)
    with pytest.raises(KeyError, match="'AP' is not among the metrics of the evaluation: PQ"):
        trainer.train()


def test_a_signal_stops_after_the_step_with_a_checkpoint(tmp_path) -> None:
    class Interrupting(ToyLoader):
        def _batch(self, indices):
            if (self.epoch, self.position) == (0, 8):
                signal.raise_signal(signal.SIGTERM)
            return super()._batch(indices)

    handler = signal.getsignal(signal.SIGTERM)
    result = make_trainer(tmp_path, loader=Interrupting(2), checkpoint_period=100).train()
    assert (result.step, result.signal_number) == (4, signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is handler

    second = make_trainer(tmp_path)
    second.load_state_dict(second.checkpoints.load_latest())
    second.train()
    whole = make_trainer(tmp_path / "whole")
    whole.train()
    assert_same(without_times(second.state_dict()), without_times(whole.state_dict()))


@pytest.mark.parametrize("is_echo", [True, False])
def test_a_second_signal_stops_at_once_unless_it_is_an_echo(tmp_path, monkeypatch, is_echo: bool) -> None:
    class Interrupting(ToyLoader):
        def _batch(self, indices):
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGTERM)
            return super()._batch(indices)

    monkeypatch.setattr("video_mask2former.engine.stopping.ECHO_SECONDS", 60.0 if is_echo else -1.0)
    trainer = make_trainer(tmp_path, loader=Interrupting(2))
    if is_echo:
        assert trainer.train().signal_number == signal.SIGINT
        assert trainer.checkpoints.load_latest()["iteration"] == 1
    else:
        with pytest.raises(KeyboardInterrupt):
            trainer.train()
        assert not list(tmp_path.glob("checkpoint_*"))


def test_resume_with_another_learning_rate_uses_it(tmp_path) -> None:
    make_trainer(tmp_path, max_steps=6).train()
    second = make_trainer(tmp_path, learning_rate=5e-3)
    second.load_state_dict(second.checkpoints.load_latest())
    second.train()
    assert second.optimizer.param_groups[0]["lr"] == pytest.approx(5e-3 * 0.1)


def test_resume_with_another_model_is_an_error(tmp_path) -> None:
    make_trainer(tmp_path, max_steps=3).train()
    second = make_trainer(tmp_path)
    second.model.head = torch.nn.Linear(4, 2)
    with pytest.raises(ValueError, match=r"had another model or other frozen parts.*mismatch for head\.weight"):
        second.load_state_dict(second.checkpoints.load_latest())


def test_resume_without_the_moving_average_is_an_error(tmp_path) -> None:
    make_trainer(tmp_path, max_steps=3).train()
    second = make_trainer(tmp_path, ema=False)
    with pytest.raises(ValueError, match="ema_decay must be on or off as in the run"):
        second.load_state_dict(second.checkpoints.load_latest())


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_mixed_precision_trains_with_float32_losses(tmp_path, dtype: str) -> None:
    trainer = make_trainer(tmp_path, dtype=dtype, max_steps=40, dropout=0.0, batch_size=12)
    trainer.train()
    curve = losses(tmp_path)
    assert curve[40] < 0.9 * curve[min(curve)]
    assert trainer.skipped_steps == 0
    assert trainer.model.head.weight.dtype == torch.float32
    assert bool(trainer.state_dict()["scaler"]) == (dtype == "float16")


def test_outputs_are_converted_once_wherever_they_occur() -> None:
    features = torch.rand(1, 2, 4, 3, 3).bfloat16()

    def output(auxiliary=()):
        embeddings = torch.rand(1, 5, 4).half()
        queries = torch.rand(1, 5, 4)
        return ClipOutput(
            torch.rand(1, 5, 3), MaskLogits(embeddings, features), queries, queries, (9, 9), (9, 9), auxiliary
        )

    converted = to_float32(output((output(), output())))
    assert converted.mask_logits.features.dtype == converted.mask_logits.embeddings.dtype == torch.float32
    assert all(part.mask_logits.features is converted.mask_logits.features for part in converted.auxiliary)
    assert converted.frame_size == (9, 9)


def test_log_is_strict_json(tmp_path) -> None:
    make_trainer(tmp_path, max_steps=4).train()
    for line in (tmp_path / "metrics.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def test_model_modes_survive_evaluation(tmp_path) -> None:
    trainer = make_trainer(tmp_path, evaluate=lambda model, step: {"AP": 0.0}, max_steps=2)
    assert isinstance(trainer.model, ToyModel)
    trainer.model.backbone.eval()
    trainer.train()
    assert trainer.model.training
    assert not trainer.model.backbone.training
