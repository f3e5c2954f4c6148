from __future__ import annotations

import logging
import sys

import cv2
import numpy as np
import pytest

from video_mask2former.engine import TrainingLog, log_to_file, read_records
from video_mask2former.engine.logging import picture_folder


def make_log(folder, *, period: int = 2, **options) -> TrainingLog:
    return TrainingLog(
        folder, **({"max_steps": 10, "period": period, "use_tensorboard": False, "is_main": True} | options)
    )


def add(log: TrainingLog, *steps: int) -> None:
    for step in steps:
        log.add(step, {"loss": float(step), "loss_ce_0": 0.5, "step_seconds": 0.1})


def test_records_are_means_over_the_period(tmp_path) -> None:
    log = make_log(tmp_path)
    log.start(0)
    add(log, 1, 2, 3, 4)
    log.evaluation(4, {"AP": 0.25})
    log.close()

    records = read_records(tmp_path / "metrics.jsonl")
    assert [(record["step"], record.get("loss"), record.get("evaluation")) for record in records] == [
        (2, 1.5, None),
        (4, 3.5, None),
        (4, None, {"AP": 0.25}),
    ]


def test_curves_are_drawn_at_every_evaluation_and_at_the_end(tmp_path) -> None:
    log, picture = make_log(tmp_path), tmp_path / "curves.png"
    log.start(0)
    add(log, 1, 2)
    assert not picture.exists()
    log.evaluation(2, {"AP": 0.25})
    first = picture.read_bytes()
    add(log, 3, 4)
    log.close()
    assert picture.read_bytes() != first

    make_log(tmp_path / "other", is_main=False).close()
    assert not (tmp_path / "other").exists()


def test_resuming_repeats_no_step(tmp_path) -> None:
    log = make_log(tmp_path)
    log.start(0)
    add(log, 1, 2, 3)
    state = log.state_dict()  # a checkpoint after step 3; the run is killed after step 7
    add(log, 4)
    log.evaluation(4, {"AP": 0.1})
    add(log, 5, 6, 7)
    log.close()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 8, "lo')

    resumed = make_log(tmp_path)
    resumed.load_state_dict(state)
    resumed.start(3, evaluated_step=0)
    add(resumed, 4, 5, 6)
    resumed.close()

    records = read_records(tmp_path / "metrics.jsonl")
    assert [(record["step"], record["loss"]) for record in records] == [(2, 1.5), (4, 3.5), (6, 5.5)]


def test_a_damaged_line_in_the_middle_is_an_error(tmp_path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\nnonsense\n{"step": 2}\n')
    with pytest.raises(ValueError, match=r"line 2 of .* is not JSON"):
        read_records(tmp_path / "metrics.jsonl")


def test_skipped_steps_leave_the_means_alone(tmp_path) -> None:
    log = make_log(tmp_path, period=3)
    log.start(0)
    log.add(1, {"loss": 2.0, "step_seconds": 0.1})
    log.add(2, {"step_seconds": 0.4})
    log.add(3, {"loss": 4.0, "step_seconds": 0.1})
    log.close()
    (record,) = read_records(tmp_path / "metrics.jsonl")
    assert record["loss"] == 3.0
    assert record["step_seconds"] == pytest.approx(0.2)


def test_not_a_number_is_written_as_null(tmp_path) -> None:
    log = make_log(tmp_path, period=1)
    log.start(0)
    log.add(1, {"loss": float("inf")})
    log.evaluation(1, {"AP": float("nan")})
    log.close()
    assert read_records(tmp_path / "metrics.jsonl") == [
        {"step": 1, "loss": None},
        {"step": 1, "evaluation": {"AP": None}},
    ]


def test_other_ranks_write_nothing(tmp_path) -> None:
    log = make_log(tmp_path / "rank1", is_main=False)
    log.start(0)
    add(log, 1, 2)
    log.evaluation(2, {"AP": 0.5})
    log.close()
    assert not (tmp_path / "rank1").exists()


def test_log_lines_tell_what_people_look_at(tmp_path, caplog) -> None:
    log = make_log(tmp_path)
    log.start(0)
    with caplog.at_level(logging.INFO, "video_mask2former"):
        add(log, 1, 2)
    log.close()
    assert caplog.messages == ["step 2/10  loss 1.5  step 0.100 s  remaining 0:00:01"]


def test_missing_tensorboard_says_how_to_get_it(tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    log = make_log(tmp_path, use_tensorboard=True)
    with pytest.raises(ImportError, match=r"pip install 'video-mask2former\[train\]'"):
        log.start(0)


def test_tensorboard_gets_the_pictures_of_an_evaluation(tmp_path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    log = make_log(tmp_path, use_tensorboard=True)
    log.start(0)
    folder = picture_folder(tmp_path, 2)
    folder.mkdir(parents=True)
    cv2.imwrite(str(folder / "val_1.jpg"), np.full((20, 30, 3), (0, 0, 255), np.uint8))
    log.evaluation(2, {"AP": 0.25})
    log.close()
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert events.Tags()["scalars"] == ["evaluation/AP"]
    [picture] = events.Images("pictures/val_1")
    assert (picture.step, picture.height, picture.width) == (2, 20, 30)
    drawn = cv2.imdecode(np.frombuffer(picture.encoded_image_string, np.uint8), cv2.IMREAD_COLOR)
    assert np.abs(drawn.astype(int) - (0, 0, 255)).max() < 10, "red is red"


def test_tensorboard_gets_the_records(tmp_path) -> None:
    pytest.importorskip("tensorboard")
    log = make_log(tmp_path, use_tensorboard=True)
    log.start(0)
    add(log, 1, 2)
    log.evaluation(2, {"AP": 0.5})
    log.close()
    assert list((tmp_path / "tensorboard").glob("events.out.tfevents.*"))


def test_log_file_has_the_packages_messages(tmp_path) -> None:
    with log_to_file(tmp_path / "run" / "log.txt"):
        logging.getLogger("video_mask2former.engine").info("a message")
        logging.getLogger("another").info("not this one")
    logging.getLogger("video_mask2former.engine").info("too late")
    lines = (tmp_path / "run" / "log.txt").read_text().splitlines()
    assert len(lines) == 1
    assert lines[0].endswith("INFO video_mask2former.engine: a message")
