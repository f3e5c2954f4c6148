"""The curves of a training run as one picture, by matplotlib: losses, learning rate and metrics over steps."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from video_mask2former.atomic import atomic_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Series = Mapping[str, Sequence[tuple[float, float]]]

_LOSSES = ("loss", "loss_ce", "loss_mask", "loss_dice")
_NUM_METRICS = 5
_WIDTH, _PANEL_HEIGHT = 9.6, 3.0  # inches of 100 pixels
_FEW = 30  # so many points of a curve are marked


def draw_curves(records: Sequence[Mapping[str, Any]], path: str | os.PathLike[str]) -> bool:
    """Draw the records of a ``metrics.jsonl`` as a PNG.

    Args:
        records: As read by :func:`~video_mask2former.engine.read_records`.
        path: The picture; replaced where there is one.

    Returns:
        Whether there was anything to draw.

    Raises:
        ImportError: If matplotlib is not installed.
    """
    evaluations = [{"step": record["step"], **record["evaluation"]} for record in records if "evaluation" in record]
    metrics = list(evaluations[0])[1 : 1 + _NUM_METRICS] if evaluations else []
    losses = _series(records, _LOSSES)
    positive = {name: kept for name, points in losses.items() if (kept := [point for point in points if point[1] > 0])}
    panels = {
        "loss": positive,
        "learning rate": _series(records, ("learning_rate",)),
        "evaluation": _series(evaluations, metrics),
    }
    panels = {title: series for title, series in panels.items() if series}
    if not panels:
        return False
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            "curves.png needs matplotlib. Install it with: pip install 'video-mask2former[train]'."
        ) from error
    # not pyplot: nothing global, and no window
    figure = Figure(figsize=(_WIDTH, _PANEL_HEIGHT * len(panels)), dpi=100, layout="constrained")
    grid = figure.subplots(len(panels), sharex=True, squeeze=False)
    for axes, (title, series) in zip(grid[:, 0], panels.items(), strict=True):
        _draw_panel(axes, title, series)
    grid[-1, 0].set_xlabel("step")
    with atomic_path(path) as temporary:
        figure.savefig(temporary)
    return True


def _draw_panel(axes: Axes, title: str, series: Series) -> None:
    for name, points in series.items():
        steps, values = zip(*points, strict=True)
        axes.plot(steps, values, label=f"{name} {values[-1]:.3g}", marker="." if len(points) <= _FEW else "")
    axes.set_yscale("log" if title == "loss" else "linear")
    if title != "loss":
        axes.set_ylim(bottom=min(0.0, *(value for points in series.values() for _, value in points)))
    axes.set_title(title, loc="left", fontsize="medium")
    axes.grid(alpha=0.3)
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)


def _series(records: Sequence[Mapping[str, Any]], names: Sequence[str]) -> Series:
    series = {}
    for name in names:
        points = [(record["step"], record[name]) for record in records if record.get(name) is not None]
        if points:
            series[name] = points
    return series
