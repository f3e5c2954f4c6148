from __future__ import annotations

import sys

import cv2
import numpy as np
import pytest

from video_mask2former.engine import TrainingLog
from video_mask2former.engine.curves import draw_curves


def test_curves_of_losses_and_metrics_are_drawn(tmp_path) -> None:
    records = [{"step": s, "loss": 50 / s, "loss_ce": 5 / s, "learning_rate": 1e-4} for s in range(1, 200)]
    records.append({"step": 100, "loss": None, "loss_ce": 0.0})
    with_metrics = [*records, {"step": 100, "evaluation": {"VPQ": 0.2}}, {"step": 199, "evaluation": {"VPQ": 0.4}}]

    assert draw_curves(records, tmp_path / "losses.png")
    assert draw_curves(with_metrics, tmp_path / "all.png")
    losses, everything = (cv2.imread(str(tmp_path / name)) for name in ("losses.png", "all.png"))
    assert everything.shape[0] == losses.shape[0] * 3 // 2, "one more panel"
    assert everything.shape[1:] == (960, 3)
    blue = np.abs(losses[:300].astype(int) - (180, 119, 31)).sum(axis=2) < 90
    columns = np.flatnonzero(blue[:, :800].any(axis=0))
    assert len(columns) > 0.9 * (columns[-1] - columns[0]) > 500, "the first curve crosses the whole width"
    rows = [np.flatnonzero(blue[:, column])[0] for column in columns[::50]]
    assert rows == sorted(rows), "it falls"


def test_nothing_to_draw_writes_nothing(tmp_path) -> None:
    assert not draw_curves([], tmp_path / "curves.png")
    assert list(tmp_path.iterdir()) == []


def test_one_record_is_enough(tmp_path) -> None:
    assert draw_curves([{"step": 1, "evaluation": {"AP": 0.0}}], tmp_path / "curves.png")


def test_training_goes_on_without_matplotlib(tmp_path, monkeypatch, caplog) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"video-mask2former\[train\]"):
        draw_curves([{"step": 1, "loss": 1.0}], tmp_path / "curves.png")
    log = TrainingLog(tmp_path, max_steps=4, period=1, use_tensorboard=False, is_main=True)
    caplog.set_level("INFO")
    log.start(0)
    log.add(1, {"loss": 1.0})
    for step in (1, 2):
        log.evaluation(step, {"AP": 0.25})
    log.close()
    assert not (tmp_path / "curves.png").exists() and (tmp_path / "metrics.jsonl").is_file()
    assert len([message for message in caplog.messages if "matplotlib" in message]) == 1, "said once"
