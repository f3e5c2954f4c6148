from __future__ import annotations

import cv2
import pytest

from video_mask2former.engine.curves import _Axis, draw_curves


def test_curves_of_losses_and_metrics_are_drawn(tmp_path) -> None:
    records = [{"step": s, "loss": 50 / s, "loss_ce": 5 / s, "learning_rate": 1e-4} for s in range(1, 200)]
    records.append({"step": 100, "loss": None, "loss_ce": 0.0})
    with_metrics = [*records, {"step": 100, "evaluation": {"AP": 0.2}}, {"step": 199, "evaluation": {"AP": 0.4}}]

    assert draw_curves(records, tmp_path / "losses.png")
    assert draw_curves(with_metrics, tmp_path / "all.png")
    losses, everything = (cv2.imread(str(tmp_path / name)) for name in ("losses.png", "all.png"))
    assert everything.shape[0] == losses.shape[0] * 3 // 2, "one more panel"
    assert everything.shape[1:] == (960, 3)
    blue = (losses == (180, 119, 31)).all(axis=2)
    assert blue[:, 90:800].any(axis=0).mean() > 0.9, "the first curve crosses the whole width"


def test_nothing_to_draw_writes_nothing(tmp_path) -> None:
    assert not draw_curves([], tmp_path / "curves.png")
    assert list(tmp_path.iterdir()) == []


def test_one_record_is_enough(tmp_path) -> None:
    assert draw_curves([{"step": 1, "evaluation": {"AP": 0.0}}], tmp_path / "curves.png")


@pytest.mark.parametrize(
    ("axis", "ticks"),
    [
        (_Axis(0, 1, 0, 100), [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (_Axis(0, 6000, 0, 100), [0, 1000, 2000, 3000, 4000, 5000, 6000]),
        (_Axis(-0.3, 0.25, 0, 100), [-0.3, -0.2, -0.1, 0, 0.1, 0.2]),
        (_Axis(3, 60, 0, 100, is_log=True), [5, 10, 20, 50]),
    ],
)
def test_ticks_are_round(axis: _Axis, ticks: list[float]) -> None:
    assert axis.ticks() == pytest.approx(ticks)


def test_pixels_run_from_start_to_stop() -> None:
    axis = _Axis(1, 100, 300, 100, is_log=True)
    assert [axis.pixel(value) for value in (1, 10, 100)] == [300, 200, 100]
